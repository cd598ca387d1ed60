"""Whether a launcher started this process and others beside it, and what ends their work; without PyTorch."""

from __future__ import annotations

import os


class Lost(RuntimeError):
    """Another process of a training stopped or no longer answers; one sentence."""


class Preempted(KeyboardInterrupt):
    """A training saved its state and stopped because this process, or one beside it, was asked to end."""


def launched() -> bool:
    """Whether `torchrun` or `accelerate launch` started this process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ
