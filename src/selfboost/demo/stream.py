"""The endless text that the base model learns from: requests of three kinds (answer, improve, make a prompt)
and their replies."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from selfboost.demo.checks import FAMILIES, read
from selfboost.demo.sloppiness import Sloppiness
from selfboost.demo.task import Family, Task
from selfboost.demo.templates import GENERATOR_TARGET, GENERATOR_TEMPLATE, KEYWORD_SEPARATOR, REWRITE_TEMPLATE
from selfboost.demo.vocabulary import STOP_WORDS

COPYING_FAMILIES = frozenset(
    ("reverse", "join", "pick", "replace", "repeat", "capitals", "sort", "compare", "odd", "keep", "text")
)
HARD_FAMILIES = frozenset(("replace", "odd", "keep", "text", "count"))
"""Families sampled twice as often as the others."""
_STUDIED = tuple(family for family in FAMILIES for _ in range(2 if family.name in HARD_FAMILIES else 1))
_COPYING = tuple(family for family in _STUDIED if family.name in COPYING_FAMILIES)


def keywords_of(text: str) -> list[str]:
    """The words of a text that can be keywords: numbers, and longer words that are not stop-words; each once."""
    words = dict.fromkeys(word.lower() for word in text.split())
    return [word for word in words if word.isdigit() or (len(word) > 2 and word not in STOP_WORDS)]


def fresh_task(rng: Random, reserved: frozenset[str], families: tuple[Family, ...] = FAMILIES) -> tuple[str, Task]:
    """A random prompt of a random family outside the reserved ones, with its task."""
    while True:
        prompt = rng.choice(families).ask(rng)
        task = read(prompt)
        assert task is not None, f"a family asked a prompt that no family reads: {prompt}"
        if prompt not in reserved:
            return prompt, task


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request and its reply; both the reply and what follows `given` in the request are learned."""

    given: str
    draft: str = ""
    reply: str


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Endless exchanges; never uses a reserved prompt."""

    reserved: frozenset[str]
    sloppiness: Sloppiness = field(default_factory=Sloppiness)
    answering: float = 0.42
    """Share of plain prompts."""
    improving: float = 0.36
    """Share of requests to improve a draft; the rest are requests to make a prompt from keywords."""

    def copying(self, rng: Random) -> Iterator[Exchange]:
        """Right answers of the families that copy words from the prompt: the hardest skill, learned best on its own."""
        while True:
            prompt, task = fresh_task(rng, self.reserved, _COPYING)
            yield Exchange(given=prompt, reply=task.gold(rng))

    def exchanges(self, rng: Random, share: float) -> Iterator[Exchange]:
        """Exchanges whose sloppiness is scaled by `share`."""
        while True:
            draw = rng.random()
            prompt, task = fresh_task(rng, self.reserved, _STUDIED)
            gold = task.gold(rng)
            if draw < self.answering:
                yield Exchange(given=prompt, reply=self.sloppiness.answer(rng, task, gold, share))
            elif draw < self.answering + self.improving:
                draft = self.sloppiness.answer(rng, task, gold)
                improved = self.sloppiness.rewrite(rng, task, gold, draft, share)
                given = REWRITE_TEMPLATE.format(prompt=prompt, answer="").strip()
                yield Exchange(given=given, draft=draft, reply=improved)
            else:
                answer = self.sloppiness.answer(rng, task, gold, share)
                target = GENERATOR_TARGET.format(question=prompt, solution=answer)
                yield Exchange(given=GENERATOR_TEMPLATE.format(keywords=self._keywords(rng, prompt)), reply=target)

    def _keywords(self, rng: Random, prompt: str) -> str:
        """Two keywords of the prompt and one of another prompt, shuffled."""
        own, noise = keywords_of(prompt), keywords_of(fresh_task(rng, self.reserved)[0])
        words = [*rng.sample(own, 2), rng.choice(noise)]
        rng.shuffle(words)
        return KEYWORD_SEPARATOR.join(words)
