"""What SPIN and DNPO share, so that a comparison differs in one line of the recipe: `method.kind`.

The policy's own answers to the seed's prompts, pairs of gold over own, and the policy's training by a schedule over the
iterations. A method says which of the two answers is chosen and whether the reference is noisy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from selfboost.data.seeds import Seed
from selfboost.losses import Loss, NoisyLoss, beta_of, with_beta
from selfboost.losses.noise_settings import Noise
from selfboost.method import Method, ModelName
from selfboost.methods.parts.distributions import Distributions
from selfboost.methods.parts.labelling import duels
from selfboost.methods.parts.pairing import gold_pairs, pick, prompts_of
from selfboost.recipe_text import kind_of
from selfboost.records import Answer, Model, Pair, Sampling
from selfboost.setting_types import CountOrNone, PassesOrNone, Positive
from selfboost.train import Training
from selfboost.verbs import Settings, Verbs, Window

TRAINING: Mapping[str, Any] = {
    "optimizer": "rmsprop",
    "learning_rate": 5e-7,
    "batch_size": 32,
    "epochs": 3,
    "schedule": "linear",
}
"""SPIN's and DNPO's, except for the batch size, which is larger or smaller in their papers."""
DRAWS = 10_000
"""More than the iterations of any run."""
NoiseUse = Literal["trained", "fixed", "none"]
"""Noise on the reference: trained as the loss has it, fixed, or none."""


@dataclass(frozen=True, kw_only=True)
class SelfPlay(Method):
    """Settings of SPIN and of DNPO."""

    start: ModelName = "previous"
    """The model that the policy is trained from."""
    reference: ModelName = "previous"
    """The reference model of the loss."""
    window: Window = "last"
    """The iterations whose pairs are trained on."""
    prompts: CountOrNone = 0
    """Seeds per iteration, drawn at random by the run's seed and the iteration (0 = all)."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=1.0, max_tokens=256))
    """How the policy's own answers are sampled."""
    betas: tuple[Positive, ...] = ()
    """The loss's beta by iteration, the last value from then on (empty: the loss's own)."""
    learning_rates: tuple[Positive, ...] = ()
    """The peak learning rate by iteration, the last value from then on (empty: the training's own)."""
    stop_after: tuple[PassesOrNone, ...] = ()
    """`training.stop_after` by iteration, the last value from then on (empty: the training's own)."""
    score_generations: bool = False
    """Score gold and own answers even if no label needs it, to record how they compare."""
    distributions: Distributions = field(default_factory=Distributions)
    """Records how far the log-probabilities of gold and own answers move in an iteration."""

    def __post_init__(self) -> None:
        if self.sampling.samples != 1:
            raise ValueError(f"sampling.samples = {self.sampling.samples}: must be 1, one own answer beside the gold")

    def check(self, recipe: Settings, seeds: Sequence[Seed]) -> None:
        """Check that the loss has the beta, and the training the length, that the per-iteration schedules set.

        Raises:
            ValueError: either is missing.
        """
        del seeds
        if self.betas and beta_of(recipe.loss) is None:
            raise ValueError(f"method.betas: the loss {kind_of(recipe.loss)} has no beta; leave betas out")
        if self.stop_after and max(self.stop_after) > recipe.training.epochs:
            allowed = f"each must be at most training.epochs = {recipe.training.epochs}"
            raise ValueError(f"method.stop_after = {list(self.stop_after)}: {allowed}")

    @classmethod
    def suggested(cls) -> Mapping[str, Mapping[str, Any]]:
        """DPO's loss, the papers' training."""
        return {**super().suggested(), "training": TRAINING}

    def own_answers(self, run: Verbs) -> Sequence[Answer]:
        """The policy's answers to this iteration's seeds."""
        # No two runs' iterations share a draw, as seed + iteration would.
        seed = DRAWS * run.recipe.run.seed + run.iteration
        seeds = pick(run.seeds, self.prompts, seed) if self.prompts else run.seeds
        return run.sample("own-answers", run.previous, prompts_of(seeds), self.sampling)

    def gold_over_own(self, run: Verbs, own: Sequence[Answer]) -> Sequence[Pair]:
        """Gold chosen in every pair."""
        if self.score_generations:
            duels(run, own)
        return gold_pairs(run, own)

    def optimise(self, run: Verbs, pairs: Sequence[Pair], noise: NoiseUse) -> Model:
        """The policy, trained on these pairs and those of earlier iterations within the window."""
        loss, training = self._loss(run.recipe, run.iteration, noise), self._training(run.recipe, run.iteration)
        start, reference = run.model(self.start), run.model(self.reference)
        windowed = run.windowed(pairs, self.window)
        policy = run.prefer("policy", windowed, start=start, reference=reference, loss=loss, training=training)
        # Without a beta the rewards are in plain nats.
        beta = beta_of(loss)
        self.distributions.record(run, run.previous, policy, pairs, 1.0 if beta is None else beta, reference)
        return policy

    def _loss(self, recipe: Settings, iteration: int, noise: NoiseUse) -> Loss:
        loss = recipe.loss
        if isinstance(loss, NoisyLoss):
            # Without noise its other settings have no effect, so changing them must not repeat a training.
            other = {"none": Noise(scale=0.0), "fixed": replace(loss.noise, trained=False), "trained": loss.noise}
            loss = loss.with_noise(other[noise])
        return with_beta(loss, _at(self.betas, iteration)) if self.betas else loss

    def _training(self, recipe: Settings, iteration: int) -> Training:
        schedules = {"learning_rate": self.learning_rates, "stop_after": self.stop_after}
        return replace(recipe.training, **{name: _at(by, iteration) for name, by in schedules.items() if by})


def _at(values: Sequence[float], iteration: int) -> float:
    """The value of an iteration, counted from 1; the last one is repeated."""
    return values[min(iteration, len(values)) - 1]
