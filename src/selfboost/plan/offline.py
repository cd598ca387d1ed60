"""A block in which nothing is downloaded, and after which the process is unchanged."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

SWITCH = "HF_HUB_OFFLINE"


@contextmanager
def offline() -> Generator[None, None, None]:
    """Inside the block, no requests go to the Hugging Face hub; its local cache is used."""
    # The library reads the variable once, on import: it is imported first, so the caller's value can be restored.
    # The variable is for libraries imported inside the block, and for other processes.
    from huggingface_hub import constants

    variable, constant = os.environ.get(SWITCH), constants.HF_HUB_OFFLINE
    os.environ[SWITCH], constants.HF_HUB_OFFLINE = "1", True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = constant
        if variable is None:
            del os.environ[SWITCH]
        else:
            os.environ[SWITCH] = variable
