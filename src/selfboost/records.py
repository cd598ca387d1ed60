"""The nouns: what the stages of a run read and write, each with its provenance.

Frozen dataclasses, one JSON object per record in a stage's file. Imports none of our modules and no library.
Token ids are made once (by the tokenizer's own chat template, or by sampling) and travel with the record: what was
sampled is what is trained on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import lru_cache
from typing import Any, Literal, TypeGuard

Finish = Literal["stop", "length", "failed", "given"]
"""How an answer ended: the model ended it, it hit the token limit, it failed, or a person gave it."""


def content_hash(value: object) -> str:
    """SHA-256 (64 hex digits) of a record or of plain JSON data, the same in every process."""
    digest = hashlib.sha256()
    for piece in _pieces(value):
        digest.update(piece.encode())
    return digest.hexdigest()


def _pieces(value: object) -> Iterator[str]:
    """A value as JSON in pieces, so that long lists of records are never held as one text."""
    if _is_list(value) and (not value or is_dataclass(value[0]) or _is_list(value[0])):
        yield "["
        for i, each in enumerate(value):
            yield "," if i else ""
            yield from _pieces(each)
        yield "]"
    else:
        yield json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=asdict)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


def transcript(messages: Sequence[Message]) -> str:
    """A conversation as one text: a single message as it is, several each after its role."""
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in messages)


def dialogue(messages: Sequence[Message]) -> str:
    """The transcript of what user and assistant say."""
    return transcript([message for message in messages if message.role != "system"])


def spoken(messages: Sequence[Message]) -> str:
    """What user and assistant say, without their names: the words of a conversation."""
    return "\n\n".join(message.content for message in messages if message.role != "system")


def from_transcript(text: str) -> tuple[Message, ...]:
    """The turns of a dialogue's transcript that ends with the user's; any other text is one turn of the user's."""
    parts = re.split(r"(?:\A|\n\n)(User|Assistant): ", text)
    turns = [
        Message(role=role.lower(), content=said.strip()) for role, said in zip(parts[1::2], parts[2::2], strict=True)
    ]
    speakers = [turn.role for turn in turns]
    in_turn = len(turns) % 2 == 1 and speakers == (["user", "assistant"] * len(turns))[: len(turns)]
    if parts[0] or len(turns) < 2 or not in_turn or not all(turn.content for turn in turns):
        return (Message(role="user", content=text),)
    return tuple(turns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a prompt comes from."""

    source: str
    """`seed`, `validation`, `held_out`, or the name of the stage that made it."""
    iteration: int = 0
    keywords: tuple[str, ...] = ()
    parent: str = ""
    """Id of the answer (or prompt) this prompt was made from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A request put to a model."""

    messages: tuple[Message, ...]
    origin: Origin
    prefix: str = ""
    """Forced beginning of the assistant's answer; its token ids belong to the prompt, never to the answer."""

    @property
    def id(self) -> str:
        """Stable id, from the content alone: the same request has the same id in every run."""
        return _prompt_id(self.messages, self.prefix)

    def asks_the_same(self, other: Prompt) -> bool:
        """Whether the id is the same, found without computing it."""
        return self is other or (self.messages == other.messages and self.prefix == other.prefix)

    @property
    def text(self) -> str:
        """The last user message: what a user would call the prompt."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def conversation(self) -> str:
        """All of it as one text: a single message as it is, several each after its role."""
        return transcript(self.messages)

    @property
    def dialogue(self) -> str:
        """All of it but the system message, which many prompts share: what makes it like or unlike another."""
        return dialogue(self.messages)


@lru_cache(maxsize=8192)
def _prompt_id(messages: tuple[Message, ...], prefix: str) -> str:
    """Kept for a while: records of many kinds name their prompt."""
    return "p-" + content_hash([[m.role, m.content] for m in messages] + [[prefix]])[:12]


def user_prompt(text: str, origin: Origin, *, prefix: str = "") -> Prompt:
    """A prompt of one user message."""
    return Prompt(messages=(Message(role="user", content=text),), origin=origin, prefix=prefix)


SAMPLING_LIMITS: Mapping[str, tuple[float, float]] = {
    "temperature": (1e-3, 100),
    "top_p": (1e-6, 1),
    "min_p": (0, 1),
    "top_k": (0, 10_000_000),
    "max_tokens": (1, 10_000_000),
    "samples": (1, 1000),
}
"""Setting of `Sampling` → its least and greatest value; the temperature may be 0 as well."""
LONGEST_STOP = 1000
"""Most characters of a text that ends an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How an answer is sampled."""

    temperature: float = 0.7
    """0 is greedy."""
    top_p: float = 1.0
    """Keep the smallest set of tokens whose probability reaches this (1 = all)."""
    top_k: int = 0
    """Keep the k most likely tokens (0 = all)."""
    min_p: float = 0.0
    """Drop tokens less likely than this fraction of the likeliest one (0 = off)."""
    max_tokens: int = 2048
    """Longest answer, in tokens."""
    stop: tuple[str, ...] = ()
    """Strings that end the answer; they are removed from its text, but their tokens are kept."""
    samples: int = 1
    """Answers per prompt."""

    def __post_init__(self) -> None:
        for name, (low, high) in SAMPLING_LIMITS.items():
            value = getattr(self, name)
            if not (low <= value <= high or (name == "temperature" and value == 0)):
                greedy = "0, or " if name == "temperature" else ""
                raise ValueError(f"{name} = {value}: allowed: {greedy}{low:,} to {high:,}")
        if "" in self.stop:
            raise ValueError(f"stop = {list(self.stop)}: an empty text would end every answer; leave it out")
        longest = max(map(len, self.stop), default=0)
        if longest > LONGEST_STOP:
            raise ValueError(f"stop: has a text of {longest:,} characters; allowed: at most {LONGEST_STOP:,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model's checkpoint: a transformers folder or hub name, and what identifies its content."""

    name: str
    """What people call it in this run: `initial`, `iteration 2`, `improver 1` …"""
    path: str
    fingerprint: str
    """Hash of the weights' content, or of everything that determined them."""
    start: Model | None = field(default=None, compare=False, repr=False)
    """The model that this run trained it from; None for one that the run did not make."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One answer to a prompt, sampled from a model or given by a person."""

    prompt: Prompt
    text: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    """Ids of the answer, including its end-of-turn token if the answer ended."""
    logps: tuple[float, ...] = ()
    """Natural log-probability of each of `token_ids` under the sampling model at temperature 1; empty if given."""
    finish: Finish = "given"
    reason: str = ""
    """Why it failed, if it did."""
    model: str = "given"
    """Fingerprint of the model that wrote it, or `given`."""
    model_name: str = "given"
    sampling: Sampling | None = None
    seed: int = 0
    """The seed this one sample was drawn with."""
    index: int = 0
    """Index of the sample among those of the same prompt."""

    @property
    def id(self) -> str:
        """Stable id, from the prompt, the model, the draw and the answer's tokens."""
        drawn = [self.prompt.id, self.model, self.seed, self.index, list(self.token_ids)]
        return "a-" + content_hash(drawn)[:12]


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A prompt and the answer that a model learns to give to it (supervised fine-tuning)."""

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    answer: Answer
    """May have been written for another prompt: an improver learns the gold answer to a rewrite request."""

    @property
    def id(self) -> str:
        """Stable id of the example."""
        return "e-" + content_hash([self.prompt.id, list(self.prompt_ids), self.answer.id])[:12]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two answers to one prompt, one preferred."""

    iteration: int
    prompt: Prompt
    prompt_ids: tuple[int, ...]
    chosen: Answer
    rejected: Answer
    chosen_score: float | None = None
    rejected_score: float | None = None
    scorer: str = ""
    """Who scored: the scorer's kind and models; empty when no score was needed."""

    @property
    def id(self) -> str:
        """Stable id of the pair."""
        return "pair-" + content_hash([self.iteration, self.prompt.id, self.chosen.id, self.rejected.id])[:12]

    @property
    def gap(self) -> float | None:
        """Score of the chosen answer minus that of the rejected one; None where either is missing."""
        if self.chosen_score is None or self.rejected_score is None:
            return None
        return self.chosen_score - self.rejected_score


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A scorer's judgement of one answer. A failure is a record with a reason, never a guessed score."""

    answer: str
    """Id of the answer."""
    scorer: str
    value: float | None
    reason: str = ""
    """Why there is no value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rated:
    """What a benchmark found for one prompt: for each measure, the values of its samples."""

    prompt: str
    """Id of the prompt, or of a benchmark's own item."""
    split: str
    """`validation` (used for choices) or `held_out` (reported); `all` for a measurement outside a run."""
    values: Mapping[str, tuple[float | None, ...]]
    """Measure name → one value per sample; None where there is no value."""
