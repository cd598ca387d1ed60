"""A block in which nothing is downloaded, and after which the process is as it was before."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

SWITCH = "HF_HUB_OFFLINE"


@contextmanager
def offline() -> Generator[None, None, None]:
    """No request to the Hugging Face hub inside the block; what is in its cache on this machine is found."""
    # The library reads the variable once, when it is imported: imported here first, it gets the caller's value back.
    # The variable itself is for libraries that are imported inside the block, and for other processes.
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
