"""Whether a launcher started this process together with others; needs no PyTorch."""

from __future__ import annotations

import os


def launched() -> bool:
    """Whether `torchrun` or `accelerate launch` started this process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ
