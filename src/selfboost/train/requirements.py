"""What settings of a training ask for: optional libraries, and what does not go together."""

from __future__ import annotations

from selfboost.train import Training
from selfboost.train.local_settings import LocalSettings


def check_requirements(local: LocalSettings, training: Training) -> None:
    """Refuse what cannot be trained here.

    Raises:
        ValueError: a library is not installed (says how to install it), or two settings clash.
    """
    # Each imported where it is needed: most trainings ask for none, and `check` is to be quick.
    if training.lora_rank:
        from selfboost.train.model.adapters import require_peft

        require_peft()
    if training.optimizer == "adamw_8bit":
        from selfboost.train.steps.optimizers import require_bitsandbytes

        require_bitsandbytes()
    if local.sharding and (training.lora_rank or training.optimizer == "adamw_8bit"):
        raise ValueError(
            "trainer.sharding = true spreads full fine-tuning over devices: it goes neither with "
            "training.lora_rank nor with optimizer = 'adamw_8bit'; set sharding = false, which copies the model"
        )
    if local.trackers:
        from selfboost.train.steps.trackers import require_tracker

        for name in local.trackers:
            require_tracker(name)
