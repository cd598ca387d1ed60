"""Engines sample from models. A file here is an engine if it defines the class of its own name.

An engine opens a checkpoint and yields a `Sampler`; the rest of the system knows nothing else about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

from selfboost.records import Finish, Message, Model, Sampling


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for one sample: token ids of the whole prompt (template and answer prefix included), settings, seed."""

    prompt_ids: tuple[int, ...]
    sampling: Sampling
    """`samples` is ignored here: one request is one sample."""
    seed: int
    """The sample depends only on this seed, the prompt and the model, never on its neighbours in a batch."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One sample."""

    token_ids: tuple[int, ...]
    """Includes the end-of-turn token if the model ended the answer."""
    logps: tuple[float, ...]
    """Natural log-probability of each token under the model itself (temperature 1, nothing cut off)."""
    finish: Finish
    reason: str = ""


class Tokenizer(Protocol):
    """The only way from text to token ids and back: the model's own chat template, applied in one place."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user: a default chat template in use, a missing end-of-turn token."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of vocabulary, template and special tokens."""
        ...

    def prompt_ids(self, messages: Sequence[Message], prefix: str = "") -> tuple[int, ...]:
        """Ids of the conversation with the generation prompt, then the answer's prefix."""
        ...

    def answer_ids(self, text: str) -> tuple[int, ...]:
        """Ids of an assistant's answer given as text, with its end-of-turn token exactly once."""
        ...

    def text(self, token_ids: Sequence[int]) -> str:
        """The answer's text, without its end-of-turn token."""
        ...

    def save(self, folder: Path) -> None:
        """Write the tokenizer, with the template in use, into a trained model's folder."""
        ...


@runtime_checkable
class Tidying(Protocol):
    """A tokenizer that writes a given answer a little differently from how it was given."""

    def answer_text(self, text: str) -> str:
        """The answer as it is encoded; raises ValueError where it cannot be."""
        ...


def answer_text(tokenizer: Tokenizer, text: str) -> str:
    """A given answer as a tokenizer encodes it.

    Raises:
        ValueError: it cannot be encoded as an answer.
    """
    return cast(Tidying, tokenizer).answer_text(text) if _tidies(type(tokenizer)) else text


@cache
def _tidies(kind: type) -> bool:
    """Asked once of each class, since a look at a protocol is slow and every given answer needs it."""
    return issubclass(kind, Tidying)


class Sampler(Protocol):
    """An opened model."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def context_length(self) -> int:
        """Context: most tokens of prompt and answer together."""
        ...

    def sample(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yield (index of the request, its sample) of one block as the samples finish, in any order."""
        ...


class Engine(Protocol):
    """A component that samples."""

    @property
    def block_size(self) -> int:
        """Requests of a block, which are handed over at once; the same block gives the same bits."""
        ...

    def tokenizer(self, model: Model) -> Tokenizer:
        """The model's tokenizer alone, without loading weights."""
        ...

    def open(self, model: Model) -> AbstractContextManager[Sampler]:
        """Load the model for sampling and free it at the end."""
        ...

    def fingerprint(self, path: str) -> str:
        """Hash of a checkpoint's content. Raises ValueError, in one sentence, if there is no checkpoint."""
        ...


def blocks_at_once(engine: Engine) -> int:
    """How many calls of an opened sampler's `sample` may run at a time, each in its thread.

    An engine that batches continuously says so by an attribute or property of this name; others take one.
    """
    return int(getattr(engine, "blocks_at_once", 1))


@runtime_checkable
class Holding(Protocol):
    """An engine that keeps a model on the device after `open` has ended, to reload weights in place the next time."""

    def release(self) -> Mapping[str, Any]:
        """Let go of what this process holds for it, if anything; facts for the notes of the training that follows."""
        ...


def release(engine: Engine) -> Mapping[str, Any]:
    """Make an engine let go of the model that it keeps in this process, if it is one that does."""
    return engine.release() if isinstance(engine, Holding) else {}


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A transformers model in memory, for libraries that take one."""

    weights: Any
    """A `PreTrainedModel` in evaluation mode, on its device."""
    tokenizer: Any
    """A `PreTrainedTokenizerBase` with the chat template that the engine uses."""
    context_length: int
    """Most tokens that the model reads."""


@runtime_checkable
class Loading(Protocol):
    """An engine that holds a transformers model in this process and can hand it out."""

    def load(self, model: Model) -> AbstractContextManager[Loaded]:
        """Load the model and free it at the end."""
        ...


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What is known of a model without its weights."""

    tokenizer: Tokenizer
    context_length: int | None = None
    """Most tokens of prompt and answer together; None: unknown."""
    notes: Sequence[str] = ()
    """What the user must know of the model, its tokenizer's notes left out."""
    own_template: bool = True
    """Whether the model comes with a chat template: one that does not was hardly trained to end its answers."""


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


@runtime_checkable
class Choosy(Protocol):
    """An engine that cannot draw with all settings."""

    def require(self, sampling: Sampling) -> None:
        """Raises ValueError, in one sentence, for settings that it would change or refuse."""
        ...


def check_draws(engine: Engine, recipe: Any) -> None:
    """Check that an engine can draw with all sampling settings of a recipe.

    Raises:
        ValueError: it cannot; names the setting.
    """
    if isinstance(engine, Choosy):
        for where, sampling in samplings_of(recipe):
            try:
                engine.require(sampling)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error


@runtime_checkable
class PutsOn(Protocol):
    """An engine that may sample with an adapter on its base instead of merged weights."""

    @property
    def max_lora_rank(self) -> int:
        """Largest rank of such an adapter; 0: merged weights are loaded."""
        ...


def samplings_of(part: Any, where: str = "") -> Iterator[tuple[str, Sampling]]:
    """(place, settings) of the draws from a recipe's engine; not those of a scorer with an engine of its own."""
    for f in fields(part):
        value = getattr(part, f.name)
        if isinstance(value, Sampling):
            yield f"{where}{f.name}", value
        elif is_dataclass(value) and not hasattr(value, "engine"):
            yield from samplings_of(value, f"{where}{f.name}.")


Batching = Literal["steps", "continuous", "none"]
"""Decoding steps launched one by one; continuous batching, as in vLLM; nothing on this run's GPUs."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """How an engine holds a model while it samples: the basis of a plan's memory and hours."""

    weight_bytes: int = 2
    """Bytes per weight, and per number in the key-value cache."""
    rows: int = 1
    """Rows decoded at a time, each with its keys and values; under continuous batching, as many as fit."""
    batching: Batching = "steps"
    """What bounds its speed."""
    gpus: int = 1
    """GPUs that hold one copy of the model."""
    kept: bool = False
    """Whether its weights stay in host memory while it does not sample."""


@runtime_checkable
class WithFootprint(Protocol):
    """An engine that declares how it holds a model; others are assumed to match `Footprint()`."""

    def footprint(self) -> Footprint:
        """On the device the run is planned for."""
        ...


def footprint_of(engine: Engine) -> Footprint:
    """How an engine holds a model, for estimates."""
    return engine.footprint() if isinstance(engine, WithFootprint) else Footprint()


Progress = Callable[[int, int, int], None]
"""Called as (done, total, tokens): items finished so far, items in total, tokens processed so far."""
