"""A model's size: counted if it is on this machine, else taken from its name ("8B", "0.6B"), else unknown.

Facts that a name does not give (layers, width, keys and values) are estimated from its parameters, the vocabulary from
its family. Loads no weights and downloads nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfboost.data.hub_data import is_hub_name
from selfboost.engines.weights import read_object, stored_tensors

IN_NAME = re.compile(r"(?<![A-Za-z0-9.])[A-Za-z]?(\d+(?:\.\d+)?)([BbMm])(?![A-Za-z0-9])")
"""A size as it appears in names; "8x7B" and "8bit" do not count."""
UNTOLD = {"PairRM-hf": 435_000_000, "PairRM": 435_000_000}
"""Sizes that a name does not give: PairRM is a DeBERTa-v3-large."""
UNITS = {"b": 10**9, "m": 10**6}
ASPECT = 128
"""Width over layers, as in Llama-7B: with 12 · layers · width² parameters, it determines both."""
KEY_WIDTH = 1024
"""Width of a token's keys in a layer where it is unknown: 8 heads of 128, as in Llama-3-8B, Mistral-7B, Qwen3."""
VOCABULARIES = {"mistral": 32_000, "zephyr": 32_000, "llama-3": 128_256, "qwen": 151_936, "gemma": 256_000}
"""Entries of a vocabulary by the family that the model's name holds."""
LARGEST = 10**9
"""The largest size of a part of a model that is believed."""
VOCABULARY = 128_000
"""If the name says nothing."""


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """A model's parameters, and the sizes that its activations, cache and head depend on."""

    parameters: int
    layers: int
    width: int
    """Width of the residual stream."""
    key_width: int
    """Width of a token's keys in a layer, all heads together; values have the same."""
    vocabulary: int
    """Entries."""
    counted: bool
    """Whether it comes from the files, not from the name."""


def is_model_name(path: str) -> bool:
    """Whether a path is a model's name on the hub rather than a local path."""
    return is_hub_name(path) and ":" not in path


def local_folder(path: str) -> Path | None:
    """A model's folder on this machine, in the hub's cache too; None if it is not here."""
    folder = Path(path).expanduser()
    if folder.is_dir() or not is_model_name(path):
        return folder if folder.is_dir() else None
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        cached = Path(huggingface_hub.snapshot_download(path, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return cached if any(cached.glob("*.safetensors")) else None


def model_size(path: str) -> ModelSize | None:
    """The size of a model given as a folder or hub name; None if unknown.

    Raises:
        ValueError: its configuration or weights are damaged.
    """
    folder = local_folder(path)
    if folder is None:
        name = path.rpartition("/")[2]
        if name in UNTOLD:
            return from_parameters(UNTOLD[name])
        found = IN_NAME.search(name)
        vocabulary = next((count for family, count in VOCABULARIES.items() if family in name.lower()), VOCABULARY)
        return from_parameters(round(float(found[1]) * UNITS[found[2].lower()]), vocabulary) if found else None
    parameters = sum(math.prod(tensor.shape) for tensor in stored_tensors(folder).values())
    return _from_config(folder, parameters) if parameters else None


def from_parameters(parameters: int, vocabulary: int = VOCABULARY) -> ModelSize:
    """The shape of a typical decoder with this many parameters."""
    layers = max(1, round((parameters / 12 / ASPECT**2) ** (1 / 3)))
    width = round(math.sqrt(parameters / 12 / layers))
    return ModelSize(
        parameters=parameters,
        layers=layers,
        width=width,
        key_width=KEY_WIDTH,
        vocabulary=vocabulary,
        counted=False,
    )


def _from_config(folder: Path, parameters: int) -> ModelSize:
    usual = from_parameters(parameters)
    config = read_object(folder / "config.json")
    config = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    width = _whole(config, "hidden_size", usual.width)
    heads = _whole(config, "num_attention_heads", 1)
    each = _whole(config, "head_dim", width // heads)
    return ModelSize(
        parameters=parameters,
        layers=_whole(config, "num_hidden_layers", usual.layers),
        width=width,
        key_width=_whole(config, "num_key_value_heads", heads) * each,
        vocabulary=_whole(config, "vocab_size", usual.vocabulary),
        counted=True,
    )


def _whole(config: Mapping[str, Any], name: str, usual: int) -> int:
    """A size that a configuration names, or the usual one where it names none or nonsense."""
    value = config.get(name)
    return value if isinstance(value, int) and 0 < value <= LARGEST else usual
