"""The search for beta: one training per value, the best on the validation prompts is kept (arXiv 2410.06961, 3.1).

The paper searches {2, 4, 6, 8, 10, 12} in every optimisation without stating a criterion: here a measure of the
recipe's benchmark on the validation prompts, never the held-out ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from selfboost.losses import Loss, beta_of, with_beta
from selfboost.measures import check_decides, mean_of
from selfboost.methods.parts.pairing import pick
from selfboost.notes import Note
from selfboost.recipe_text import kind_of
from selfboost.records import Model, Pair, Sampling
from selfboost.scorers import pairwise
from selfboost.setting_types import CountOrNone, Positive, Text
from selfboost.statistics import summed
from selfboost.verbs import Settings, Verbs

SCORES = "the scorer's scores"
"""What decides where it is not a measure of the benchmark."""
FOUND = "beta"
"""Name of the chosen value in the run's memory."""


@dataclass(frozen=True, kw_only=True)
class BetaSearched(Note, kept_as="beta_search"):
    """What the search for beta found."""

    chosen: float
    tried: Mapping[str, float] = field(default_factory=dict[str, float])
    """Beta as text → mean of the measure on the validation prompts; empty where an earlier choice was kept."""
    measure: str = ""
    """The measure that decided."""


@dataclass(frozen=True, kw_only=True)
class BetaSearch:
    """Which values of the loss's beta are tried, and how one is chosen."""

    betas: tuple[Positive, ...] = ()
    """Values to try (the paper: 2, 4, 6, 8, 10, 12); none: the loss's own beta, no search."""
    measure: Text = ""
    """The benchmark's measure whose mean on the validation prompts decides; empty: the gate's."""
    pairs: CountOrNone = 0
    """For a small budget: try each value on this many random pairs, then train the best on all (0 = try on all)."""
    iterations: Literal["all", "first"] = "all"
    """Search in every iteration, as in the paper, or only in the first and keep its choice."""
    by: Literal["benchmark", "scorer"] = "benchmark"
    """What rates the trials: a measure of the benchmark, or the scorer, so that who chooses is not who reports."""
    sampling: Sampling = field(default_factory=Sampling)
    """How the answers that the scorer rates are sampled."""

    def __post_init__(self) -> None:
        if len({f"{beta:g}" for beta in self.betas}) < len(self.betas):
            raise ValueError(f"betas = {list(self.betas)}: must all be different")
        if self.by == "scorer" and self.measure:
            raise ValueError(
                f"measure = {self.measure!r}: is the benchmark's, but by = 'scorer'; leave one of them out"
            )

    def check(self, recipe: Settings) -> None:
        """Check that the loss has a beta to search for, and the benchmark the deciding measure.

        Raises:
            ValueError: either is missing.
        """
        if self.betas and beta_of(recipe.loss) is None:
            raise ValueError(f"method.search.betas: the loss {kind_of(recipe.loss)} has no beta; leave betas out")
        if self.measure:
            check_decides(recipe.measures, self.measure, "method.search.measure")

    def remarks(self) -> tuple[str, ...]:
        """States where the judge that reports chooses as well."""
        if not self.betas or self.by == "scorer":
            return ()
        return (
            "the benchmark's judge chooses beta on the validation prompts and reports on the held-out ones: "
            'method.search.by = "scorer" lets the scorer choose',
        )

    def prefer(
        self, run: Verbs, pairs: Sequence[Pair], *, start: Model, reference: Model, loss: Loss | None = None
    ) -> Model:
        """The policy trained with the best beta, by the recipe's loss unless another is given; note `BetaSearched`."""
        if not self.betas:
            return run.prefer("policy", pairs, start=start, reference=reference, loss=loss)
        given = loss or run.recipe.loss
        if self.iterations == "first" and FOUND in run.memory:
            loss = with_beta(given, run.memory[FOUND])
            run.note(BetaSearched(chosen=run.memory[FOUND]))
            return run.prefer("policy", pairs, start=start, reference=reference, loss=loss)
        tried_on = pick(pairs, self.pairs, run.recipe.run.seed + run.iteration) if self.pairs else pairs
        found: dict[float, tuple[float, Model]] = {}
        for beta in self.betas:
            with run.inside(f"beta-{beta:g}"):
                loss = with_beta(given, beta)
                model = run.prefer("policy", tried_on, start=start, reference=reference, loss=loss)
                found[beta] = self._rated(run, model), model
        measure = self.measure or run.recipe.gate.measure
        sign = 1 if self.by == "scorer" else run.recipe.measures[measure].sign
        best = max(found, key=lambda beta: sign * found[beta][0])
        run.memory[FOUND] = best
        tried = {f"{beta:g}": mean for beta, (mean, _) in found.items()}
        run.note(BetaSearched(chosen=best, tried=tried, measure=SCORES if self.by == "scorer" else measure))
        if len(tried_on) == len(pairs):
            return found[best][1]
        return run.prefer("policy", pairs, start=start, reference=reference, loss=with_beta(given, best))

    def _rated(self, run: Verbs, model: Model) -> float:
        """The mean rating of a trial on the validation prompts; by a pairwise scorer, its mean gap to the gold answers.

        Raises:
            ValueError: the scorer has no value for any answer.
        """
        if self.by == "benchmark":
            return mean_of(run.measure(model, "validation"), self.measure or run.recipe.gate.measure)
        asked = [example.prompt for example in run.validation]
        answers = run.sample("search-answers", model, asked, replace(self.sampling, samples=1))
        if not pairwise(run.recipe.scorer):
            values = [verdict.value for verdict in run.score("search-scores", answers)]
        else:
            both = [
                side for example, own in zip(run.validation, answers, strict=True) for side in (own, example.answer)
            ]
            scores = [verdict.value for verdict in run.score("search-scores", both)]
            values = [
                None if own is None or gold is None else own - gold
                for own, gold in zip(scores[::2], scores[1::2], strict=True)
            ]
        known = [value for value in values if value is not None]
        if not known:
            raise ValueError("method.search.by = 'scorer': the scorer has no score for any validation prompt")
        return summed(known) / len(known)
