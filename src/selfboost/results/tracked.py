"""A run's iterations for experiment trackers: measures with intervals, gains, drift, times by kind, alarms, samples.

An iteration is sent once, when it ends; one that a resumed run finds unchanged in `run.json` has been sent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfboost import store
from selfboost.extras import require
from selfboost.measures import Estimated
from selfboost.recipe import Recipe
from selfboost.records import Example
from selfboost.results import Iteration
from selfboost.results.answered import measured_answers, sample_rows
from selfboost.results.differing import differing
from selfboost.results.kinds import by_kind
from selfboost.trackers import Table, Tracked, require_tracker, tracking

ENDS = ("value", "low", "high")


class RunTracking:
    """The trackers of a run; each is opened for one iteration at a time, as a training's may be open in between."""

    def __init__(self, recipe: Recipe, root: Path, table: Mapping[str, Any]) -> None:
        """`table`: the recipe as TOML has it.

        Raises:
            ValueError: a tracker is not installed; says how to install it.
        """
        self._names, self._root, self._settings = recipe.run.trackers, root, recipe.run
        self._measure = recipe.gate.measure
        for name in self._names:
            require_tracker(name)
        if self._settings.tracking_samples and "mlflow" in self._names:
            require("pandas", extra="pandas", setting="run.tracking_samples with MLflow")
        self._told = {each.name: str(each.value) for each in differing(table)} if self._names else {}

    def tell(self, iteration: Iteration, known: Sequence[Iteration], held_out: Sequence[Example]) -> str:
        """Send an iteration that is not among those of an earlier try; a sentence where a tracker failed.

        `held_out`: the held-out prompts with their good answers, as far as there are some.
        """
        if not self._names or any(_same(iteration, each) for each in known):
            return ""
        try:
            row, samples = row_of(iteration, self._cards(iteration.iteration)), self._samples(iteration, held_out)
            with tracking(self._names, self._tracked(iteration.iteration)) as trackers:
                for tracker in trackers:
                    tracker.log(row)
                    for name, sentence in iteration.drift.alarms.items():
                        tracker.note(f"alarm: {name}", sentence, iteration.iteration)
                    if samples:
                        tracker.table("samples", samples, iteration.iteration)
        except Exception as error:  # whatever a tracker or its server raises: the run is worth more than its copy
            return f"iteration {iteration.iteration} was not sent to {', '.join(self._names)}: {error}"
        return ""

    def _cards(self, number: int) -> list[store.StageCard]:
        return [card for card in store.cards(self._root) if card.name.startswith(f"iteration-{number}/")]

    def _samples(self, iteration: Iteration, held_out: Sequence[Example]) -> Table:
        """What leaves the run's folder of its texts: nothing unless the recipe asks for it."""
        if not self._settings.tracking_samples:
            return []
        first, own = (
            measured_answers(self._root, self._cards(number), self._measure) for number in (0, iteration.iteration)
        )
        gold = {example.prompt.id: example.answer.text for example in held_out}
        return sample_rows(first, own, gold, self._settings.tracking_samples)

    def _tracked(self, number: int) -> Tracked:
        place = self._root.resolve()
        told = hashlib.sha256(str(place).encode()).hexdigest()[:8]
        return Tracked(
            project=self._settings.tracking_project,
            name=re.sub(r"[^\w.-]+", "-", f"{place.name}-{told}"),
            folder=Path(self._settings.tracking_folder),
            settings=self._told,
            steps_done=number - 1,
        )


def row_of(iteration: Iteration, cards: Sequence[store.StageCard]) -> dict[str, float]:
    """Column → number; `step` is the iteration."""
    row: dict[str, float] = {"step": iteration.iteration, "pairs": iteration.pairs}
    for split, measures in (("held_out", iteration.measures), ("validation", iteration.validation)):
        for name, found in measures.items():
            row |= dict(_ends(f"{split}/{name}", found)) | dict(_ends(f"{split}/{name}_gain", found.gained))
    for name, figure in iteration.drift.figures.items():
        row |= dict(_ends(f"drift/{name}", figure))
    row |= {f"seconds/{kind}": seconds for kind, seconds in by_kind(cards).items()}
    return row | {"alarms": len(iteration.drift.alarms), "promoted": float(iteration.decision == "promoted")}


def _ends(name: str, found: Estimated) -> Iterator[tuple[str, float]]:
    for end, value in zip(ENDS, (found.value, found.low, found.high), strict=True):
        if value is not None:
            yield name if end == "value" else f"{name}_{end}", value


def _same(one: Iteration, other: Iteration) -> bool:
    return one.iteration == other.iteration and asdict(one)["measures"] == asdict(other)["measures"]
