"""The search for beta: one training per value, the best on the validation prompts is kept (arXiv 2410.06961, 3.1).

The paper searches {2, 4, 6, 8, 10, 12} in every optimisation and does not say by what: here a measure of the recipe's
benchmark on the validation prompts, never the held-out ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from selfboost.losses import beta_of, with_beta
from selfboost.measures import check_measure, mean_of
from selfboost.methods.parts.pairing import pick
from selfboost.recipe_text import kind_of
from selfboost.records import Model, Pair
from selfboost.setting_types import CountOrNone
from selfboost.verbs import Settings, Verbs

FOUND = "beta"
"""Name of the chosen value in the run's memory."""


@dataclass(frozen=True, kw_only=True)
class BetaSearch:
    """Which values of the loss's beta are tried, and how one of them is chosen."""

    betas: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Values to try (the paper: 2, 4, 6, 8, 10, 12); none: the loss's own beta, no search."""
    measure: str = ""
    """The benchmark's measure whose mean on the validation prompts decides; empty: the gate's."""
    pairs: CountOrNone = 0
    """Small budget: try each value on so many pairs drawn at random, then train the best on all (0 = try on all)."""
    iterations: Literal["all", "first"] = "all"
    """Search in every iteration, as the paper does, or in the first alone and keep its choice."""

    def __post_init__(self) -> None:
        if len({f"{beta:g}" for beta in self.betas}) < len(self.betas):
            raise ValueError(f"betas = {list(self.betas)}: must differ from each other")

    def check(self, recipe: Settings) -> None:
        """Whether the loss has a beta to search for."""
        if self.betas and beta_of(recipe.loss) is None:
            raise ValueError(f"method.search.betas: the loss {kind_of(recipe.loss)} has no beta; leave betas out")

    def check_measure(self, run: Verbs) -> None:
        """Whether the benchmark has the measure that decides; it has rated the initial model by now.

        Raises:
            ValueError: it has not.
        """
        if self.betas and run.measured:
            check_measure(run.measured, self.measure or run.recipe.gate.measure, "method.search.measure")

    def prefer(self, run: Verbs, pairs: Sequence[Pair], *, start: Model, reference: Model) -> Model:
        """The policy trained with the best beta; the search and its figures are in the run's notes."""
        if not self.betas:
            return run.prefer("policy", pairs, start=start, reference=reference)
        if self.iterations == "first" and FOUND in run.memory:
            loss = with_beta(run.recipe.loss, run.memory[FOUND])
            run.notes["beta search"] = {"chosen": run.memory[FOUND]}
            return run.prefer("policy", pairs, start=start, reference=reference, loss=loss)
        measure = self.measure or run.recipe.gate.measure
        tried_on = pick(pairs, self.pairs, run.recipe.run.seed + run.iteration) if self.pairs else list(pairs)
        found: dict[float, tuple[float, Model]] = {}
        for beta in self.betas:
            with run.inside(f"beta-{beta:g}"):
                loss = with_beta(run.recipe.loss, beta)
                model = run.prefer("policy", tried_on, start=start, reference=reference, loss=loss)
                found[beta] = mean_of(run.measure(model, "validation"), measure), model
        best = max(found, key=lambda beta: found[beta][0])
        run.memory[FOUND] = best
        run.notes["beta search"] = {f"beta {beta:g}": found[beta][0] for beta in found} | {"chosen": best}
        run.notes["beta searched by"] = f"mean validation {measure}"
        if len(tried_on) == len(pairs):
            return found[best][1]
        return run.prefer("policy", pairs, start=start, reference=reference, loss=with_beta(run.recipe.loss, best))
