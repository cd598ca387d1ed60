"""Seed SFT: supervised fine-tuning on the seed's gold answers, the plainest baseline of all."""

from __future__ import annotations

from dataclasses import dataclass

from selfboost.method import Method
from selfboost.records import Model
from selfboost.run import Run


@dataclass(frozen=True, kw_only=True)
class SeedSFT(Method):
    """The initial model fine-tuned on the seed; the settings are `seed_models.sft`'s."""

    def iterate(self, run: Run) -> Model:
        """The same model in every iteration."""
        return run.model("seed_sft")
