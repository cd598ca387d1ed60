"""Opens a published checkpoint with our own architecture code, matching the published weight names strictly.

Code that comes with a checkpoint is never run. Leaves out quantised and sharded-over-devices loading.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar, cast

from transformers import PreTrainedModel

from selfboost.engines.checkpoint import DeviceName, DTypeName, choose_device, choose_dtype, loading, resolve

Architecture = TypeVar("Architecture", bound=PreTrainedModel)
COMPUTED = ("position_ids", "rotary_emb.inv_freq")
"""Stored by older transformers, although it follows from the configuration."""


def open_published(
    architecture: type[Architecture], name: str, path: str, dtype: DTypeName, device: DeviceName
) -> Architecture:
    """The model of a checkpoint in evaluation mode; `name` is the architecture's name in messages.

    Raises:
        ValueError: there is no such checkpoint, it is of another kind, or a weight is missing or unexpected.
    """
    folder, where = resolve(path), choose_device(device)
    wanted = cast(Any, architecture).config_class.model_type
    found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if found != wanted:
        raise ValueError(f"the checkpoint {path!r} is not {name}: its model_type is {found!r}, expected {wanted!r}")
    with loading():  # mismatched weights are refused below
        try:
            loaded = cast(Any, architecture).from_pretrained(
                folder,
                dtype=choose_dtype(dtype, where),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        except Exception as error:  # each kind of damage raises its own error type
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"the checkpoint {path!r} cannot be loaded as {name}: {reason}") from error
    model, info = cast("tuple[Architecture, dict[str, Any]]", loaded)
    _require_all(name, path, info)
    return cast(Architecture, cast(Any, model).to(where).eval())


def _require_all(name: str, path: str, info: dict[str, Any]) -> None:
    absent = sorted(str(key) for key in [*info["missing_keys"], *info["mismatched_keys"]])
    if absent:
        raise ValueError(
            f"the checkpoint {path!r} is not {name}: it lacks {_some(absent)}, which would be randomly initialised "
            "and give meaningless scores"
        )
    unknown = sorted(str(key) for key in info["unexpected_keys"] if not str(key).endswith(COMPUTED))
    if unknown:
        raise ValueError(f"the checkpoint {path!r} is not {name}: it has unexpected weights: {_some(unknown)}")


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
