"""A language model whose weights stay on the disk until they are used: who shards it never holds it whole."""

from __future__ import annotations

from typing import Any, cast

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from selfboost.engines.checkpoint import load_causal_model, resolve


def load_mapped(path: str, trust_remote_code: bool) -> PreTrainedModel:
    """The language model on the CPU in the number type it is stored in; in float32 where its weights differ in type.

    Unconverted weights are views of the mapped files: processes of one machine share the memory they are read into.

    Raises:
        ValueError: as `load_causal_model`.
    """
    if _stored_types(path) == {"BF16"}:
        model = load_causal_model(path, "bfloat16", "cpu", trust_remote_code)
        # Buffers are made, not read: in bfloat16 they would be rounded, unlike those of a model opened in float32.
        if all(buffer.dtype != torch.bfloat16 for buffer in model.buffers()):
            return model
    return load_causal_model(path, "float32", "cpu", trust_remote_code)


def _stored_types(path: str) -> set[str]:
    found: set[str] = set()
    for file in resolve(path).glob("*.safetensors"):
        with cast(Any, safe_open)(file, "pt") as weights:
            found |= {str(weights.get_slice(name).get_dtype()) for name in weights.keys()}  # noqa: SIM118
    return found
