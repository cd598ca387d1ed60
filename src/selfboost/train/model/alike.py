"""Whether two computations of the same thing gave the same: what must hold before ours takes the place of a model's."""

from __future__ import annotations

import torch
from torch import Tensor


def alike(ours: Tensor, theirs: Tensor) -> bool:
    """Whether they differ by no more than rounding, measured also against the largest entry."""
    tolerance = 0.02 if theirs.dtype == torch.bfloat16 else 1e-5
    return torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()))
