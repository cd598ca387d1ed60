"""Gated layers with a backward pass of their own: PyTorch's numbers, and less kept for it."""

import copy

import pytest
import torch
from torch.nn.functional import silu
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP

from selfboost.train.model.gates import replace_gates

TOKENS, WIDTH, INNER = 6, 8, 24


class Adapted(torch.nn.Module):
    """A linear layer and what an adapter adds to it."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.adapter = layer, torch.nn.Linear(INNER, WIDTH, bias=False, dtype=layer.weight.dtype)

    def forward(self, x):
        return self.layer(x) + self.adapter(x)


def gated(kind, *, bias=False):
    torch.manual_seed(0)
    theirs = LlamaMLP(LlamaConfig(hidden_size=WIDTH, intermediate_size=INNER, num_attention_heads=2, mlp_bias=bias)).to(
        kind
    )
    ours = copy.deepcopy(theirs)
    replace_gates(ours)
    return ours, theirs, torch.randn(1, TOKENS, WIDTH, dtype=kind)


def gradients(module, x):
    x = x.clone().requires_grad_()
    found = module(x)
    (found * torch.linspace(-1, 1, found.numel()).view_as(found)).sum().backward()
    return [found, x.grad, *(parameter.grad for parameter in module.parameters())]


def kept_of_inner_width(module, x):
    """How many different tensors of a gated layer's inner width are kept for the backward pass."""
    kept = set()

    def pack(tensor):
        if tensor.numel() == TOKENS * INNER:
            kept.add(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = module(x.requires_grad_())
    assert found.requires_grad
    return len(kept)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_gated_layer_keeps_gate_and_up_alone(kind):
    ours, theirs, x = gated(kind)
    for a, b in zip(gradients(ours, x), gradients(theirs, x), strict=True):
        torch.testing.assert_close(a, b)
    assert kept_of_inner_width(ours, x) == 2
    assert kept_of_inner_width(theirs, x) > 2


def test_a_gated_layer_s_frozen_weights_get_no_gradient():
    ours, theirs, x = gated(torch.float64)
    for module in (ours, theirs):
        module.down_proj.weight.requires_grad_(False)
    found = gradients(ours, x)
    assert ours.down_proj.weight.grad is None
    for a, b in zip(found, gradients(theirs, x), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("change", ["bias", "adapter"])
def test_a_gated_layer_s_last_projection_may_do_more_than_a_product(change):
    ours, theirs, x = gated(torch.float64, bias=change == "bias")
    if change == "adapter":
        ours.down_proj = Adapted(ours.down_proj)
        theirs.down_proj = copy.deepcopy(ours.down_proj)
    for a, b in zip(gradients(ours, x), gradients(theirs, x), strict=True):
        torch.testing.assert_close(a, b)


def test_a_gated_layer_recomputes_the_bits_that_it_used():
    ours, _, x = gated(torch.bfloat16)
    weight = gradients(ours, x)[-1]
    gate, up = ours.gate_proj(x)[0], ours.up_proj(x)[0]
    outer = torch.linspace(-1, 1, TOKENS * WIDTH).to(torch.bfloat16).view(TOKENS, WIDTH)
    assert torch.equal(weight, outer.T @ (silu(gate) * up))
