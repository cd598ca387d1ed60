"""Seed SFT and PO: fine-tuned on the seed, then gold over the initial model's answers (arXiv 2410.06961, 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from selfboost.method import ModelName
from selfboost.methods.seed_po import SeedPO


@dataclass(frozen=True, kw_only=True)
class SeedSFTPO(SeedPO):
    """Seed PO from the model fine-tuned on the seed (settings: `seed_models.sft`)."""

    start: ModelName = "seed_sft"
    """The model that the policy is trained from."""
    reference: ModelName = "seed_sft"
    """The reference, for losses that need one (SimPO needs none)."""
