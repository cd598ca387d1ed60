"""A Llama's checkpoint as llama.cpp's file, by the package gguf; also for `tests/llama_cpp_server.py`.

Norms are in float32, as llama.cpp wants them; all else keeps its number type. Nothing but numpy and gguf is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
SPECIAL, NORMAL = 3, 1
"""Types of token."""
Numbers = np.ndarray[Any, np.dtype[Any]]
FLOAT32: Mapping[str, type[Any]] = {"F32": np.float32}
KINDS: Mapping[str, type[Any]] = {**FLOAT32, "BF16": np.uint16}
"""safetensors' number types → numpy's; it has no bfloat16."""


def write(folder: Path, file: Path) -> None:
    """Write a checkpoint in float32 or bfloat16 as a GGUF file; its words are made up: only token ids are used."""
    config = read_config(folder)
    words = range(config["vocab_size"])
    writer = begun(file, config)
    writer.add_token_list([str(word) for word in words])
    writer.add_token_scores([-float(word) for word in words])
    writer.add_token_types([NORMAL if word > config["eos_token_id"] else SPECIAL for word in words])
    end(writer, folder, config, KINDS)


def read_config(folder: Path) -> dict[str, Any]:
    """A checkpoint's config.json."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def begun(file: Path, config: Mapping[str, Any]) -> Any:
    """The writer of a GGUF file that knows the model's sizes; tokens are still to be added."""
    gguf: Any = import_module("gguf")
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_tokenizer_model("llama")
    return writer


def end(writer: Any, folder: Path, config: Mapping[str, Any], kinds: Mapping[str, type[Any]]) -> None:
    """Add a checkpoint's weights, of these number types, and write the file."""
    bfloat16 = import_module("gguf").GGMLQuantizationType.BF16
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, weights in tensors(folder / "model.safetensors", kinds):
        numbers = as_stored(weights, heads.get(name.split(".")[-2], 0))
        writer.add_tensor(gguf_name(name), numbers, raw_dtype=bfloat16 if numbers.dtype == np.uint8 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors(file: Path, kinds: Mapping[str, type[Any]]) -> Iterator[tuple[str, Numbers]]:
    """Names and tensors of a safetensors file, bfloat16 as 16-bit integers."""
    raw = file.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    for name, about in json.loads(raw[8:start]).items():
        if name != "__metadata__":
            assert about["dtype"] in kinds, f"{name} is of type {about['dtype']}"
            first, last = (start + place for place in about["data_offsets"])
            yield name, np.frombuffer(raw[first:last], kinds[about["dtype"]]).reshape(about["shape"])


def gguf_name(name: str) -> str:
    """A tensor's name in llama.cpp's files."""
    stem = name.removesuffix(".weight")
    if not stem.startswith("model.layers."):
        return f"{NAMES[stem]}.weight"
    layer, inner = stem.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[inner]}.weight"


def as_stored(weights: Numbers, heads: int) -> Numbers:
    """A tensor in llama.cpp's order and number type, bfloat16 as bytes; `heads`: of queries or keys, 0 for all else.

    Of the two halves of a head's queries and keys that a rotation pairs, llama.cpp takes a row from each in turn.
    """
    if heads:
        turned: Numbers = weights.reshape(heads, 2, -1, weights.shape[1]).swapaxes(1, 2).reshape(weights.shape)
        weights = np.ascontiguousarray(turned)
    if weights.dtype == np.float32:
        return weights
    return (weights.astype(np.uint32) << 16).view(np.float32) if weights.ndim == 1 else weights.view(np.uint8)
