"""What a training's settings require: optional libraries, and combinations that are not supported."""

from __future__ import annotations

from selfboost.train import Training
from selfboost.train.local_settings import LocalSettings


def check_requirements(local: LocalSettings, training: Training) -> None:
    """Check that a training can run here.

    Raises:
        ValueError: a library is not installed (the message says how to install it), or two settings clash.
    """
    # Imported one by one: most trainings need none, and `check` must be quick.
    if training.lora_rank:
        from selfboost.train.model.adapters import require_peft

        require_peft()
    if training.optimizer == "adamw_8bit":
        from selfboost.train.steps.optimizers import require_bitsandbytes

        require_bitsandbytes()
    if local.sharding and (training.lora_rank or training.optimizer == "adamw_8bit"):
        raise ValueError(
            "trainer.sharding = true shards full fine-tuning: it works with neither "
            "training.lora_rank nor optimizer = 'adamw_8bit'; set sharding = false, which copies the model"
        )
    if local.trackers:
        from selfboost.trackers import require_tracker

        for name in local.trackers:
            require_tracker(name)
