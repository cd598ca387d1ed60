"""How much of a stage may fail or be cut before the run stops, since what follows would learn from the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from selfboost.drift.passes import FOLDER
from selfboost.recipe import Recipe
from selfboost.records import Sampling
from selfboost.setting_types import parts_of
from selfboost.store.faults import Fault, faults_of

ENOUGH = 200
"""Rows from which a stage at work is stopped without waiting for the others."""
WATCHED = frozenset((FOLDER, "distributions"))
"""Folders of stages whose answers are cut on purpose: a divergence is that of their beginnings."""


@dataclass(frozen=True, kw_only=True)
class FaultLimits:
    """The largest shares that a stage may have, and what to change if it has more."""

    failed: float = 1.0
    cut: float = 1.0
    longer: str = "its max_tokens"
    """The setting that would cut fewer answers."""

    def check(self, stage: str, notes: Mapping[str, Any], rows: int) -> None:
        """Compare a stage's faults with the limits; `notes` are those of its card.

        Raises:
            ValueError: too much failed or was cut; says what to change.
        """
        for fault in faults_of(notes, rows):
            limit = {"failed": self.failed, "cut": self.cut}.get(fault.kind, 1.0)
            if fault.share > limit:
                raise ValueError(f"{stage}: {fault}, more than run.max_{fault.kind} = {limit:g}; {self._cure(fault)}")

    def check_so_far(self, stage: str, notes: Mapping[str, Any], rows: int) -> None:
        """The same for a stage at work, once it has enough rows.

        Raises:
            ValueError: too much of them failed or was cut.
        """
        if rows >= ENOUGH:
            self.check(stage, notes, rows)

    def _cure(self, fault: Fault) -> str:
        if fault.kind == "failed":
            return "remove the cause, or accept it with --set run.max_failed=1"
        return f"raise {self.longer}, or accept it with --set run.max_cut=1"


ANY = FaultLimits()
"""No limits."""


def limits_for(recipe: Recipe, place: str, sampling: Sampling | None = None, *, spared: bool = False) -> FaultLimits:
    """A recipe's limits for a stage below `place`. `spared`: its answers may all be cut.

    So may those that are only watched; a trained model's others are what is learned from or rewritten next.
    """
    spared = spared or not WATCHED.isdisjoint(place.split("/"))
    found = FaultLimits(failed=recipe.run.max_failed, cut=1.0 if spared else recipe.run.max_cut)
    if sampling is None:
        return found
    asked = (sampling.max_tokens, sampling.temperature)
    alike = [where for where, each in parts_of(recipe, Sampling) if (each.max_tokens, each.temperature) == asked]
    places = [f"{where}.max_tokens" for where in alike]
    return replace(found, longer=f"{' or '.join(places) or 'its max_tokens'} ({sampling.max_tokens})")
