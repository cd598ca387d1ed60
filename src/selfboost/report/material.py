"""The page's material, read once from a run's folder: the summary, and the pairs and answers of each iteration.

Records are read one by one and only what is shown is kept: a run may hold gigabytes. An unreadable file is
reported on the page and does not stop it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfboost import store
from selfboost.data.gold import embedded_gold, is_embedded
from selfboost.methods.parts.beta_search import BetaSearched
from selfboost.records import Pair, Prompt, Rated
from selfboost.report.prompts import RunPrompts, read_run_prompts
from selfboost.results import RECIPE
from selfboost.results.answered import Answered, measured_answers
from selfboost.views.summary import IterationSummary, RunSummary, summary

EXAMPLES = 6
SEARCH = "beta-"
"""Prefix of the folder of a beta search's trial, inside its iteration's folder."""


@dataclass(kw_only=True)
class PairFacts:
    """The pairs of one iteration: distributions of all, a few at random in full."""

    count: int = 0
    gaps: list[float] = field(default_factory=list[float])
    chosen_lengths: list[float] = field(default_factory=list[float])
    rejected_lengths: list[float] = field(default_factory=list[float])
    prompts: list[Prompt] = field(default_factory=list[Prompt])
    examples: list[Pair] = field(default_factory=list[Pair])

    def add(self, pair: Pair) -> None:
        """Add a pair to the distributions."""
        self.count += 1
        if pair.gap is not None:
            self.gaps.append(pair.gap)
        self.chosen_lengths.append(len(pair.chosen.token_ids))
        self.rejected_lengths.append(len(pair.rejected.token_ids))
        self.prompts.append(pair.prompt)


@dataclass(frozen=True, kw_only=True)
class MeasuredModel:
    """A model that was measured, as the page needs it."""

    name: str
    cards: Sequence[store.StageCard]
    pairs: PairFacts
    answers: Sequence[Answered]
    """Held-out answers of one sampling stage."""
    ratings: Mapping[str, float]
    """Held-out prompt → mean of the gate's measure."""


@dataclass(frozen=True, kw_only=True)
class Round(MeasuredModel):
    """An iteration."""

    entry: IterationSummary

    @property
    def number(self) -> int:
        """Counted from 1; 0 is the initial model."""
        return self.entry.iteration

    @property
    def tries(self) -> list[store.StageCard]:
        """Trainings of a beta search that did not become the candidate."""
        searched = [card for card in self.cards if card.verb == "prefer" and in_search(card)]
        return [card for card in searched if card not in self.policy_trainings]

    @property
    def policy_trainings(self) -> list[store.StageCard]:
        """Preference trainings of the candidate; after a search on all pairs, the chosen trial."""
        trainings = [card for card in self.cards if card.verb == "prefer"]
        direct = [card for card in trainings if not in_search(card)]
        searched = self.entry.note(BetaSearched)
        return direct or [c for c in trainings if searched and f"{SEARCH}{searched.chosen:g}" in c.name.split("/")]


@dataclass(frozen=True, kw_only=True)
class Story:
    """Everything on the page."""

    root: Path
    summary: RunSummary
    rounds: Sequence[Round]
    beside: Sequence[MeasuredModel]
    cards: Sequence[store.StageCard]
    recipe: str
    problems: Sequence[str]
    prompts: RunPrompts = field(default_factory=RunPrompts)
    gold: Mapping[str, str] = field(default_factory=dict[str, str])
    """Held-out prompt → good answer, where known."""


def outcome(new: Mapping[str, float], old: Mapping[str, float], sign: int) -> tuple[int, int, int]:
    """Prompts won, tied and lost, by two models' ratings; `sign` turns a change of the measure into an improvement."""
    gaps = [sign * (new[prompt] - old[prompt]) for prompt in new.keys() & old.keys()]
    won, lost = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
    return won, len(gaps) - won - lost, lost


def in_search(card: store.StageCard) -> bool:
    """Whether a stage belongs to a trial of the beta search."""
    return any(part.startswith(SEARCH) for part in card.name.split("/"))


def read_story(root: Path, gold: Mapping[str, str] | None = None) -> Story:
    """Read a run's folder; `gold`: held-out prompt → good answer, besides those of the embedded seed.

    Raises:
        ValueError: it is not a run's folder, or its summary is damaged.
    """
    run, cards, problems = summary(root), store.cards(root), list[str]()

    def model(name: str, place: str, iteration: int = 0) -> MeasuredModel:
        own = [card for card in cards if card.name.partition("/")[0] == place]
        return _model(root, name, iteration, own, run.gate_measure, problems)

    recipe = root / RECIPE
    rounds = [
        Round(entry=e, **vars(model(f"iteration {e.iteration}", f"iteration-{e.iteration}", e.iteration)))
        for e in run.iterations
    ]
    return Story(
        root=root,
        summary=run,
        rounds=rounds,
        beside=[model(entry.name, entry.place) for entry in run.beside],
        cards=cards,
        recipe=recipe.read_text(encoding="utf-8") if recipe.exists() else "",
        prompts=_prompts(root, cards, rounds, problems),
        problems=problems,
        gold={**(embedded_gold() if is_embedded(run.recipe) else {}), **(gold or {})},
    )


def _prompts(root: Path, cards: Sequence[store.StageCard], rounds: Sequence[Round], problems: list[str]) -> RunPrompts:
    try:
        return read_run_prompts(root, cards, {r.number: r.pairs.prompts for r in rounds})
    except (OSError, ValueError) as error:
        problems.append(f"prompts: not all can be shown ({str(error).partition(chr(10))[0]})")
        return RunPrompts()


def _model(
    root: Path, name: str, iteration: int, cards: list[store.StageCard], measure: str, problems: list[str]
) -> MeasuredModel:
    pairs, answers, ratings = PairFacts(), list[Answered](), dict[str, float]()
    measured = [card for card in cards if not in_search(card)]
    try:
        pairs = _pairs(root, cards, iteration)
        answers = measured_answers(root, measured, measure)
        ratings = _ratings(root, measured, measure)
    except (OSError, ValueError) as error:
        problems.append(f"{name}: not all can be shown ({str(error).partition(chr(10))[0]})")
    return MeasuredModel(name=name, cards=cards, pairs=pairs, answers=answers, ratings=ratings)


def _pairs(root: Path, cards: Sequence[store.StageCard], iteration: int) -> PairFacts:
    """The pairs this iteration made, each once (training may include those of earlier ones, or repeat them)."""
    facts, seen = PairFacts(), set[str]()

    def own() -> Iterator[tuple[str, Pair]]:
        for card in cards:
            for pair in store.stored_rows(root, card, Pair) if card.verb == "prefer" else ():
                if pair.iteration == iteration and pair.id not in seen:
                    seen.add(pair.id)
                    facts.add(pair)
                    yield pair.id, pair

    # Ids are hashes: the smallest are a random draw, the same in every report.
    drawn = heapq.nsmallest(EXAMPLES, own(), key=lambda item: item[0])
    facts.examples = sorted((pair for _, pair in drawn), key=lambda pair: -(pair.gap or 0))
    return facts


def _ratings(root: Path, cards: Sequence[store.StageCard], measure: str) -> dict[str, float]:
    means: dict[str, float] = {}
    for card in cards:
        if card.verb == "measure" and card.name.endswith("held_out"):
            for rated in store.stored_rows(root, card, Rated):
                known = [value for value in rated.values.get(measure, ()) if value is not None]
                if known:
                    means[rated.prompt] = sum(known) / len(known)
    return means
