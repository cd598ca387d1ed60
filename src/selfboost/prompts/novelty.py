"""Whether a prompt is new: not seen before, and not similar to any prompt that results are reported on.

Near-duplicates are found by MinHash (Broder 1997) and confirmed on the word n-grams themselves; decontamination looks
for a shared run of words, as GPT-3's did (arXiv 2005.14165, appendix C), wrappers of many prompts excepted. Leaves out
paraphrases, and languages written without spaces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, cast

from pydantic import Field

from selfboost.data.seeds import read_prompts
from selfboost.setting_types import PathOrName, SeveralOrNone
from selfboost.statistics import words_of
from selfboost.verbs import Verbs

if TYPE_CHECKING:
    import numpy as np
    from datasketch import MinHash
    from numpy.typing import NDArray

    from selfboost.prompts.near_index import NearIndex

SHINGLE = 3
"""Words of the n-grams that two prompts are compared by."""
PERMUTATIONS = 128
"""Hash functions of a MinHash."""
WRAPPED, WRAPPED_SHARE = 5, 0.1
"""Prompts, and share of the prompts, that have a run of words in common if it is a wrapper ("Below is an instruction
that describes a task ..."): it says nothing of any one of them."""
LOOSER = 0.8
"""Candidates are searched at this share of the threshold, so that few are missed, and then compared exactly."""


@dataclass(frozen=True, kw_only=True)
class NoveltyRule:
    """Which new prompts are dropped as too similar to others; exact repetitions always are."""

    similarity: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Drop a prompt with this Jaccard similarity (word 3-grams) to a seed or an earlier prompt (1 = the same)."""
    shared_words: SeveralOrNone = 8
    """Drop a prompt sharing this many consecutive words with a measured or kept-away prompt (0 = only equal ones)."""
    keep_away: tuple[PathOrName, ...] = ()
    """Files (or hub data sets) of further prompts to keep away from: those of the benchmarks you report."""


def runs(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    """All runs of `length` words, each once, in order; the whole text where it is shorter."""
    return list(dict.fromkeys(tuple(words[i : i + length]) for i in range(max(1, len(words) - length + 1))))


class Novelty:
    """The prompts so far, and whether another one is new."""

    def __init__(self, rule: NoveltyRule, prompts: Iterable[tuple[str, str]], measured: Mapping[str, str]) -> None:
        """`prompts`: (text, reason given when it is repeated); `measured`: texts to keep away from → their name."""
        self._rule = rule
        self._reasons: dict[str, str] = {}
        self._near: NearIndex | None = None
        self._texts: list[str] = []
        self._guarded: dict[tuple[str, ...], str] = {}
        """Run of words that no new prompt may have → the objection."""
        self.wrapper: tuple[str, ...] = ()
        """The most frequent run of words that is not guarded, since it wraps many measured prompts; empty if none."""
        for text, name in measured.items():
            self._reasons[text] = f"equals a {name} prompt"
        if rule.shared_words:
            self._guard(measured, rule.shared_words)
        for text, reason in prompts:
            self.remember(text, reason)

    def _guard(self, measured: Mapping[str, str], length: int) -> None:
        """Guard the measured prompts' runs of words, but for those that wrap many prompts of one name."""
        prompts, uses = Counter(measured.values()), Counter[tuple[str, tuple[str, ...]]]()
        for text, name in measured.items():
            own = runs(words_of(text), length)
            uses.update((name, run) for run in own)
            for run in own:
                self._guarded.setdefault(run, f"shares words with a {name} prompt")
        for (name, run), count in uses.most_common():
            if count < WRAPPED:
                break
            if count >= WRAPPED_SHARE * prompts[name] and self._guarded.pop(run, None):
                self.wrapper = self.wrapper or run

    def objection(self, text: str) -> str:
        """Why a text is not new; empty if it is."""
        if text in self._reasons:
            return self._reasons[text]
        if near := self.nearness(text):
            return near
        return "near-duplicate" if self._rule.similarity < 1 and self._resembles(tuple(words_of(text))) else ""

    def nearness(self, text: str) -> str:
        """Which kind of measured or kept-away prompt a text shares words with; empty if none."""
        found = runs(words_of(text), self._rule.shared_words) if self._guarded else []
        return next((self._guarded[run] for run in found if run in self._guarded), "")

    def remember(self, text: str, reason: str = "duplicate") -> None:
        """Add a text to those that no later one may repeat."""
        self._reasons.setdefault(text, reason)
        if self._rule.similarity < 1:
            self._near = self._near or _index(LOOSER * self._rule.similarity)
            self._near.insert(_min_hash(tuple(words_of(text))))
            self._texts.append(text)

    def _resembles(self, words: tuple[str, ...]) -> bool:
        if self._near is None:
            return False
        own = set(runs(words, SHINGLE))
        found = self._near.query(_min_hash(words))
        return any(jaccard(own, set(runs(words_of(self._texts[i]), SHINGLE))) >= self._rule.similarity for i in found)


def novelty_of(run: Verbs, rule: NoveltyRule) -> Novelty:
    """The novelty check against seed, measured and remembered prompts; one per run and rule."""
    if rule not in run.memory:
        measured = {e.prompt.dialogue: e.prompt.origin.source for e in (*run.validation, *run.held_out)}
        away = {text: "kept-away" for source in rule.keep_away for text in read_prompts(source)}
        texts = [seed.prompt.dialogue for seed in run.seeds]
        found = Novelty(rule, ((text, "equals a seed prompt") for text in texts), away | measured)
        if near := sum(bool(found.nearness(text)) for text in texts):
            sentence = "seeds share words with measured or kept-away prompts; they are kept"
            run.say(f"{near} of {len(texts)} {sentence}")
        run.memory[rule] = found
    return run.memory[rule]


def jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    """Shared elements over all elements."""
    return len(one & other) / len(one | other)


@cache
def _empty() -> MinHash:
    """Created once: drawing the hash functions takes longer than using them."""
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS)


def _index(threshold: float) -> NearIndex:
    """With the bands that balance what is missed and what is compared in vain at a threshold."""
    from datasketch import MinHashLSH

    from selfboost.prompts.near_index import NearIndex

    best = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    return NearIndex(best.b, best.r)


@lru_cache(maxsize=1)  # a prompt that is looked up and then remembered is hashed once
def _min_hash(words: tuple[str, ...]) -> NDArray[np.uint64]:
    found = _empty().copy()
    found.update_batch([" ".join(run).encode() for run in runs(words, SHINGLE)])
    return cast("NDArray[np.uint64]", found.hashvalues)


def copied(text: str, template: str, length: int) -> bool:
    """Whether a text has only words of the template, or `length` consecutive words of it."""
    words = tuple(words_of(text))
    whole = bool(words) and words in _runs_of(template, len(words))
    return whole or (len(words) >= length and not _runs_of(template, length).isdisjoint(runs(words, length)))


@lru_cache(maxsize=100)
def _runs_of(template: str, length: int) -> frozenset[tuple[str, ...]]:
    """Found once, for all texts that are compared with a template."""
    return frozenset(runs(words_of(template), length))
