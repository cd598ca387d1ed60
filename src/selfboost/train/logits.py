"""The language-model head on completion positions alone, without ever holding their logits whole.

Logits are made, reduced and thrown away in chunks; the backward pass makes them again. Knows what architectures do
between the last hidden state and the logits: a bias, a scale (Cohere, Granite), soft-capping (Gemma 2). Any other is
found out by one comparison when a model is opened, and refused.

Shapes: N completion tokens, C of them in a chunk, D hidden size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

CHUNK_ELEMENTS = 2**24
"""Logits held at once (64 MB in float32)."""


@dataclass(frozen=True)
class Head:
    """How a model turns hidden states into logits: softcap(scale · (h·Wᵀ + b))."""

    weight_VD: Tensor
    bias_V: Tensor | None
    scale: float = 1.0
    softcap: float = 0.0
    """Logits x become c·tanh(x/c); 0 = they stay."""
    chunk_elements: int = CHUNK_ELEMENTS
    """Logits held at once; changes no result."""

    def logps(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Natural log-probability of each target, in float32; differentiable in hidden states and weights."""
        return cast(Tensor, cast(Any, _ChunkedLogps).apply(hidden_ND, self.weight_VD, self.bias_V, targets_N, self))

    def logits(self, hidden_CD: Tensor) -> Tensor:
        """Logits of a chunk, at least in float32, where a bfloat16 log-softmax would lose two digits."""
        logits_CV = torch.nn.functional.linear(hidden_CD, self.weight_VD, self.bias_V)
        logits_CV = logits_CV.to(torch.promote_types(logits_CV.dtype, torch.float32))
        if self.scale != 1.0:
            logits_CV = logits_CV * self.scale
        if self.softcap:
            logits_CV = self.softcap * torch.tanh(logits_CV / self.softcap)
        return logits_CV

    @property
    def chunk(self) -> int:
        """Positions whose logits are held at once."""
        return max(1, self.chunk_elements // self.weight_VD.shape[0])


class _ChunkedLogps(torch.autograd.Function):
    """log softmax(logits)[target]: forward and backward each go through the positions in chunks."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor, head: Head
    ) -> Tensor:
        chunks: list[Tensor] = []
        for hidden_CD, targets_C in _chunks(head, hidden_ND, targets_N):
            logits_CV = head.logits(hidden_CD)
            chosen_C = logits_CV.gather(1, targets_C[:, None])[:, 0]
            chunks.append(chosen_C - logits_CV.logsumexp(1))
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, targets_N)
        ctx.head = head
        return torch.cat(chunks)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD, bias_V, targets_N = cast(
            "tuple[Tensor, Tensor, Tensor | None, Tensor]", ctx.saved_tensors
        )
        head, (outer_N,) = cast(Head, ctx.head), gradients
        exact = torch.promote_types(weight_VD.dtype, torch.float32)  # sums over chunks, so not in bfloat16
        hidden_gradient_ND = torch.empty_like(hidden_ND)
        weight_gradient_VD = torch.zeros_like(weight_VD, dtype=exact)
        bias_gradient_V = None if bias_V is None else torch.zeros_like(bias_V, dtype=exact)
        for at, (hidden_CD, targets_C) in enumerate(_chunks(head, hidden_ND, targets_N)):
            here = slice(at * head.chunk, at * head.chunk + len(targets_C))
            raw_CV = _raw_gradient(head, head.logits(hidden_CD), targets_C, outer_N[here]).to(weight_VD.dtype)
            hidden_gradient_ND[here] = raw_CV @ weight_VD
            if exact == weight_VD.dtype:
                weight_gradient_VD.addmm_(raw_CV.T, hidden_CD)
            else:
                weight_gradient_VD += raw_CV.T @ hidden_CD
            if bias_gradient_V is not None:
                bias_gradient_V += raw_CV.sum(0, dtype=exact)
        if bias_gradient_V is not None and bias_V is not None:
            bias_gradient_V = bias_gradient_V.to(bias_V.dtype)
        return hidden_gradient_ND, weight_gradient_VD.to(weight_VD.dtype), bias_gradient_V, None, None


def _chunks(head: Head, hidden_ND: Tensor, targets_N: Tensor) -> zip[tuple[Tensor, Tensor]]:
    hidden, targets = torch.split(hidden_ND, head.chunk), torch.split(targets_N, head.chunk)
    return zip(cast("list[Tensor]", hidden), cast("list[Tensor]", targets), strict=True)


def _raw_gradient(head: Head, logits_CV: Tensor, targets_C: Tensor, outer_C: Tensor) -> Tensor:
    """Gradient in h·Wᵀ + b: (one-hot − softmax)·outer, back through soft-capping and scale."""
    gradient_CV = logits_CV.softmax(1).neg_()
    gradient_CV[torch.arange(len(targets_C), device=targets_C.device), targets_C] += 1
    gradient_CV *= outer_C[:, None]
    if head.softcap:
        gradient_CV *= 1 - (logits_CV / head.softcap).square()
    if head.scale != 1.0:
        gradient_CV *= head.scale
    return gradient_CV


def head_of(model: PreTrainedModel) -> Head:
    """The head of a language model, checked against the model's own logits.

    Raises:
        ValueError: the model computes its logits in a way that is not known here.
    """
    config: Any = model.config.get_text_config()
    layer = cast(Any, model).get_output_embeddings()
    if layer is None:
        raise ValueError(
            f"{type(model).__name__} has no output embeddings, so it cannot be trained as a language model"
        )
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    softcap = float(getattr(config, "final_logit_softcapping", None) or 0.0)
    head = Head(layer.weight, getattr(layer, "bias", None), scale, softcap)
    _compare(model, head)
    return head


def body_of(model: PreTrainedModel) -> Any:
    """The model without its head."""
    return cast(Any, model).get_decoder() if hasattr(model, "get_decoder") else model.base_model


@torch.no_grad()
def _compare(model: PreTrainedModel, head: Head) -> None:
    vocabulary = head.weight_VD.shape[0]
    ids_BT = torch.arange(1, 5, device=head.weight_VD.device)[None] % vocabulary
    ours = head.logits(body_of(model)(input_ids=ids_BT, use_cache=False).last_hidden_state[0])
    theirs = cast(Any, model)(input_ids=ids_BT, use_cache=False).logits[0].to(ours.dtype)
    tolerance = 0.05 if head.weight_VD.dtype == torch.bfloat16 else 1e-3
    if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True):
        raise ValueError(
            f"{type(model).__name__} computes its logits in a way that this trainer does not know, so that its "
            "log-probabilities would be wrong; choose another model or trainer"
        )
