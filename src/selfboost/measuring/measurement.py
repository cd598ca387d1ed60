"""A measurement: the benchmark's stages of a run, for one model or two, in a folder that can be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path

from selfboost import results, store
from selfboost.benchmark import OwnItems, check_rated
from selfboost.cluster.threads import limit_torch
from selfboost.data.seed_data import SeedData, load_seed_data
from selfboost.data.seeds import read_seeds
from selfboost.disk import files
from selfboost.disk.locks import lock
from selfboost.engines.run_day import on_day, run_day, today
from selfboost.measuring.request import Planned
from selfboost.measuring.stored import Measurement, StageFacts, figures_of
from selfboost.recipe_text import kind_of, known_by
from selfboost.records import Rated
from selfboost.results.environment import environment
from selfboost.run import Run
from selfboost.stages import Listener

PLACE = "measured"
"""Folder of the stages: the same for every model, so that its name in no draw's seed tells two models apart."""


def measure(planned: Planned, root: Path, listener: Listener) -> Measurement:
    """Measure in a folder, resuming from what is already there; the other model in a folder beside, with its tokenizer.

    Raises:
        ValueError: an error that the user can fix, in one sentence.
    """
    if (root / results.SUMMARY).exists() or (root / results.RECIPE).exists():
        raise ValueError(f"{root}: is a run's folder; choose another --into for a measurement")
    recipe = planned.recipe
    limit_torch(recipe.run.threads)
    day = date.fromisoformat(recipe.run.date) if recipe.run.date else today()
    with ExitStack() as opened:
        opened.enter_context(on_day(day))
        runs = [_opened(planned, root / "model", listener, opened)]
        if planned.against:  # looked at before anything is computed
            runs.append(_opened(planned.second(), root / "against", listener, opened))
            if runs[0].initial.fingerprint == runs[1].initial.fingerprint:
                raise ValueError(f"--against {planned.against}: is the very model that is measured; name another")
        found, *others = [run.measured() for run in runs]
    return replace(found, against=others[0]) if others else found


def _opened(planned: Planned, root: Path, listener: Listener, until: ExitStack) -> MeasuringRun:
    until.enter_context(lock(root))
    files.refuse_links_inside(root / store.STAGES, spare=store.CARD)
    run = MeasuringRun(planned, root, listener)
    until.enter_context(run.cluster)
    return run


class MeasuringRun(Run):
    """A run that only measures."""

    def __init__(self, planned: Planned, root: Path, listener: Listener) -> None:
        self._planned = planned
        super().__init__(planned.recipe, root, listener)

    def read_data(self) -> SeedData:
        """The prompts to measure on: the user's, the recipe's held-out ones, or none for a benchmark with its own.

        Raises:
            ValueError: there are none, or they are not wanted.
        """
        benchmark, source = self.recipe.benchmark, self.recipe.seed
        own = isinstance(benchmark, OwnItems) and benchmark.own_items
        if own and self._planned.seed:
            raise ValueError(f"--seed {self._planned.seed}: {kind_of(benchmark)} has items of its own; leave it out")
        if self._planned.seed:
            found, notes = read_seeds(
                self._planned.seed, need_response=False, turns=source.turns, columns=source.columns
            )
            return SeedData(train=(), validation=(), held_out=found, notes=notes)
        if own:
            return SeedData(train=(), validation=(), held_out=())
        if not self._planned.from_recipe:
            raise ValueError(
                f"benchmark.kind = {kind_of(benchmark)!r}: has no prompts of its own; give --seed DATA, or --recipe "
                "RECIPE to measure on its held-out prompts"
            )
        return replace(load_seed_data(source, self.recipe.run.seed), train=(), validation=())

    def measured(self) -> Measurement:
        """The benchmark's rating of the model on all items.

        Raises:
            ValueError: it cannot be measured, or there is nothing to measure on.
        """
        self.say(f"measuring {self._planned.name}")
        self.begin(0, self.initial, place=PLACE)
        benchmark = self.recipe.benchmark
        items = list(benchmark.rate(self, self.initial, self.held_out, "all"))
        if not items:
            raise ValueError(f"benchmark.kind = {kind_of(benchmark)!r}: rated nothing; there are no items")
        check_rated(benchmark, items)
        self.tell()
        return Measurement(
            model=replace(self.initial, name=self._planned.name),
            benchmark=known_by(benchmark),
            random_seed=self.recipe.run.seed,
            date=run_day().isoformat(),
            environment=environment(kind_of(self.engine)),
            said=tuple(self.said),
            declared=benchmark.measures,
            figures=figures_of(benchmark.measures, items),
            items_hash=_hash_of(items),
            items=tuple(items),
            stages={card.name: _facts(card) for card in store.cards(self.root)},
            notes=self.notes.kept,
        )


def _facts(card: store.StageCard) -> StageFacts:
    return StageFacts(fingerprint=card.fingerprint, parts=card.parts, notes=card.notes)


def _hash_of(items: Sequence[Rated]) -> str:
    return hashlib.sha256("\n".join(each.prompt for each in items).encode()).hexdigest()
