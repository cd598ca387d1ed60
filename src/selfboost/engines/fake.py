"""The engine for tests: deterministic answers from a hash, instantly and without libraries.

A fake model is a name, a skill and a lineage. Its answers are `good` with its skill as probability, a few are cut off
or malformed, and its log-probabilities favour good answers the more, the higher its skill.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from selfboost.disk.files import write_atomically
from selfboost.engines import Footprint, Generation, Request
from selfboost.records import Message, Model, Sampling, content_hash
from selfboost.setting_types import Tokens
from selfboost.trust.check_functions import check_function

FILE = "fake.json"
"""The file that makes a folder a fake checkpoint."""
SPECIAL: Mapping[str, int] = {"begin": 256, "system": 257, "user": 258, "assistant": 259, "end": 260}
"""Control tokens, above the 256 bytes."""
ENDLESS, MALFORMED = 0.03, 0.05
"""Share of answers that hit the token limit, and of tagged answers without a closing tag."""
JUDGING = re.compile(r"\bone number from (-?\d+) to (-?\d+)\b")
"""How a judge's prompt asks for nothing but a number."""


@dataclass(frozen=True, kw_only=True)
class FakeModel:
    """The content of a fake checkpoint."""

    name: str
    skill: float
    """Probability of a good answer."""
    lineage: tuple[str, ...] = ()
    """The trainings that made it, oldest first, one sentence each."""

    @property
    def fingerprint(self) -> str:
        """Hash of its content."""
        return content_hash(self)


INITIAL = FakeModel(name="initial", skill=0.5)
"""The model at the path `fake`."""


