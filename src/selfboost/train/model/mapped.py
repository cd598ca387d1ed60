"""A language model that is to be sharded, opened without being held whole: empty, or mapped from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import safe_open
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.nn.modules.module import register_module_parameter_registration_hook
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from selfboost.engines.checkpoint import keep_soft_caps, load_causal_model, resolve
from selfboost.engines.inspection import inspect_model, reason
from selfboost.engines.weights import stored_tensors, weight_files
from selfboost.train.devices.sharding import cause_of, part


def open_unread(path: str, trust_remote_code: bool) -> PreTrainedModel:
    """The language model with all weights on the meta device, for `read_parts`; mapped from its files where it must be.

    It must be where its files hold other names or shapes than the model has, which transformers converts, where code
    comes with it, or where it has buffers that are stored.

    Raises:
        ValueError: as `load_causal_model`.
    """
    folder = resolve(path)
    config = inspect_model(path, folder, "language model", own_code=trust_remote_code)
    model = None if config is None else _empty(config)
    if model is None or not _stored_as_it_is(model, folder):
        return load_mapped(path, trust_remote_code)
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    keep_soft_caps(model)
    return cast(PreTrainedModel, model.eval())


def read_parts(path: str, model: PreTrainedModel) -> None:
    """Read into a sharded model's weights, each process its part of every one. Every process must ask.

    Raises:
        ValueError: a file cannot be read, or a weight is infinite or NaN; on every process.
    """
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    try:
        cast(Any, dcp).load(weights, storage_reader=HuggingFaceStorageReader(str(resolve(path))))
    except CheckpointException as error:
        raise ValueError(
            f"the weights of {path!r} cannot be read ({reason(cause_of(error))}): download it again"
        ) from error
    bad = next((name for name, weight in weights.items() if not bool(part(weight).isfinite().all())), None)
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, bad)
    if named := next((name for name in found if name), None):
        raise ValueError(f"the weights of {path!r} are not finite (infinite or NaN): {named!r}")


def _empty(config: Any) -> Any:
    """A model whose parameters lie on the meta device; its buffers, which are computed, are real."""
    hook = register_module_parameter_registration_hook(_to_meta)
    try:
        return cast(Any, AutoModelForCausalLM).from_config(config, dtype=torch.float32)
    finally:
        hook.remove()


def _to_meta(_module: torch.nn.Module, _name: str, parameter: Any) -> Any:
    if parameter is None or parameter.is_meta:
        return parameter
    return torch.nn.Parameter(parameter.to("meta"), parameter.requires_grad)


def _stored_as_it_is(model: Any, folder: Path) -> bool:
    """Whether the files hold exactly the model's weights, under its names, each tied one once."""
    stored = stored_tensors(folder)
    weights = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    all_names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    if any(name not in all_names for name in model.state_dict()) or (all_names - weights.keys()) & stored.keys():
        return False
    if set(weight_files(folder)) != set(folder.glob("*.safetensors")):
        return False  # a second set of weights lies beside them
    return all(name in stored and stored[name].shape == shape for name, shape in weights.items())


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
