"""Seed SFT and PO: fine-tuned on the seed, then gold over the initial model's answers (arXiv 2410.06961, 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from selfboost.method import ModelName
from selfboost.methods.seed_po import SeedPO


@dataclass(frozen=True, kw_only=True)
class SeedSFTPO(SeedPO):
    """Seed PO from the model fine-tuned on the seed (settings: `seed_models.sft`), whatever `start` says."""

    begins_with: ClassVar[ModelName | None] = "seed_sft"
