"""The language-model head on completion positions alone, without ever holding their logits whole.

Logits are made by blocks and reduced to log-probabilities. Where a loss is known block by block (`value_and_gradient`)
its gradient is taken while the block's exponentials are at hand; else (`logps`) the backward pass recomputes them.
Knows what architectures do between the last hidden state and the logits: a bias, a scale (Cohere, Granite), a soft cap
(Gemma 2). Anything else is detected by one comparison when a model is opened, and refused.

A block's logits lie with the vocabulary first, (V, B): two of the three matrix products are then half as long on a CPU.

Shapes: N completion tokens, B of them in a block, D hidden size, V vocabulary, v neighbouring entries of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfboost.train.model.hidden import body_of
from selfboost.train.packs.layout import ROUND

BLOCK_ELEMENTS = 2**24
"""Logits of a block (64 MB in float32)."""
CACHED_ELEMENTS = 2**18
"""Logits that elementwise operations process at a time on a CPU: few enough to stay in its cache."""

ADDED_ROWS = 4096
"""Rows of the weights' gradient that a bfloat16 product is added to at a time."""

LossOf = Callable[[slice, Tensor], Tensor]
"""(which completion tokens, their log-probabilities) → a loss that is summed over blocks; differentiable."""


class Exponentials(NamedTuple):
    """What a block's logits are reduced to: softmax = exp(logit − largest logit) / sums."""

    hidden_BD: Tensor
    targets_B: Tensor
    slopes_VB: Tensor
    """Exponentials times the slope of logits in h·Wᵀ + b, in the number type of the head."""
    target_slopes_B: Tensor | float
    """That slope at the targets."""
    sums_B: Tensor
    logps_B: Tensor
    """Logits of the targets."""


