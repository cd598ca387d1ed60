"""Whether two computations gave the same result: checked before ours replaces a model's own."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def alike(ours: Tensor, theirs: Tensor, times: float = 1.0) -> bool:
    """Whether they are finite and differ by rounding only, relative to each entry or to the largest one.

    `times`: more rounding than of one module, for whole models.
    """
    tolerance = times * (0.02 if theirs.dtype == torch.bfloat16 else 1e-5)
    largest = float(theirs.abs().max())
    return math.isfinite(largest) and torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance * largest)
