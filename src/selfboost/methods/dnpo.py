"""DNPO: dynamic noise preference optimisation (arXiv 2502.05400).

After a first iteration of SPIN, a scorer says which of gold and own answer is chosen, and trainable noise on the
reference keeps the rejected answers' loss alive. Policy and reference start from the previous iterate; pairs do not
accumulate. Ablations are one line each: `method.kind = "spin"` (SPIN), `method.noise = "none"` (SPIN and labelling),
`method.labels = "gold"` (SPIN and noise), `method.noise = "fixed"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfboost.data.seeds import Seed
from selfboost.losses import NoisyLoss, noisy
from selfboost.methods.parts.self_play import SelfPlay
from selfboost.records import Model
from selfboost.verbs import Settings, Verbs, Window


@dataclass(frozen=True, kw_only=True)
class DNPO(SelfPlay):
    """SPIN whose labels a scorer sets anew, against a reference with trainable noise (arXiv 2502.05400)."""

    window: Window = "last"
    """The pairs of the current iteration alone."""

    def check(self, recipe: Settings, seeds: Sequence[Seed]) -> None:
        """Whether the loss has the noise that is asked for, beside what all self-play needs."""
        super().check(recipe, seeds)
        if self.noise == "none" or noisy(recipe.loss):
            return
        if isinstance(recipe.loss, NoisyLoss):
            raise ValueError(
                f'method.noise = "{self.noise}" with loss.noise.scale = 0, which is no noise: '
                'set a scale above 0, or method.noise = "none"'
            )
        raise ValueError(
            f'method.noise = "{self.noise}" needs loss.kind = "noise_preference"; '
            'with method.noise = "none" any loss will do'
        )

    @classmethod
    def suggested(cls) -> Mapping[str, Mapping[str, Any]]:
        """The paper's loss, but not the published strength of its noise, which suits no other model."""
        return {**super().suggested(), "loss": {"kind": "noise_preference", "noise": {"scale": "auto"}}}

    def iterate(self, run: Verbs) -> Model:
        """One iteration: own answers, their labels, noise preference optimisation."""
        own = self.own_answers(run)
        if run.iteration <= self.plain_iterations:
            return self.optimise(run, self.gold_over_own(run, own), noise="none")
        pairs = self.labelling.label(run, own) if self.labels == "scored" else self.gold_over_own(run, own)
        return self.optimise(run, pairs, self.noise)
