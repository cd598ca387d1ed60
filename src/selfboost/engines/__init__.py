"""Engines: what samples from a model. A file here is an engine when it defines the class of its own name.

An engine opens a checkpoint and yields a `Sampler`; that is all the rest of the system knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from selfboost.records import Finish, Message, Model, Sampling


@dataclass(frozen=True, kw_only=True)
class Request:
    """One sample wanted: token ids of the whole prompt (template and answer prefix included), settings, its seed."""

    prompt_ids: tuple[int, ...]
    sampling: Sampling
    """`samples` is ignored here: one request is one sample."""
    seed: int
    """The sample depends on this seed, the prompt and the model only, never on its neighbours in a batch."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One sample."""

    token_ids: tuple[int, ...]
    """The end-of-turn token included where the model ended the answer."""
    logps: tuple[float, ...]
    """Natural log-probability of each token under the model itself (temperature 1, nothing cut off)."""
    finish: Finish
    reason: str = ""


class Tokenizer(Protocol):
    """The only way from text to token ids and back: the model's own chat template, applied in one place."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know, in sentences: a default chat template in use, a missing end-of-turn token."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of vocabulary, template and special tokens."""
        ...

    def prompt_ids(self, messages: Sequence[Message], prefix: str = "") -> tuple[int, ...]:
        """Ids of the conversation, rendered up to where the assistant begins to speak, then the answer's prefix."""
        ...

    def answer_ids(self, text: str) -> tuple[int, ...]:
        """Ids of an assistant's answer given as text, its end-of-turn token included, once."""
        ...

    def text(self, token_ids: Sequence[int]) -> str:
        """The answer's text, without its end-of-turn token."""
        ...

    def save(self, folder: Path) -> None:
        """Write the tokenizer, with the template in use, into a trained model's folder."""
        ...


class Sampler(Protocol):
    """An opened model."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together."""
        ...

    @property
    def chunk(self) -> int:
        """How many requests are worth handing over at once; the same requests in one call give the same bits."""
        ...

    def sample(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yield (index of the request, its sample) as the samples finish, in any order."""
        ...


class Engine(Protocol):
    """A component that samples."""

    def tokenizer(self, model: Model) -> Tokenizer:
        """The model's tokenizer alone, without loading weights."""
        ...

    def open(self, model: Model) -> AbstractContextManager[Sampler]:
        """Load the model for sampling and free it at the end."""
        ...

    def fingerprint(self, path: str) -> str:
        """Hash of a checkpoint's content; raises ValueError with one clear sentence where there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What is known of a model without its weights."""

    tokenizer: Tokenizer
    context_length: int | None = None
    """Most tokens of prompt and answer together; None: unknown."""
    notes: Sequence[str] = ()
    """What the user must know of the model, its tokenizer's notes left out."""


@runtime_checkable
class Looking(Protocol):
    """An engine that finds out without loading whether it could open a model; others are asked for a tokenizer."""

    def look(self, model: Model) -> Looked:
        """The model's tokenizer and context; raises ValueError with one sentence where it cannot be opened."""
        ...


def look_at(engine: Engine, model: Model) -> Looked:
    """A model as far as its engine can see it without loading it.

    Raises:
        ValueError: it cannot be opened.
    """
    return engine.look(model) if isinstance(engine, Looking) else Looked(tokenizer=engine.tokenizer(model))


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """How an engine holds a model while it samples: what a plan's memory is made of."""

    weight_bytes: int = 2
    """Bytes of a weight, and of a number in the cache of keys and values."""
    rows: int = 1
    """Rows that are decoded at a time, each with its keys and values."""


@runtime_checkable
class Sized(Protocol):
    """An engine that says how it holds a model; one that does not is taken for `Footprint()`."""

    def footprint(self) -> Footprint:
        """On the device that a run is planned for."""
        ...


def footprint_of(engine: Engine) -> Footprint:
    """How an engine holds a model, for estimates."""
    return engine.footprint() if isinstance(engine, Sized) else Footprint()


Progress = Callable[[int, int, int], None]
"""Called as (done, total, tokens): items of a stage finished so far, items in all, tokens handled so far."""
