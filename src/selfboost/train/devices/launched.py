"""Whether a launcher started this process and others beside it; asked without PyTorch."""

from __future__ import annotations

import os


def launched() -> bool:
    """Whether `torchrun` or `accelerate launch` did."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ
