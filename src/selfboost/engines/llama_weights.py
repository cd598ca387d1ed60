"""The weights of Llama-like models, packed for sampling: queries, keys and values one product, gates and ups another.

The model's own weights become views of the packed ones, so nothing is held twice.

Shapes: E hidden size, O outputs; n rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from selfboost.engines.context import changes_with_length
from selfboost.engines.key_values import can_join

KNOWN = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose layers are computed as in `LlamaStep`."""
PRODUCTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PART = 1024
"""Logits of a row that are computed at a time in float32: for all at once MKL takes up to 1.3 times as long."""


@dataclass(frozen=True)
class Product:
    """A product with weights, and what is added to it."""

    weight_OE: Tensor
    bias_O: Tensor | None

    def __call__(self, x_nE: Tensor) -> Tensor:
        """x·wᵀ + b."""
        return functional.linear(x_nE, self.weight_OE, self.bias_O)

    def add_to(self, sum_O: Tensor, x_E: Tensor) -> None:
        """Add the product to a sum in place."""
        sum_O.addmm_(x_E, self.weight_OE.t())
        if self.bias_O is not None:
            sum_O.add_(self.bias_O)


class LogitsProduct(Product):
    """The product that gives logits."""

    def __call__(self, x_nE: Tensor) -> Tensor:
        """x·wᵀ + b, in float32 some outputs at a time."""
        if x_nE.dtype != torch.float32:
            return super().__call__(x_nE)
        product_nO = x_nE.new_empty(len(x_nE), len(self.weight_OE))
        for start in range(0, len(self.weight_OE), PART):
            part = slice(start, start + PART)
            torch.mm(x_nE, self.weight_OE[part].t(), out=product_nO[:, part])
        return product_nO if self.bias_O is None else product_nO.add_(self.bias_O)


@dataclass(frozen=True)
class Norm:
    """An RMS norm, Zhang & Sennrich 2019 (arXiv 1910.07467), equation 4."""

    weight_E: Tensor
    epsilon: float

    def __call__(self, x_E: Tensor) -> Tensor:
        """x / √(mean(x²) + ε) · w."""
        if x_E.dtype == torch.float32:
            return functional.rms_norm(x_E, self.weight_E.shape, self.weight_E, self.epsilon)
        norm_1: Tensor = cast(Any, torch.linalg.vector_norm)(x_E, dim=-1, keepdim=True, dtype=torch.float32)
        scale_1 = norm_1.square_().div_(x_E.shape[-1]).add_(self.epsilon).rsqrt_()
        return (x_E * scale_1).to(x_E.dtype).mul_(self.weight_E)


@dataclass(frozen=True, kw_only=True)
class LlamaLayer:
    """One layer."""

    before_attention: Norm
    states: Product
    """Queries, keys and values, in this order."""
    of_query: Norm | None
    """The norm of each head's queries."""
    of_key: Norm | None
    output: Product
    before_gates: Norm
    gates: Product
    """Gates, then ups."""
    down: Product


@dataclass(frozen=True, kw_only=True)
class LlamaWeights:
    """A whole model."""

    embeddings: Tensor
    layers: Sequence[LlamaLayer]
    norm: Norm
    head: LogitsProduct
    rotary: Any
    """The model's own rotary embedding: (numbers, positions) → cosines and sines."""
    heads: int
    key_heads: int
    size: int
    """Size of a head."""
    scale: float
    """Of attention scores."""


def why_unknown(model: PreTrainedModel) -> str:
    """Why a model is not computed as a Llama; empty where its kind and parts are known."""
    kind = str(model.config.model_type)
    if kind not in KNOWN or not type(model).__module__.startswith("transformers."):
        return f"models of the type {kind!r} have no forward pass of our own"
    if model.device.type != "cpu":
        return "our own forward pass is for the CPU"
    if not can_join(model) or changes_with_length(model.config):
        return "its attention or rotary embedding changes with the length"
    modules = cast("list[tuple[str, torch.nn.Module]]", list(cast(Any, model).named_modules()))
    kinds = {name: type(module) for name, module in modules if name.endswith((*PRODUCTS, "lm_head"))}
    strange = [f"{name} is a {kind.__name__}" for name, kind in kinds.items() if kind is not torch.nn.Linear]
    if strange:
        return f"{strange[0]}, not a Linear"
    dtypes = {parameter.dtype for parameter in model.parameters()}
    return "" if len(dtypes) == 1 else f"its weights have {len(dtypes)} number types"


@torch.no_grad()
def pack(model: PreTrainedModel) -> LlamaWeights:
    """The weights of a model that `why_unknown` has nothing against."""
    network, config = cast(Any, model), cast(Any, model.config)
    attention = network.model.layers[0].self_attn
    return LlamaWeights(
        embeddings=network.model.embed_tokens.weight,
        layers=[_packed_layer(layer) for layer in network.model.layers],
        norm=_norm(network.model.norm),
        head=LogitsProduct(network.lm_head.weight, network.lm_head.bias),
        rotary=network.model.rotary_emb,
        heads=int(config.num_attention_heads),
        key_heads=int(config.num_key_value_heads),
        size=int(attention.head_dim),
        scale=float(attention.scaling),
    )


def _packed_layer(layer: Any) -> LlamaLayer:
    attention, gated = layer.self_attn, layer.mlp
    return LlamaLayer(
        before_attention=_norm(layer.input_layernorm),
        states=_together([attention.q_proj, attention.k_proj, attention.v_proj]),
        of_query=_norm(attention.q_norm) if hasattr(attention, "q_norm") else None,
        of_key=_norm(attention.k_norm) if hasattr(attention, "k_norm") else None,
        output=_together([attention.o_proj]),
        before_gates=_norm(layer.post_attention_layernorm),
        gates=_together([gated.gate_proj, gated.up_proj]),
        down=_together([gated.down_proj]),
    )


def _together(products: Sequence[torch.nn.Linear]) -> Product:
    """Several products of the same numbers as one; their weights become views of it."""
    if len(products) == 1:
        return Product(products[0].weight, products[0].bias)
    packed_OE, start = torch.cat([product.weight for product in products]), 0
    for product in products:
        product.weight.data = packed_OE[start : start + len(product.weight)]
        start += len(product.weight)
    biases = [cast("Tensor | None", product.bias) for product in products]
    known = [bias for bias in biases if bias is not None]
    assert len(known) in (0, len(products)), "some of the products have a bias and some none"
    return Product(packed_OE, torch.cat(known) if known else None)


def _norm(norm: Any) -> Norm:
    return Norm(norm.weight, float(norm.variance_epsilon))