@dataclass(frozen=True)
class Head:
    """How a model turns hidden states into logits: softcap(scale · (h·Wᵀ + b))."""

    layer: torch.nn.Module
    """Holds `weight` (V, D) and perhaps `bias` (V); read at each use, since sharded training swaps them."""
    scale: float = 1.0
    softcap: float = 0.0
    """Logits x become c·tanh(x/c); 0 = no cap."""
    block_elements: int = BLOCK_ELEMENTS
    """Logits of a block; changes no result."""

    @property
    def weight_VD(self) -> Tensor:
        """The output embeddings."""
        return cast(Tensor, self.layer.weight)

    @property
    def bias_V(self) -> Tensor | None:
        """Added to the logits."""
        return cast("Tensor | None", getattr(self.layer, "bias", None))

    @property
    def block(self) -> int:
        """Positions of a block."""
        return max(1, self.block_elements // self.weight_VD.shape[0])

    def logps(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Natural log-probability of each target, in float32 at least; differentiable in hidden states and weights."""
        apply = cast(Any, _Logps).apply
        return cast(Tensor, apply(hidden_ND, self.weight_VD, self.bias_V, targets_N, self))

    def value_and_gradient(
        self, hidden_ND: Tensor, targets_N: Tensor, blocks: Sequence[slice], loss_of: LossOf
    ) -> tuple[Tensor, Tensor]:
        """Sum of the losses of all blocks, differentiable; and the log-probability of each target, detached.

        Gradients are computed right here, in one pass over the logits: the sum can be scaled but not split.
        """
        apply = cast(Any, _ValueAndGradient).apply
        total, logps_N = apply(hidden_ND, self.weight_VD, self.bias_V, targets_N, self, blocks, loss_of)
        return cast(Tensor, total), cast(Tensor, logps_N)

    def logits(self, hidden_BD: Tensor) -> Tensor:
        """Logits as the model makes them, (B, V), at least in float32."""
        return self.shaped(torch.nn.functional.linear(hidden_BD, self.weight_VD, self.bias_V))[0]

    def exponentials(self, hidden_BD: Tensor, targets_B: Tensor) -> Exponentials:
        """A block's logits, reduced; at least float32, where a bfloat16 log-softmax would lose two digits.

        The block is padded to a round number of positions: matrix products of a new size start slowly.
        """
        spare = -len(targets_B) % ROUND
        hidden_BD = torch.nn.functional.pad(hidden_BD, (0, 0, 0, spare))
        targets_B = torch.nn.functional.pad(targets_B, (0, spare))
        raw_VB = self.raw(hidden_BD)
        parts = _parts(raw_VB)
        largest_B, _ = self.shaped(torch.stack([raw_vB.amax(0) for raw_vB in parts]).amax(0))  # the rest is monotone
        target_B, target_slopes_B = self.shaped(raw_VB.gather(0, targets_B[None])[0])
        sums_B = torch.zeros_like(largest_B)
        for raw_vB in parts:
            logits_vB, slopes = self.shaped(raw_vB)
            exponentials_vB = logits_vB.sub_(largest_B).exp_()
            sums_B += exponentials_vB.sum(0)
            raw_vB.copy_(exponentials_vB if slopes is None else exponentials_vB.mul_(slopes))
        logps_B = (target_B - largest_B).sub_(sums_B.log())
        slope = 1.0 if target_slopes_B is None else target_slopes_B
        return Exponentials(hidden_BD, targets_B, raw_VB, slope, sums_B, logps_B)

    def raw(self, hidden_BD: Tensor) -> Tensor:
        """h·Wᵀ + b with the vocabulary first, (V, B), in the number type of the weights."""
        raw_VB = self.weight_VD @ hidden_BD.T
        return raw_VB if self.bias_V is None else raw_VB.add_(self.bias_V[:, None])

    def shaped(self, raw: Tensor) -> tuple[Tensor, Tensor | float | None]:
        """h·Wᵀ + b with scale and soft-capping, and the slope of that (None: 1); may be `raw` itself."""
        logits = raw.to(torch.promote_types(raw.dtype, torch.float32))
        if self.scale != 1.0:
            logits = logits * self.scale
        if not self.softcap:
            return logits, None if self.scale == 1.0 else self.scale
        bent = torch.tanh(logits / self.softcap)
        return self.softcap * bent, (1 - bent.square()) * self.scale


class _Gradients:
    """Gradients of hidden states, weights and bias, summed over blocks in float32 at least."""

    def __init__(self, head: Head, hidden_ND: Tensor, *, of_weights: bool) -> None:
        self.head = head
        self.hidden_ND = torch.empty_like(hidden_ND)
        weight_VD, bias_V = head.weight_VD, head.bias_V
        self.exact = _exact(head)
        self.weight_VD = torch.zeros_like(weight_VD, dtype=self.exact) if of_weights else None
        self.bias_V = torch.zeros_like(bias_V, dtype=self.exact) if of_weights and bias_V is not None else None

    def add(self, here: slice, made: Exponentials, outer: Tensor) -> None:
        """A block's share, where `outer` is the gradient of the log-probabilities: (one-hot − softmax)·outer.

        Neither the softmax nor its product with `outer` is formed: both scale rows of hidden states instead.
        """
        hidden_BD, targets_B, count = made.hidden_BD, made.targets_B, len(outer)
        outer_B = torch.nn.functional.pad(outer, (0, len(targets_B) - count))
        all_B1, target_B1 = (-outer_B / made.sums_B)[:, None], (outer_B * made.target_slopes_B)[:, None]
        weight_VD = self.head.weight_VD
        gradient_BD = (made.slopes_VB.T @ weight_VD) * all_B1 + target_B1 * weight_VD[targets_B]
        self.hidden_ND[here] = gradient_BD[:count]
        if self.weight_VD is not None:
            scaled_BD = (hidden_BD * all_B1).to(weight_VD.dtype)
            add_product(self.weight_VD, made.slopes_VB, scaled_BD)
            self.weight_VD.index_add_(0, targets_B, (hidden_BD * target_B1).to(self.exact))
        if self.bias_V is not None:
            self.bias_V += made.slopes_VB.to(self.exact) @ all_B1[:, 0].to(self.exact)
            self.bias_V.index_add_(0, targets_B, target_B1[:, 0].to(self.exact))

    def of_inputs(self, scale: Tensor | None = None) -> tuple[Tensor | None, ...]:
        """In the order and number types of the autograd functions' inputs, times `scale`."""
        found = [x for x in (self.hidden_ND, self.weight_VD, self.bias_V) if x is not None]
        if scale is not None:
            for x in found:
                x.mul_(scale)
        kind = self.head.weight_VD.dtype
        return self.hidden_ND, *(None if x is None else x.to(kind) for x in (self.weight_VD, self.bias_V))


class _Logps(torch.autograd.Function):
    """log softmax(logits)[target]; the backward pass recomputes the logits, block by block."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,  # noqa: ARG004 - an input, so that its gradient has a place to go
        bias_V: Tensor | None,  # noqa: ARG004
        targets_N: Tensor,
        head: Head,
    ) -> Tensor:
        ctx.save_for_backward(hidden_ND, targets_N)
        ctx.head = head
        blocks = _blocks(len(targets_N), head.block)
        logps_N = torch.empty(len(targets_N), dtype=_exact(head), device=hidden_ND.device)
        for here in blocks:
            logps_N[here] = head.exponentials(hidden_ND[here], targets_N[here]).logps_B[: here.stop - here.start]
        return logps_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, targets_N = cast("tuple[Tensor, Tensor]", ctx.saved_tensors)
        head, (outer_N,) = cast(Head, ctx.head), gradients
        sums = _Gradients(head, hidden_ND, of_weights=ctx.needs_input_grad[1])
        for here in _blocks(len(targets_N), head.block):
            sums.add(here, head.exponentials(hidden_ND[here], targets_N[here]), outer_N[here])
        return (*sums.of_inputs(), None, None)


class _ValueAndGradient(torch.autograd.Function):
    """Losses of blocks and their gradients, in one pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,  # noqa: ARG004 - an input, so that its gradient has a place to go
        bias_V: Tensor | None,  # noqa: ARG004
        targets_N: Tensor,
        head: Head,
        blocks: Sequence[slice],
        loss_of: LossOf,
    ) -> tuple[Tensor, Tensor]:
        sums = _Gradients(head, hidden_ND, of_weights=ctx.needs_input_grad[1])
        total = torch.zeros((), dtype=sums.exact, device=hidden_ND.device)
        logps: list[Tensor] = []
        for here in blocks:
            made = head.exponentials(hidden_ND[here], targets_N[here])
            with torch.enable_grad():
                logps_B = made.logps_B[: here.stop - here.start].requires_grad_()
                loss = loss_of(here, logps_B)
                (outer_B,) = torch.autograd.grad(loss, logps_B)
            sums.add(here, made, outer_B)
            total += loss.detach()
            logps.append(logps_B.detach())
        ctx.sums = sums
        logps_N = torch.cat(logps)
        ctx.mark_non_differentiable(logps_N)
        return total, logps_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        sums, ctx.sums = cast(_Gradients, ctx.sums), None  # or the node would hold them while the body goes backwards
        return (*sums.of_inputs(gradients[0]), None, None, None, None)


def _parts(x_VB: Tensor) -> Sequence[Tensor]:
    """Adjacent rows, few enough to stay in a CPU's cache; all of them on a GPU."""
    rows = len(x_VB) if x_VB.is_cuda else max(1, CACHED_ELEMENTS // x_VB.shape[1])
    return cast("Sequence[Tensor]", torch.split(x_VB, rows))


def add_product(sums_VD: Tensor, x_VB: Tensor, y_BD: Tensor) -> None:
    """Add x·y; a bfloat16 product is widened, a few rows at a time, before it is added."""
    if sums_VD.dtype == x_VB.dtype:
        sums_VD.addmm_(x_VB, y_BD)
        return
    for start in range(0, len(sums_VD), ADDED_ROWS):
        here = slice(start, start + ADDED_ROWS)
        sums_VD[here] += x_VB[here] @ y_BD


def _exact(head: Head) -> torch.dtype:
    """Number type of sums: float32 at least."""
    return torch.promote_types(head.weight_VD.dtype, torch.float32)


def _blocks(count: int, size: int) -> list[slice]:
    return [slice(start, min(count, start + size)) for start in range(0, count, size)]


def head_of(model: PreTrainedModel) -> Head:
    """The head of a language model; `compare_head` checks it against the model's own logits.

    Raises:
        ValueError: there is none above a body.
    """
    config: Any = model.config.get_text_config()
    layer = cast(Any, model).get_output_embeddings()
    if layer is None or body_of(model) is model:
        raise ValueError(
            f"{type(model).__name__} has no output embeddings above a body, so it cannot be trained as a language model"
        )
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    softcap = float(getattr(config, "final_logit_softcapping", None) or 0.0)
    return Head(layer, scale, softcap)


@torch.no_grad()
def compare_head(model: PreTrainedModel, head: Head) -> None:
    """Check a head against the model's own logits, before the model is prepared for packs.

    Raises:
        ValueError: the model computes its logits in an unknown way.
    """
    vocabulary = head.weight_VD.shape[0]
    ids_BT = torch.arange(1, 5, device=head.weight_VD.device)[None] % vocabulary
    ours = head.logits(body_of(model)(input_ids=ids_BT, use_cache=False).last_hidden_state[0])
    theirs = cast(Any, model)(input_ids=ids_BT, use_cache=False).logits[0].to(ours.dtype)
    tolerance = 0.05 if head.weight_VD.dtype == torch.bfloat16 else 1e-3
    if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True):
        raise ValueError(
            f"{type(model).__name__} computes its logits in a way that this trainer does not know, so its "
            "log-probabilities would be wrong; choose another model or trainer"
        )
