"""Whether two computations gave the same result: checked before ours replaces a model's own."""

from __future__ import annotations

import torch
from torch import Tensor


def alike(ours: Tensor, theirs: Tensor) -> bool:
    """Whether they differ by rounding only, relative to each entry or to the largest one."""
    tolerance = 0.02 if theirs.dtype == torch.bfloat16 else 1e-5
    return torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()))