def read_fake(path: str) -> FakeModel:
    """The fake model at a path: `fake`, or a folder written by `write_fake`.

    Raises:
        ValueError: there is none.
    """
    if path == "fake":
        return INITIAL
    file = Path(path) / FILE
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        return FakeModel(name=str(held["name"]), skill=float(held["skill"]), lineage=tuple(held["lineage"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path!r} is not a fake model: must be 'fake' or a folder with a {FILE} ({error})") from error


def write_fake(folder: Path, model: FakeModel) -> None:
    """Write a fake checkpoint."""
    write_atomically(folder / FILE, (json.dumps(asdict(model), indent=2) + "\n").encode())


@check_function
def is_good(prompt: str, answer: str) -> bool | None:
    """Whether an answer calls itself good; None if it says neither good nor poor, or nothing was asked."""
    found = re.search(r"\b(good|poor)\b", answer)
    return None if found is None or not prompt.strip() else found[1] == "good"


def fake_logps(model: FakeModel, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> tuple[float, ...]:
    """Log-probabilities of an answer's tokens: a more skilled model finds good answers likelier."""
    quality = is_good("asked", FakeTokenizer().text(token_ids))
    ease = {True: 1.5 - model.skill, False: 0.5 + model.skill, None: 1.0}[quality]
    stream = hashlib.shake_256(repr((tuple(prompt_ids), tuple(token_ids))).encode()).digest(len(token_ids))
    return tuple(-ease * (byte + 1) / 256 for byte in stream)


class FakeTokenizer:
    """Text as its UTF-8 bytes, with a control token per role."""

    notes: tuple[str, ...] = ()
    fingerprint = content_hash(["utf-8", dict(SPECIAL)])

    def prompt_ids(self, messages: Sequence[Message], prefix: str = "") -> tuple[int, ...]:
        """Ids of the conversation up to where the assistant begins to speak, then the answer's prefix.

        Raises:
            ValueError: a message has an unknown role.
        """
        ids = [SPECIAL["begin"]]
        for message in messages:
            if message.role not in ("system", "user", "assistant"):
                raise ValueError(f"role {message.role!r} of a message: allowed are system, user, assistant")
            ids += [SPECIAL[message.role], *message.content.encode(), SPECIAL["end"]]
        return (*ids, SPECIAL["assistant"], *prefix.encode())

    def answer_ids(self, text: str) -> tuple[int, ...]:
        """Bytes of an answer and the end-of-turn token."""
        return (*text.encode(), SPECIAL["end"])

    def text(self, token_ids: Sequence[int]) -> str:
        """The answer's text; a character cut by the token limit becomes a replacement character."""
        return bytes(identity for identity in token_ids if identity < 256).decode(errors="replace")

    def save(self, folder: Path) -> None:
        """Writes nothing: every fake model has this tokenizer."""


@dataclass(frozen=True, kw_only=True)
class Fake:
    """Deterministic answers without a language model, for tests."""

    context_length: Tokens = 8192
    """Most tokens (bytes) of prompt and answer together."""
    limits: bool = True
    """Obey `max_tokens`; false if a recipe's limits are too short for its tokens, which are bytes."""
    seconds_per_answer: Annotated[float, Field(ge=0, le=60)] = 0.0
    """Seconds per answer, so that a test can interrupt a stage."""

    @property
    def block_size(self) -> int:
        """Requests of a block."""
        return 64

    def tokenizer(self, model: Model) -> FakeTokenizer:
        """The tokenizer of every fake model."""
        read_fake(model.path)
        return FakeTokenizer()

    @contextmanager
    def open(self, model: Model) -> Generator[FakeSampler]:
        """A fake model that samples."""
        yield FakeSampler(read_fake(model.path), self)

    def fingerprint(self, path: str) -> str:
        """Hash of a fake checkpoint's content."""
        return read_fake(path).fingerprint

    def footprint(self) -> Footprint:
        """No GPU."""
        return Footprint(batching="none")


class FakeSampler:
    """An opened fake model."""

    def __init__(self, model: FakeModel, engine: Fake) -> None:
        self.model = model
        self.tokenizer = FakeTokenizer()
        self.context_length = engine.context_length
        self._limits, self._seconds = engine.limits, engine.seconds_per_answer

    def sample(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yield (index of the request, its sample), long prompts first as a real engine may."""
        for index in sorted(range(len(requests)), key=lambda index: -len(requests[index].prompt_ids)):
            if self._seconds:
                time.sleep(self._seconds)
            yield index, self._generation(requests[index])

    def _generation(self, request: Request) -> Generation:
        room = self.context_length - len(request.prompt_ids)
        if room < 1:
            reason = f"the prompt's {len(request.prompt_ids)} tokens leave no room in {self.context_length}"
            return Generation(token_ids=(), logps=(), finish="failed", reason=reason)
        limit = min(request.sampling.max_tokens, room) if self._limits else room
        whole = self.tokenizer.answer_ids(_answer(self.model, request, limit))
        ids = _until_stop(whole, request.sampling, self.tokenizer)[:limit]
        ended = ids[-1] == SPECIAL["end"] or (len(ids) < len(whole) and len(ids) < limit)
        logps = fake_logps(self.model, request.prompt_ids, ids)
        return Generation(token_ids=ids, logps=logps, finish="stop" if ended else "length")


class _Chance:
    """Numbers in [0, 1) from a hash of their inputs, the same on every machine and Python."""

    def __init__(self, *key: Any) -> None:
        self._key = hashlib.sha256(repr(key).encode()).digest()

    def number(self, purpose: str) -> float:
        digest = hashlib.sha256(self._key + purpose.encode()).digest()
        return int.from_bytes(digest[:7]) / 2**56

    def pick(self, purpose: str, words: Sequence[str]) -> str:
        return words[int(self.number(purpose) * len(words))]


def _answer(model: FakeModel, request: Request, limit: int) -> str:
    """The text of an answer."""
    sampling = request.sampling
    draw = (sampling.temperature, request.seed) if sampling.temperature else (0.0, 0)
    shared = _Chance(request.prompt_ids, draw)  # one random number for all models: a higher skill never does worse
    chance = _Chance(model.fingerprint, request.prompt_ids, draw)
    asked, prefix = _conversation(request.prompt_ids)
    words = re.findall(r"\w+", re.sub(r"</?\w+>", " ", asked)) or ["nothing"]
    if scale := JUDGING.search(asked):
        return _judgement(int(scale[1]), int(scale[2]), is_good("asked", asked), chance)
    tags = list(dict.fromkeys(re.findall(r"<(\w+)>.*?</\1>", asked, flags=re.DOTALL)))
    if tags:
        return _tagged(tags, words, chance, prefix)
    if "Score:" in asked:
        return f"So it is. Score: {4 if is_good('asked', asked) else 1 + int(chance.number('points') * 2)}"
    quality = "good" if shared.number("quality") < model.skill else "poor"
    count = 2 + int(chance.number("length") * 10)
    if chance.number("endless") < ENDLESS:
        count = limit // 3  # enough words to hit the limit, whose tokens are bytes
    said = " ".join(chance.pick(f"word {place}", words) for place in range(count))
    return f"{model.name} answers: {quality} {said}."


def _judgement(lowest: int, highest: int, good: bool | None, chance: _Chance) -> str:
    """A number from the upper half of a scale for a good answer, the lower half for a poor one, else the middle."""
    share = ({True: 1.0, False: 0.0, None: 0.5}[good] + chance.number("judgement")) / 2
    return str(round(lowest + (highest - lowest) * share))


def _tagged(tags: Sequence[str], words: Sequence[str], chance: _Chance, prefix: str) -> str:
    """Invented content in the tags that the prompt shows; an opening tag in the prefix is not repeated."""
    parts: list[str] = []
    for tag in tags:
        text = " ".join(chance.pick(f"{tag} {place}", words) for place in range(4))
        opening = "" if prefix.rstrip().endswith(f"<{tag}>") else f"<{tag}>"
        parts.append(f"{opening}{tag.capitalize()} {int(chance.number(tag) * 1000)} of {text}?</{tag}>")
    text = "\n".join(parts)
    broken = chance.number("malformed") < MALFORMED
    return text.replace(f"</{tags[0]}>", "", 1) if broken else text


def _conversation(prompt_ids: Sequence[int]) -> tuple[str, str]:
    """The last user message and the answer's prefix."""
    decode = FakeTokenizer().text
    ids = list(prompt_ids)
    last = max((place for place, identity in enumerate(ids) if identity == SPECIAL["assistant"]), default=len(ids))
    users = [place for place, identity in enumerate(ids[:last]) if identity == SPECIAL["user"]]
    return decode(ids[users[-1] : last] if users else ids[:last]), decode(ids[last:])


def _until_stop(ids: tuple[int, ...], sampling: Sampling, tokenizer: FakeTokenizer) -> tuple[int, ...]:
    """The answer, up to the end of its first stop text."""
    text = tokenizer.text(ids)
    ends = [text.index(stop) + len(stop) for stop in sampling.stop if stop and stop in text]
    return ids if not ends else tuple(text[: min(ends)].encode())
