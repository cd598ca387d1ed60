"""What opening a checkpoint would find, found without loading it: configuration, names and shapes, a few numbers.

Used by `check`, and by a run before it loads. Code that comes with a checkpoint is not looked at: a checkpoint that
brings its own architecture is checked by its files alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, cast

from selfboost.engines.context import LENGTH_DEPENDENT
from selfboost.engines.weights import Stored, missing_weights, not_finite, read_object, some, stored_tensors
from selfboost.limits import has_alarm, limited
from selfboost.suggestions import shown

Purpose = Literal["language model", "reward model"]
REMEDIES: Mapping[Purpose, str] = {
    "language model": "choose a decoder with a language-model head (AutoModelForCausalLM)",
    "reward model": "choose a sequence classifier with one output (AutoModelForSequenceClassification)",
}
USUAL_LAYERS = 1000
"""So many layers may share weights, as ALBERT's do; more need weights of their own."""
EMPTY_SECONDS = 60.0
"""Longest time that an empty model of a configuration may take: a thousand layers take one or two seconds."""
HEAD_NAME = "score."
"""What the names of a decoder's new scalar head begin with."""


def inspect_weights(path: str, folder: Path) -> dict[str, Stored]:
    """The tensors of a checkpoint that is for us to load: whole, unquantised files of finite numbers.

    Raises:
        ValueError: it is not, in one sentence.
    """
    settings = read_object(folder / "config.json")
    if settings.get("quantization_config"):
        raise ValueError(
            f"{path!r} is quantised (config.json has a quantization_config), which is not supported: give the original "
            "weights in bfloat16 or float32"
        )
    if missing := missing_weights(folder):
        raise ValueError(f"the checkpoint {path!r} is incomplete: {folder} lacks {', '.join(missing[:3])}")
    tensors = stored_tensors(folder)
    if not tensors:
        raise ValueError(f"the checkpoint {path!r} is empty: its safetensors files hold no weights")
    if bad := list(not_finite(tensors)):
        raise ValueError(f"the weights of {path!r} are not finite (infinite or NaN): {some(bad)}")
    return tensors


def inspect_model(path: str, folder: Path, purpose: Purpose, *, new_head: bool = False, own_code: bool = False) -> Any:
    """The configuration of a checkpoint that can be loaded for a purpose; with `new_head` its scalar head is to come.

    None for a checkpoint of its own code, which may only be used with `own_code`.

    Raises:
        ValueError: it cannot, in one sentence.
    """
    tensors = inspect_weights(path, folder)
    config = read_config(path, folder, own_code=own_code)
    if config is None:
        return None
    _check_kind(path, config, purpose)
    if config.model_type in LENGTH_DEPENDENT:
        raise ValueError(
            f"{path!r} is of type {config.model_type}, whose results for a row depend on the rows beside it "
            f"({LENGTH_DEPENDENT[config.model_type]}): {REMEDIES[purpose]} of another type"
        )
    _check_shapes(path, config, tensors, purpose, new_head=new_head)
    if purpose == "reward model" and not new_head and config.num_labels != 1:
        raise ValueError(
            f"the checkpoint {path!r} is not a reward model: its head has {config.num_labels} outputs, expected one"
        )
    return config


