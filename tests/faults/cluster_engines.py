"""Engines that end or fail in their own process, for tests of clusters; workers import them from this file."""

import os
import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from selfboost.engines import Generation, Request
from selfboost.engines.fake import Fake, FakeSampler, read_fake
from selfboost.records import Model


@dataclass(frozen=True, kw_only=True)
class Poisonous(Fake):
    """A prompt with `word` ends the process, or is an error."""

    word: str = "poison"
    ends: bool = True

    @contextmanager
    def open(self, model: Model) -> Generator[FakeSampler]:
        """A sampler that heeds the word."""
        yield PoisonousSampler(read_fake(model.path), self)


class PoisonousSampler(FakeSampler):
    """An opened fake model."""

    def __init__(self, model: object, engine: Poisonous) -> None:
        super().__init__(model, engine)  # type: ignore[arg-type]
        self._word, self._ends = engine.word, engine.ends

    def sample(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """As the fake engine's, for other prompts."""
        for request in requests:
            if self._word in self.tokenizer.text(request.prompt_ids):
                if self._ends:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise ValueError(f"the model cannot read {self._word!r}")
        yield from super().sample(requests)
