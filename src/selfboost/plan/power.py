"""What the recipe's prompts can show: the smallest gain that the gate, and the report, would probably notice."""

from __future__ import annotations

from selfboost.data.seed_data import SeedData
from selfboost.recipe import Recipe
from selfboost.statistics.claims import POWER, detectable

DEVIATION_OF_SHARES = 0.5
"""Assumed standard deviation over prompts of the paired difference of a share: verdicts of 0 or 1, half of them 1, that
correlate at one half between the two models. Fewer verdicts change as the models grow alike."""


def power_note(recipe: Recipe, data: SeedData) -> str:
    """One sentence on both sets of prompts."""
    measure = recipe.measures[recipe.gate.measure]
    counts = {"validation": len(data.validation), "held-out": len(data.held_out)}
    if measure.share:
        sizes = {name: f"{100 * detectable(DEVIATION_OF_SHARES, n):.1f}" for name, n in counts.items()}
        unit = f"percentage points, if paired differences spread by {DEVIATION_OF_SHARES}"
    else:
        sizes = {name: f"{detectable(1.0, n):.2f}" for name, n in counts.items()}
        unit = "standard deviations of the paired difference"
    shown = " and ".join(f"{sizes[name]} on {count:,} {name} prompts" for name, count in counts.items())
    return f"smallest gain found with {100 * POWER:.0f} % probability: {shown} ({unit})"
