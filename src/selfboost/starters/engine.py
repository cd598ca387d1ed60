"""Starter: another engine, whose answers are drawn again where they ran into the token limit.

An engine opens a model and yields a sampler; that is all the rest of selfboost knows of it. This one is built around
another engine. docs/guides/engine.md says more.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from selfboost import Engine, Generation, Model, Request, Sampler, Tokenizer
from selfboost.engines.local import Local
from selfboost.setting_types import Several


@dataclass(frozen=True, kw_only=True)
class Starter:
    """Draws answers again that ran into the token limit."""

    inner: Engine = field(default_factory=Local)
    """The engine that samples."""
    draws: Several = 2
    """Most draws of an answer; the last one stands."""

    @property
    def block_size(self) -> int:
        """Requests that are handed over at once."""
        return self.inner.block_size

    def tokenizer(self, model: Model) -> Tokenizer:
        """The model's tokenizer alone, without loading weights."""
        return self.inner.tokenizer(model)

    @contextmanager
    def open(self, model: Model) -> Generator[Sampler]:
        """Load the model for sampling and free it at the end."""
        with self.inner.open(model) as sampler:
            yield Redrawing(sampler, self.draws)

    def fingerprint(self, path: str) -> str:
        """Hash of a checkpoint's content."""
        return self.inner.fingerprint(path)


class Redrawing:
    """An opened model."""

    def __init__(self, sampler: Sampler, draws: int) -> None:
        self.tokenizer = sampler.tokenizer
        self.context_length = sampler.context_length
        self._sampler, self._draws = sampler, draws

    def sample(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yield (index of the request, its sample) in any order; a function of the requests alone."""
        wanted = dict(enumerate(requests))
        for draw in range(1, self._draws + 1):
            places, cut = list(wanted), list[int]()
            for i, generation in self._sampler.sample(list(wanted.values())):
                if generation.finish == "length" and draw < self._draws:
                    cut.append(places[i])
                else:
                    yield places[i], generation
            wanted = {place: replace(requests[place], seed=requests[place].seed + draw) for place in sorted(cut)}
