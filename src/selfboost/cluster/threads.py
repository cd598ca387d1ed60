"""PyTorch's CPU threads: the same in every process of a run, since another number rounds differently. And what it keeps
of matrix products.
"""

from __future__ import annotations

import os
import sys
from typing import Any, cast

from selfboost.system import quota_of_cores

VARIABLE = "OMP_NUM_THREADS"
"""Environment variable that PyTorch takes its number of threads from."""

PRODUCTS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
"""Environment variable of how many compiled matrix products PyTorch's oneDNN keeps, one for each shape."""
KEPT_PRODUCTS = 128
"""Where the environment does not say. oneDNN's own 1,024 are hundreds of MiB where rows differ in length."""


def limit_torch(threads: int) -> None:
    """Limit PyTorch's threads and the products it keeps, imported or not: a run with fakes must not import it.

    0: as many threads as there are, but no more than a container's quota of cores, which PyTorch does not see.
    """
    os.environ.setdefault(PRODUCTS, str(KEPT_PRODUCTS))
    threads = threads or (0 if VARIABLE in os.environ else quota_of_cores())
    if threads:
        os.environ[VARIABLE] = str(threads)
        if (torch := cast(Any, sys.modules.get("torch"))) is not None:
            torch.set_num_threads(threads)


def threads_in_use(threads: int) -> int:
    """The setting, else what PyTorch uses here; 0 if that is its own default, or it was not imported."""
    torch = cast(Any, sys.modules.get("torch"))
    wished = os.environ.get(VARIABLE, "")
    default = int(wished) if wished.isdecimal() else 0
    return threads or (int(torch.get_num_threads()) if torch is not None else default)