def read_config(path: str, folder: Path, *, own_code: bool = False) -> Any:
    """The transformers configuration of a checkpoint; None where the checkpoint's own code is to be used.

    Raises:
        ValueError: it is none.
    """
    from transformers import CONFIG_MAPPING, AutoConfig
    from transformers import __version__ as version

    file = folder / "config.json"
    settings = read_object(file)
    if settings.get("auto_map") and own_code:
        return None
    kind = settings.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise ValueError(f"{file} names no model_type, so {path!r} is no transformers checkpoint: download it again")
    if kind not in CONFIG_MAPPING and settings.get("auto_map"):
        raise ValueError(
            f"{path!r} is of type {shown(kind)}, whose code comes with the checkpoint: choose another model, or set "
            "trust_remote_code = true and give --trust remote-code"
        )
    if kind not in CONFIG_MAPPING:
        raise ValueError(
            f"{path!r} is of type {shown(kind)}, which transformers {version} does not know: choose another model or "
            "update transformers"
        )
    try:
        return cast(Any, AutoConfig).from_pretrained(folder, local_files_only=True)
    except Exception as error:  # each setting is checked by code of its own
        raise ValueError(f"{file} is no valid configuration of a {kind}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """A library's own message, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300].rstrip(".")


def _check_kind(path: str, config: Any, purpose: Purpose) -> None:
    """A language model must be a decoder: an encoder's class of that name sees the tokens that it is to predict."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    kind = cast("type[Any]", type(config))
    if purpose == "reward model":
        found = _model_class(config, purpose) is not None
    else:
        encodes = kind in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
        found = kind in MODEL_FOR_CAUSAL_LM_MAPPING and not encodes and not config.is_encoder_decoder
    if not found:
        raise ValueError(f"{path!r} is of type {config.model_type}, which is no {purpose}: {REMEDIES[purpose]}")


def _model_class(config: Any, purpose: Purpose) -> Any:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    mappings: Mapping[Purpose, Any] = {
        "language model": MODEL_FOR_CAUSAL_LM_MAPPING,
        "reward model": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    }
    found: Any = mappings[purpose].get(cast(Any, type(config)), None)
    return cast(Any, found[0] if isinstance(found, tuple) else found)


def _check_shapes(path: str, config: Any, tensors: Mapping[str, Stored], purpose: Purpose, *, new_head: bool) -> None:
    """Names and shapes against an empty model of the configuration."""
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > max(USUAL_LAYERS, len(tensors)):
        raise ValueError(
            f"config.json and weights of {path!r} do not fit together: the configuration has {layers:,} layers, the "
            f"files hold {len(tensors):,} weights; download both again"
        )
    kind = _model_class(config, purpose)
    model = empty_model(path, kind, config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    prefix = f"{model.base_model_prefix}."
    known = {own_name(name, wanted, prefix): tensor.shape for name, tensor in tensors.items()}
    absent = sorted(wanted.keys() - known.keys() - _tied(model, known))
    if new_head:
        absent = [name for name in absent if not name.startswith(HEAD_NAME)]
    if absent and not _renames(model):
        if purpose == "reward model":
            raise ValueError(
                f"the checkpoint {path!r} is not a reward model: it lacks {absent[0]}, which would start as random "
                f"numbers and give meaningless rewards: {REMEDIES[purpose]}"
            )
        raise ValueError(
            f"the checkpoint {path!r} lacks {len(absent)} weights of a {kind.__name__} (first: {absent[0]}); they "
            f"would start as random numbers: {REMEDIES[purpose]}"
        )
    wrong = [name for name, shape in known.items() if name in wanted and shape != wanted[name]]
    if wrong and not _renames(model):
        first = wrong[0]
        raise ValueError(
            f"config.json and weights of {path!r} do not fit together: {first!r} has the shape {list(known[first])}, "
            f"the configuration makes it {list(wanted[first])}; download both again"
        )


def empty_model(path: str, kind: Any, config: Any) -> Any:
    """A model of a configuration, without numbers.

    Raises:
        ValueError: there is none with these sizes.
    """
    import torch

    why = f"it took more than {EMPTY_SECONDS:g} s"
    try:
        with (
            torch.device("meta"),
            warnings.catch_warnings(action="ignore"),  # whatever is odd is refused by the shapes
            limited(EMPTY_SECONDS, why) if has_alarm() else nullcontext(),
        ):
            return kind(config)
    except Exception as error:  # sizes that do not fit together raise what they like
        raise ValueError(f"the configuration of {path!r} makes no {kind.__name__}: {reason(error)}") from error


def own_name(stored: str, wanted: Iterable[str], prefix: str) -> str:
    """A model's own name for a stored weight, which may be that of the model without or with its head."""
    name = stored.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    for candidate in (name, prefix + name, name.removeprefix(prefix)):
        if candidate in wanted:
            return candidate
    return stored


def _tied(model: Any, known: Iterable[str]) -> set[str]:
    """Weights that share their numbers with one that is stored."""
    tied = cast("Mapping[str, str]", getattr(model, "all_tied_weights_keys", None) or {})
    return {name for pair in tied.items() if any(one in known for one in pair) for name in pair}


def _renames(model: Any) -> bool:
    """Whether transformers converts names or shapes while loading this architecture, mixtures of experts above all."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
    except ImportError:
        return True
    return bool(get_model_conversion_mapping(model, add_legacy=False))
