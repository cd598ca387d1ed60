"""Made-up texts, and how many tokens the true texts in their place would have.

Every made-up text ends with a unique mark. A request is as long as the texts whose marks it contains plus its own
words. A model's answers are as long as those it was trained on, at first the seed's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from selfboost.data.seeds import Seed
from selfboost.records import Message
from selfboost.templates import about_tokens

MARK = re.compile(r"#(\d+)#")
TAGS = re.compile(r"<(\w+)>.*?</\1>", re.DOTALL)
WORDS = 8
"""Made-up words per text: enough for keywords."""
LETTERS = 26


@dataclass(frozen=True, slots=True)
class Tokens:
    """How long texts are."""

    mean: float
    """With sampled answers as long as their model learned (at first as the seed's)."""
    most: float
    """With every sampled answer of maximum length."""

    @classmethod
    def average(cls, tokens: Sequence[Tokens]) -> Tokens:
        """The mean of several, 0 of none."""
        parts = max(1, len(tokens))
        return cls(sum(each.mean for each in tokens) / parts, sum(each.most for each in tokens) / parts)

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """As many equal ids."""
        return _zeros(max(1, round(self.mean)))

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.mean + other.mean, self.most + other.most)

    def __truediv__(self, parts: float) -> Tokens:
        return Tokens(self.mean / parts, self.most / parts)


@lru_cache(maxsize=10_000)
def _zeros(count: int) -> tuple[int, ...]:
    """Held once for all prompts of a length."""
    return (0,) * count


NONE = Tokens(0.0, 0.0)


class Texts:
    """The texts of one rehearsal."""

    def __init__(self, prompt: float, answer: float, sampled: float | None = None) -> None:
        """`prompt`, `answer`: the seed's mean tokens; `sampled`: those of the initial model's answers, if known."""
        self.prompt, self.answer = Tokens(prompt, prompt), Tokens(answer, answer)
        self.sampled = self.answer if sampled is None else Tokens(sampled, sampled)
        self._known: dict[str, Tokens] = {}
        self._marked: list[tuple[str, ...]] = []
        self._answers: set[str] = set()

    def seeds(self, count: int) -> list[Seed]:
        """Made-up seeds, as long as the recipe's."""
        return [self._seed() for _ in range(count)]

    def reply(self, asked: str, name: str, tokens: Tokens) -> str:
        """A new answer of the given length, in the tags that the request shows."""
        tags = _tags(asked)
        if not tags:
            whole = f"answer of {name} #{len(self._marked)}#"
            self._marked.append((whole,))
        else:
            parts = [f"{tag} of {name} #{len(self._marked) + i}#" for i, tag in enumerate(tags)]
            whole = "\n".join(f"<{tag}>{part}</{tag}>" for tag, part in zip(tags, parts, strict=True))
            self._marked += [(whole, part) for part in parts]
            self._known.update(dict.fromkeys(parts, tokens / len(parts)))
            self._answers.update(parts)
        self._known[whole] = tokens
        self._answers.add(whole)
        return whole

    def asked(self, messages: Sequence[Message], prefix: str = "") -> Tokens:
        """Tokens of a conversation. A user's message that is a model's text is a new prompt, as long as the seed's."""
        mean = most = about_tokens(prefix)
        for message in messages:
            if message.role == "user" and self._is_written(message.content):
                self._answers.discard(message.content)
                self._known[message.content] = self.prompt
            found = self.of(message.content)
            mean, most = mean + found.mean, most + found.most
        return Tokens(mean, most)

    def of(self, text: str) -> Tokens:
        """Tokens of a text: of all made-up texts in it and of its own words."""
        if text not in self._known:
            self._known[text] = self._composed(text)
        return self._known[text]

    def _composed(self, text: str) -> Tokens:
        held, rest = NONE, text
        for part in (part for mark in MARK.findall(text) for part in self._with(mark)):
            if part in rest:
                held, rest = held + self._known[part], rest.replace(part, "", 1)
        own = about_tokens(rest)
        return held + Tokens(own, own)

    def _is_written(self, text: str) -> bool:
        """Whether a text is a model's answer, or part of one, that has not been a prompt yet."""
        if text in self._known:
            return text in self._answers
        marks = MARK.findall(text)
        return len(marks) == 1 and any(whole in self._answers and text in whole for whole in self._with(marks[0]))

    def _with(self, mark: str) -> tuple[str, ...]:
        """The made-up texts with this mark, the longest first."""
        return self._marked[int(mark)] if int(mark) < len(self._marked) else ()

    def _seed(self) -> Seed:
        seed = made_up_seed(len(self._marked))
        (asked,) = seed.messages
        for text, tokens in ((asked.content, self.prompt), (seed.response, self.answer)):
            self._marked.append((text,))
            self._known[text] = tokens
        return seed


@lru_cache(maxsize=1000)
def _tags(asked: str) -> list[str]:
    """The tags that a request shows."""
    return list(dict.fromkeys(TAGS.findall(asked))) if "</" in asked else []


@lru_cache(maxsize=20_000)
def made_up_seed(number: int) -> Seed:
    """The seed whose prompt has this mark and whose answer has the next."""
    words = " ".join(_word(WORDS * number + place) for place in range(WORDS))
    asked = Message(role="user", content=f"What of {words} #{number}#")
    return Seed(messages=(asked,), response=f"It is so #{number + 1}#")


def _word(number: int) -> str:
    """A five-letter word, different for each number below 26⁵."""
    return "".join(chr(ord("a") + number // LETTERS**place % LETTERS) for place in range(5))
