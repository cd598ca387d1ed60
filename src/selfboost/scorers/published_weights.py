"""Opens a published checkpoint with our own architecture code, matching the published weight names strictly.

Code that comes with a checkpoint is never run. What opening would find is found by the files' headers first, for
`check` too. Leaves out quantised and sharded-over-devices loading.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from transformers import PreTrainedModel

from selfboost.engines.checkpoint import (
    DeviceName,
    DTypeName,
    choose_device,
    choose_dtype,
    loading,
    require_finite,
    resolve,
)
from selfboost.engines.inspection import empty_model, inspect_weights, own_name, reason
from selfboost.engines.weights import read_object

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
    inspect_published(architecture, name, path)
    folder, where = resolve(path), choose_device(device)
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
    absent = sorted(str(key) for key in [*info["missing_keys"], *info["mismatched_keys"]])
    _require_all(name, path, absent, sorted(map(str, info["unexpected_keys"])))
    require_finite(path, model)
    return cast(Architecture, cast(Any, model).to(where).eval())


def inspect_published(architecture: type[PreTrainedModel], name: str, path: str) -> Any:
    """The configuration of a checkpoint whose headers have the architecture's weights; none of them is loaded.

    Raises:
        ValueError: as `open_published`.
    """
    folder = resolve(path)
    kind = cast(Any, architecture).config_class
    found = read_object(folder / "config.json").get("model_type")
    if found != kind.model_type:
        expected = f"expected {kind.model_type!r}"
        raise ValueError(f"the checkpoint {path!r} is not {name}: its model_type is {found!r}, {expected}")
    tensors = inspect_weights(path, folder)
    try:
        config = kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # each setting is checked by code of its own
        raise ValueError(f"{folder / 'config.json'} is no valid configuration of {name}: {reason(error)}") from error
    empty = empty_model(path, architecture, config).state_dict()
    wanted = {key: tuple(weight.shape) for key, weight in empty.items() if not key.endswith(COMPUTED)}
    known = {own_name(key, wanted, ""): tensor.shape for key, tensor in tensors.items()}
    _require_all(name, path, sorted(wanted.keys() - known.keys()), sorted(known.keys() - wanted.keys()))
    if wrong := sorted(key for key, shape in wanted.items() if known[key] != shape):
        raise ValueError(
            f"config.json and weights of {path!r} do not fit together: {wrong[0]!r} has the shape "
            f"{list(known[wrong[0]])}, the configuration makes it {list(wanted[wrong[0]])}; download both again"
        )
    return config


def _require_all(name: str, path: str, absent: list[str], unexpected: list[str]) -> None:
    if absent:
        raise ValueError(
            f"the checkpoint {path!r} is not {name}: it lacks {_some(absent)}, which would be randomly initialised "
            "and give meaningless scores"
        )
    unknown = [key for key in unexpected if not key.endswith(COMPUTED)]
    if unknown:
        raise ValueError(f"the checkpoint {path!r} is not {name}: it has unexpected weights: {_some(unknown)}")


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
