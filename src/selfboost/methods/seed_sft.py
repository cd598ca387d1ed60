"""Seed SFT: supervised fine-tuning on the seed's gold answers, the simplest baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from selfboost.method import Method
from selfboost.records import Model
from selfboost.verbs import Verbs


@dataclass(frozen=True, kw_only=True)
class SeedSFT(Method):
    """The initial model fine-tuned on the seed; its settings are those of `seed_models.sft`."""

    once: ClassVar[bool] = True

    @property
    def scored(self) -> bool:
        """Never: it trains on gold."""
        return False

    def iterate(self, run: Verbs) -> Model:
        """The same model every time."""
        return run.model("seed_sft")
