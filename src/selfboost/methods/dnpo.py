"""DNPO: dynamic noise preference optimisation (arXiv 2502.05400).

After a first iteration of SPIN, a scorer decides whether gold or own answer is chosen, and trainable noise on the
reference keeps the rejected answers' loss alive. Policy and reference start from the previous iterate; pairs do not
accumulate. Ablations are one line each: `method.kind = "spin"` (SPIN), `method.noise = "none"` (SPIN and labelling),
`method.labels = "gold"` (SPIN and noise), `method.noise = "fixed"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from selfboost.data.seeds import Seed
from selfboost.losses import NoisyLoss, noisy
from selfboost.methods.parts.labelling import Labelling
from selfboost.methods.parts.self_play import NoiseUse, SelfPlay
from selfboost.records import Model
from selfboost.setting_types import SeveralOrNone
from selfboost.verbs import Settings, Verbs, Window


@dataclass(frozen=True, kw_only=True)
class DNPO(SelfPlay):
    """SPIN with labels set by a scorer, against a reference with trainable noise (arXiv 2502.05400)."""

    window: Window = "last"
    """Only the pairs of the current iteration."""
    plain_iterations: SeveralOrNone = 1
    """Number of first iterations run as SPIN: gold chosen, no noise."""
    labels: Literal["scored", "gold"] = "scored"
    """The scorer decides which answer is chosen; or gold is always chosen."""
    labelling: Labelling = field(default_factory=Labelling)
    """How scores become labels."""
    noise: NoiseUse = "trained"
    """Noise on the reference: trained as in `loss.noise`, fixed, or none."""

    def check(self, recipe: Settings, seeds: Sequence[Seed]) -> None:
        """Check that the loss has the requested noise, besides what all self-play needs.

        Raises:
            ValueError: the loss has none, or noise where none is wanted.
        """
        super().check(recipe, seeds)
        if self.noise == "none" or noisy(recipe.loss):
            return
        if isinstance(recipe.loss, NoisyLoss):
            raise ValueError(
                f'method.noise = "{self.noise}" but loss.noise.scale = 0 turns the noise off: '
                'set a scale above 0, or method.noise = "none"'
            )
        raise ValueError(
            f'method.noise = "{self.noise}" needs loss.kind = "noise_preference"; '
            'with method.noise = "none" any loss works'
        )

    @classmethod
    def suggested(cls) -> Mapping[str, Mapping[str, Any]]:
        """The paper's loss, but not its published noise scale, which does not transfer to other models."""
        return {**super().suggested(), "loss": {"kind": "noise_preference", "noise": {"scale": "auto"}}}

    def for_trial(self, *, new_prompts: bool) -> Self:
        """With labels and noise from the first iteration on; all prompts are the seed's."""
        del new_prompts
        return replace(self, plain_iterations=0)

    @property
    def scored(self) -> bool:
        """Unless gold is chosen always."""
        return self.labels == "scored"

    def iterate(self, run: Verbs) -> Model:
        """One iteration: own answers, their labels, noise preference optimisation."""
        own = self.own_answers(run)
        if run.iteration <= self.plain_iterations:
            return self.optimise(run, self.gold_over_own(run, own), noise="none")
        pairs = self.labelling.label(run, own) if self.labels == "scored" else self.gold_over_own(run, own)
        return self.optimise(run, pairs, self.noise)
