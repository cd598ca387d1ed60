"""CREAM (arXiv 2410.12735): self-rewarding that trusts its labels as far as two successive models rank alike.

The policy's answers are ranked by its own implicit reward and by the model's before it; their agreement, (τ+1)/2 of
Kendall's τ, averaged over prompts, is the weight C of the pairs against the same pairs reversed. M₀ is the initial
model, M₁ the one fine-tuned on the seed, with which the first iteration begins.

From the public code (`Raibows/CREAM`): rewards are summed log-ratios to M₀, and M₀'s own reward, which would be 0, is
its mean log-likelihood. Not established: how the paper rewards by the previous model from the second iteration on (here
as by the current one). Left out: new prompts for each iteration, and a C for each pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from selfboost.data.seeds import Seed
from selfboost.losses import ConsistencyLoss, Loss
from selfboost.method import ModelName
from selfboost.methods.parts.ranking import Ranking
from selfboost.notes import Note
from selfboost.recipe_text import kind_of
from selfboost.records import Answer, Model, Pair, Prompt, Sampling, Verdict
from selfboost.scorers import Scorer
from selfboost.scorers.implicit import Implicit
from selfboost.scorers.likelihood import Likelihood
from selfboost.setting_types import NotNegative
from selfboost.statistics import kendall_tau, summed
from selfboost.verbs import Settings, Verbs, Window

DIGITS = 6
"""Of the consistency rate."""


@dataclass(frozen=True, kw_only=True)
class Consistency(Note):
    """How far the current and the previous model rank the same answers alike."""

    rate: float | None
    """Mean of (τ+1)/2 over prompts; None if no prompt was ranked by both."""
    prompts: int
    """Prompts ranked by both: those whose answers all have both rewards."""


@dataclass(frozen=True, kw_only=True)
class CREAM(Ranking):
    """The policy's best answer by its own reward over its worst, trusted as far as the model before it agrees."""

    prompts_from: Literal["generator", "seed"] = "seed"
    """Answer the seed's prompts, or write new ones."""
    start: ModelName = "previous"
    """The model that the policy is trained from; `previous` is `seed_sft` until a policy is promoted."""
    reference: ModelName = "previous"
    """The reference model of the loss; `previous` as above."""
    window: Window = "last"
    """The iterations whose pairs are trained on."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.8, top_p=0.95, max_tokens=768))
    """How own answers are sampled (the public code's values)."""
    least_gap: NotNegative = 1e-6
    """Smallest gap between best and worst reward, in nats, unless the filter has a threshold."""

    def check(self, recipe: Settings, seeds: Sequence[Seed]) -> None:
        """Check that the loss can reverse its labels in part.

        Raises:
            ValueError: it cannot.
        """
        super().check(recipe, seeds)
        if not isinstance(recipe.loss, ConsistencyLoss):
            raise ValueError(
                f'loss.kind = "{kind_of(recipe.loss)}": cream needs a loss with a consistency, "consistency_dpo"'
            )

    @classmethod
    def suggested(cls) -> Mapping[str, Mapping[str, Any]]:
        """The paper's loss with the public code's beta and training."""
        return {
            "loss": {"kind": "consistency_dpo", "beta": 0.1},
            "training": {"learning_rate": 1e-6, "batch_size": 32, "epochs": 1, "schedule": "cosine"},
        }

    @property
    def scored(self) -> bool:
        """Never: successive policies reward the answers themselves."""
        return False

    def iterate(self, run: Verbs) -> Model:
        """Sample, rank by two models, prefer as far as they agree."""
        policy, before = self._policies(run)
        rates: list[float] = []

        def scores(answers: Sequence[Answer]) -> Sequence[Verdict]:
            own = run.score("own-rewards", answers, _reward(run, policy), policy=policy)
            past = run.score("past-rewards", answers, _reward(run, before), policy=before)
            rates.extend(agreements(own, past, self.samples))
            return own

        def candidates(prompts: Sequence[Prompt]) -> Sequence[Pair]:
            return self.ranked(run, prompts, scores, policy)

        pairs = self.gather(run, candidates, self.least_gap)
        rate = round(summed(rates) / len(rates), DIGITS) if rates else None
        run.note(Consistency(rate=rate, prompts=len(rates)))
        start, reference = (policy if name == "previous" else run.model(name) for name in (self.start, self.reference))
        windowed = run.windowed(pairs, self.window)
        loss = _weighed(run.recipe.loss, rate)
        return self.search.prefer(run, windowed, start=start, reference=reference, loss=loss)

    @staticmethod
    def _policies(run: Verbs) -> tuple[Model, Model]:
        """The current policy, and the one before it."""
        fresh = run.previous.fingerprint == run.initial.fingerprint
        policy = run.model("seed_sft") if fresh else run.previous
        known: list[Model] = run.memory.setdefault("policies", [run.initial])
        if policy.fingerprint != known[-1].fingerprint:
            known.append(policy)
        return policy, known[-2]


def agreements(first: Sequence[Verdict], second: Sequence[Verdict], samples: int) -> list[float]:
    """(τ+1)/2 between two rankings of each prompt's answers, which are adjacent; none where a value is missing."""
    found: list[float] = []
    for at in range(0, len(first), samples):
        places = range(at, at + samples)
        values = [
            (one, two)
            for place in places
            if (one := first[place].value) is not None and (two := second[place].value) is not None
        ]
        if len(values) == samples:
            ours, theirs = zip(*values, strict=True)
            found.append((kendall_tau(ours, theirs) + 1) / 2)
    return found


def _reward(run: Verbs, model: Model) -> Scorer:
    """A model's implicit reward, its log-ratio to the initial model; the initial model's is its mean likelihood."""
    if model.fingerprint == run.initial.fingerprint:
        return Likelihood(policy="initial", over="mean")
    return Implicit(policy=model.name, reference="initial")


def _weighed(loss: Loss, rate: float | None) -> Loss:
    """The loss with this consistency; as it is if none was found."""
    assert isinstance(loss, ConsistencyLoss), "checked before the run"
    return loss if rate is None else loss.with_consistency(rate)
