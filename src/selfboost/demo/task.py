"""The parts of a task family: a way to ask, a way to parse a prompt, and a strict rule for its answers."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random


@dataclass(frozen=True, kw_only=True)
class Task:
    """A parsed prompt."""

    family: str
    accepts: Callable[[str], bool]
    """Whether an answer (words joined by single spaces) is right."""
    gold: Callable[[Random], str]
    """A right answer."""
    slip: Callable[[Random, str], str]
    """A random mistake made in a right answer to a prompt that the family itself asked."""
    habit: Callable[[str], str]
    """The family's habitual mistake, made in a right answer."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """All prompts of one kind."""

    name: str
    ask: Callable[[Random], str]
    """A random prompt."""
    read: Callable[[str], Task | None]
    """The task of a prompt; None if the text is not a valid prompt of this family."""


@dataclass(frozen=True)
class Wordings:
    """Several ways to say the same thing, with named slots in braces."""

    patterns: tuple[str, ...]

    def render(self, rng: Random, **slots: str) -> str:
        return rng.choice(self.patterns).format(**slots)

    def match(self, text: str) -> dict[str, str] | None:
        for pattern in self.patterns:
            found = _compiled(pattern).fullmatch(text)
            if found:
                return found.groupdict()
        return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    pieces = re.split(r"\{(\w+)\}", pattern)
    texts, names = pieces[0::2], pieces[1::2]
    slots = [f"(?P<{name}>.+?)" for name in names] + [""]
    return re.compile("".join(re.escape(text) + slot for text, slot in zip(texts, slots, strict=True)))


def exact(family: str, answer: str, slip: Callable[[Random, str], str], habit: Callable[[str], str]) -> Task:
    """A task with a single right answer."""
    return Task(family=family, accepts=lambda given: given == answer, gold=lambda _rng: answer, slip=slip, habit=habit)


def words_of(text: str, allowed: tuple[str, ...], sizes: range, separator: str = " ") -> list[str] | None:
    """The words of a list in a prompt, or None if it is not a list of allowed words and length."""
    words = text.split(separator)
    return words if len(words) in sizes and set(words) <= set(allowed) else None


def swap_two(rng: Random, words: list[str]) -> list[str]:
    """Two different positions exchanged."""
    first, second = rng.sample(range(len(words)), 2)
    swapped = list(words)
    swapped[first], swapped[second] = words[second], words[first]
    return swapped


def other_than(rng: Random, choices: tuple[str, ...], *excluded: str) -> str:
    """A random choice outside the excluded ones."""
    return rng.choice([choice for choice in choices if choice not in excluded])
