"""The embedded model's function in a Llama of any larger shape: same answers, so whole iterations can be timed on it.

A random model of that size never writes a prompt that can be parsed, and training one to do so would take longer than
the benchmark. The embedded weights are set into larger matrices of zeros: what is added computes, and changes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from benchmarks.training_task import Shape
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from selfboost.demo import EMBEDDED_MODEL

TRACE, DEPTH = 1e-3, 1000.0
"""What every known word carries in a spare dimension, too small to matter inside and about 1 after the last norm, and
how far it pushes down the logits of the words that are added: training finds no gradient there, so none ever comes."""


def write_widened(folder: Path, shape: Shape, vocabulary: int) -> int:
    """Write a model of a larger shape and its tokenizer; the number of its parameters.

    Its logits are the embedded model's, but for rounding; embeddings and head are apart.
    """
    small = cast(Any, LlamaForCausalLM.from_pretrained(str(EMBEDDED_MODEL)))
    large = cast(Any, LlamaForCausalLM(_config(small.config, shape, vocabulary)))
    with torch.no_grad():
        for weight in large.parameters():
            weight.zero_()
        for here, there in zip(small.model.layers, large.model.layers, strict=False):
            _fill_attention(here.self_attn, there.self_attn)
            _fill_rest(here, there)
        _fill_ends(small, large)
    large.save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(str(EMBEDDED_MODEL)).save_pretrained(str(folder))
    return large.num_parameters()


def _config(old: Any, shape: Shape, vocabulary: int) -> LlamaConfig:
    """Rotary frequencies and the norms' epsilon as the embedded model's, for wider heads and states."""
    wider = (shape.hidden // shape.heads) / old.head_dim
    assert shape.hidden > old.hidden_size, "a larger shape"
    return LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        vocab_size=vocabulary,
        max_position_embeddings=512,
        rms_norm_eps=old.rms_norm_eps * old.hidden_size / shape.hidden,
        rope_parameters={"rope_type": "default", "rope_theta": old.rope_parameters["rope_theta"] ** wider},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=old.eos_token_id,
        pad_token_id=old.pad_token_id,
    )


def _fill_attention(here: Any, there: Any) -> None:
    """The old heads' rows; a head's rotary pairs lie half its width apart, and its scores are divided by its root."""
    half = torch.arange(here.head_dim // 2)
    inside = torch.cat([half, half + there.head_dim // 2])
    heads, hidden = here.config.num_attention_heads, here.config.hidden_size
    rows = torch.cat([head * there.head_dim + inside for head in range(heads)])
    there.q_proj.weight[rows, :hidden] = here.q_proj.weight * (there.head_dim / here.head_dim) ** 0.5
    there.k_proj.weight[rows, :hidden] = here.k_proj.weight
    there.v_proj.weight[rows, :hidden] = here.v_proj.weight
    there.o_proj.weight[:hidden, rows] = here.o_proj.weight


def _fill_rest(here: Any, there: Any) -> None:
    for name in ("gate_proj", "up_proj", "down_proj"):
        was = getattr(here.mlp, name).weight
        getattr(there.mlp, name).weight[: was.shape[0], : was.shape[1]] = was
    for name in ("input_layernorm", "post_attention_layernorm"):
        _fill_norm(getattr(here, name).weight, getattr(there, name).weight)


def _fill_norm(was: torch.Tensor, weight: torch.Tensor) -> None:
    """The mean square is over more dimensions, which are zero."""
    weight[: len(was)] = was * (len(was) / len(weight)) ** 0.5


def _fill_ends(small: Any, large: Any) -> None:
    words, hidden = small.model.embed_tokens.weight.shape
    large.model.embed_tokens.weight[:words, :hidden] = small.model.embed_tokens.weight
    large.model.embed_tokens.weight[:words, hidden] = TRACE
    _fill_norm(small.model.norm.weight, large.model.norm.weight)
    large.model.norm.weight[hidden] = 1 / TRACE
    large.lm_head.weight[:words, :hidden] = small.lm_head.weight
    large.lm_head.weight[words:, hidden] = -DEPTH
