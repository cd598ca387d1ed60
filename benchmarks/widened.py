"""The embedded model's function in a Llama of any larger shape: same answers, so whole iterations can be timed on it.

A random model of that size never writes a prompt that can be parsed, and training one to do so would take longer than
the benchmark. The embedded weights are set into larger matrices of zeros: what is added computes, and changes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from selfboost.demo import EMBEDDED_MODEL

TRACE, DEPTH = 1e-3, 1000.0
"""What every known word carries in a spare dimension, too small to matter inside and about 1 after the last norm, and
how far it pushes down the logits of the words that are added: training finds no gradient there, so none ever comes."""


def write_widened(
    folder: Path, *, hidden: int, layers: int, heads: int, intermediate: int, vocabulary: int, context: int = 512
) -> int:
    """Write the model and its tokenizer; the number of its parameters. Logits differ from the embedded model's by
    rounding.

    Raises:
        ValueError: the shape is not larger in every way.
    """
    small = cast(Any, LlamaForCausalLM.from_pretrained(str(EMBEDDED_MODEL)))
    old = small.config
    width, old_width = hidden // heads, old.hidden_size // old.num_attention_heads
    wanted = (hidden, layers, heads, width, intermediate, vocabulary)
    had = (old.hidden_size, old.num_hidden_layers, old.num_attention_heads, old_width)
    if hidden <= old.hidden_size or any(new < was for new, was in zip(wanted, had, strict=False)):
        raise ValueError(f"hidden, layers, heads, head width = {wanted[:4]}: must be above {had}")
    share = old.hidden_size / hidden
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        vocab_size=vocabulary,
        max_position_embeddings=context,
        rms_norm_eps=old.rms_norm_eps * share,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": old.rope_parameters["rope_theta"] ** (width / old_width),
        },
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=old.eos_token_id,
        pad_token_id=old.pad_token_id,
    )
    large = cast(Any, LlamaForCausalLM(config))
    with torch.no_grad():
        _fill(small.model, large.model, width, share)
        large.lm_head.weight.zero_()
        words = small.lm_head.weight
        large.lm_head.weight[: len(words), : old.hidden_size] = words
        large.lm_head.weight[len(words) :, old.hidden_size] = -DEPTH
    large.save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(str(EMBEDDED_MODEL)).save_pretrained(str(folder))
    return large.num_parameters()


def _fill(small: Any, large: Any, width: int, share: float) -> None:
    old_hidden, old_heads = small.config.hidden_size, small.config.num_attention_heads
    old_width = old_hidden // old_heads
    # A head's rotary pairs lie half its width apart.
    half = torch.arange(old_width // 2)
    inside = torch.cat([half, half + width // 2])
    rows = torch.cat([head * width + inside for head in range(old_heads)])
    for weight in large.parameters():
        weight.zero_()
    words = small.embed_tokens.weight
    large.embed_tokens.weight[: len(words), :old_hidden] = words
    large.embed_tokens.weight[: len(words), old_hidden] = TRACE
    for here, there in zip(small.layers, large.layers, strict=False):
        for name in ("input_layernorm", "post_attention_layernorm"):
            getattr(there, name).weight[:old_hidden] = getattr(here, name).weight * share**0.5
        one, other = here.self_attn, there.self_attn
        # Scores are divided by the root of the head's width, which has grown.
        other.q_proj.weight[rows, :old_hidden] = one.q_proj.weight * (width / old_width) ** 0.5
        other.k_proj.weight[rows, :old_hidden] = one.k_proj.weight
        other.v_proj.weight[rows, :old_hidden] = one.v_proj.weight
        other.o_proj.weight[:old_hidden, rows] = one.o_proj.weight
        for name in ("gate_proj", "up_proj"):
            was = getattr(here.mlp, name).weight
            getattr(there.mlp, name).weight[: len(was), :old_hidden] = was
        was = here.mlp.down_proj.weight
        there.mlp.down_proj.weight[: len(was), : was.shape[1]] = was
    large.norm.weight[:old_hidden] = small.norm.weight * share**0.5
    large.norm.weight[old_hidden] = 1 / TRACE
