"""What a method is: one file in methods/, one frozen dataclass, one `iterate` that reads like the paper's algorithm.

The named options every method has are here, so that a run's record always says which start model, which reference and
which data window an iteration used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from selfboost.recipe import Recipe
    from selfboost.records import Model
    from selfboost.run import Run
    from selfboost.seeds import Seed


ModelName = Literal["initial", "previous", "seed_sft"]
"""`seed_sft` is the initial model fine-tuned on the seed."""
Window = Literal["last", "last_two", "all"]
"""Pairs of this iteration, of this and the one before, or of all so far."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to make a better model from the current one: subclass it and write `iterate`."""

    once: ClassVar[bool] = False
    """There are no iterations in it: the loop goes one round."""
    start: ModelName = "previous"
    """The model that preference optimisation starts from."""
    reference: ModelName = "previous"
    """The reference model of losses that need one."""
    window: Window = "last"
    """The iterations whose pairs are trained on."""

    def check(self, recipe: Recipe, seeds: Sequence[Seed]) -> None:
        """What can be found wrong without work, beyond single settings; raises ValueError with one sentence."""
        del recipe, seeds

    def iterate(self, run: Run) -> Model:
        """Make a candidate from `run.previous`, with the run's verbs."""
        raise NotImplementedError(f"{type(self).__name__} must define iterate(self, run)")
