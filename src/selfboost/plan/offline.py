"""A block in which nothing is downloaded, and after which the process is as it was before."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from unittest.mock import patch

SWITCH = "HF_HUB_OFFLINE"


@contextmanager
def offline() -> Generator[None, None, None]:
    """No request to the Hugging Face hub inside the block; what is in its cache on this machine is found."""
    # The library reads the variable once, when it is imported: imported here first, it has the caller's value again
    # afterwards. The variable itself is for libraries that are imported inside the block, and for other processes.
    from huggingface_hub import constants

    with patch.dict(os.environ, {SWITCH: "1"}), patch.object(constants, SWITCH, True):
        yield
