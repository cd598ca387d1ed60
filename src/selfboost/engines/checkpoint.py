"""Checkpoints on disk: locating them, hashing their content, loading their weights.

A transformers folder or a hub name; only safetensors, since reading a pickled checkpoint can run code.
Quantised models and loading over several devices are not supported.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from selfboost.engines.inspection import inspect_model, reason
from selfboost.engines.weights import missing_weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

DTypeName = Literal["auto", "float32", "bfloat16"]
"""`auto`: bfloat16 on a GPU, float32 on a CPU."""
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
"""`auto`: the GPU if there is one."""


def bytes_of(dtype: DTypeName) -> int:
    """Bytes per weight; for `auto` those of bfloat16, as on a GPU."""
    return 4 if dtype == "float32" else 2


TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.py",
)
"""Files that define the tokenizer (`*.py`: the code that `trust_remote_code` runs)."""

ADAPTER, ADAPTER_SETTINGS = "adapter", "adapter_config.json"
"""Folder inside a trained model's that holds its LoRA adapter alone, as peft reads it, and the file of its settings."""

CONFIG_FILES = ("config.json", "generation_config.json")
WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json")

_HASHES: dict[tuple[str, int, int], str] = {}
"""Content hashes computed in this process, by a file's path, size and modification time."""


def load_causal_model(
    path: str,
    dtype: DTypeName = "auto",
    device: DeviceName = "auto",
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Load a checkpoint's language model in evaluation mode, every weight read from it.

    Raises:
        ValueError: there is no such checkpoint, it lacks weights, or it cannot be read.
    """
    folder = resolve(path)
    inspect_model(path, folder, "language model", own_code=trust_remote_code)
    where = choose_device(device)
    model, info = _load(path, folder, choose_dtype(dtype, where), trust_remote_code)
    absent = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if absent:
        raise ValueError(
            f"the checkpoint {path!r} lacks {len(absent)} weights of a {type(model).__name__} "
            f"(first: {absent[0]}); they would start as random numbers"
        )
    keep_soft_caps(model)
    model = cast("PreTrainedModel", cast(Any, model).to(where).eval())
    require_finite(path, model)
    return model


def _load(
    path: str, folder: Path, dtype: torch.dtype, trust_remote_code: bool
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A language model, and what transformers has to say of its loading."""
    from transformers import AutoModelForCausalLM

    with loading():
        try:
            loaded = cast(Any, AutoModelForCausalLM).from_pretrained(
                folder,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        except Exception as error:  # each kind of damage raises its own type: OSError, SafetensorError, RuntimeError …
            raise ValueError(
                f"the checkpoint {path!r} cannot be loaded as a language model ({reason(error)}): choose another model "
                "or download it again"
            ) from error
    return cast("tuple[PreTrainedModel, dict[str, Any]]", loaded)


def require_finite(path: str, model: PreTrainedModel) -> None:
    """Refuse weights that are no numbers: all that is made with them would be none either.

    Raises:
        ValueError: a weight is infinite or NaN.
    """
    for name, weight in cast(Any, model).named_parameters():
        if not bool(weight.isfinite().all()):
            raise ValueError(f"the weights of {path!r} are not finite (infinite or NaN): {name!r}")


def keep_soft_caps(model: PreTrainedModel) -> None:
    """Use an attention implementation that applies the cap for models that soft-cap their scores (Gemma 2).

    transformers before 5.21 chooses PyTorch's fused attention for it, which silently leaves the cap out.
    """
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        cast(Any, model).set_attn_implementation("eager")


def choose_device(name: DeviceName) -> torch.device:
    """The device that a setting stands for.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device = 'cuda': PyTorch sees no GPU here; use 'cpu', or 'auto' to use what is available")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device = 'mps': PyTorch sees no Apple GPU here; use 'cpu' or 'auto'")
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def choose_dtype(name: DTypeName, device: torch.device) -> torch.dtype:
    """The number type that a setting stands for on a device."""
    import torch

    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def resolve(path: str, *, weights: bool = True) -> Path:
    """The folder of a checkpoint: a local folder, or a hub name's snapshot, from the local cache or downloaded.

    With `weights` false, configuration and tokenizer are enough.

    Raises:
        ValueError: there is no checkpoint, or its weights are not safetensors.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        folder = _from_hub(path, weights)
    if (folder / ADAPTER_SETTINGS).is_file():
        how = "beside a model" if (folder / "config.json").is_file() else "alone, without its model"
        raise ValueError(
            f"{path!r} holds an adapter {how}: merge it first (peft: merge_and_unload, then save_pretrained)"
        )
    if not (folder / "config.json").is_file():
        raise ValueError(f"{path!r} is not a transformers checkpoint: {folder} holds no config.json")
    if weights:
        _require_safetensors(path, folder)
    return folder


def fingerprint(path: str) -> str:
    """Hash of a checkpoint's weights, configuration and tokenizer; the same wherever the folder lies."""
    return hash_files(resolve(path), (*CONFIG_FILES, *WEIGHT_FILES, *TOKENIZER_FILES))


def hash_files(folder: Path, patterns: tuple[str, ...]) -> str:
    """SHA-256 over names and contents of the folder's files that match a pattern."""
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(folder).as_posix()} {_file_hash(file)}\n".encode())
    return total.hexdigest()


def _file_hash(file: Path) -> str:
    """Computed once per process and state of the file."""
    state = file.stat()
    key = (str(file.resolve()), state.st_size, state.st_mtime_ns)
    if key not in _HASHES:
        with file.open("rb") as stream:
            _HASHES[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _HASHES[key]


def _require_safetensors(path: str, folder: Path) -> None:
    missing = missing_weights(folder)
    if not missing:
        return
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise ValueError(
            f"the weights of {path!r} are not safetensors but pickled (.bin, .pt), which can run code when read; "
            "convert them with save_pretrained first"
        )
    raise ValueError(
        f"the checkpoint {path!r} is incomplete: {folder} lacks {', '.join(missing[:3])} (only safetensors are read)"
    )


def _from_hub(name: str, weights: bool) -> Path:
    """The snapshot of a hub name: the one in the local cache, so that a run keeps its revision; else downloaded."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise ValueError(f"there is no folder {name!r}")
    download = cast("Callable[..., str]", huggingface_hub.snapshot_download)
    wanted = [*CONFIG_FILES, *TOKENIZER_FILES, *(WEIGHT_FILES if weights else ())]
    unwanted = ["consolidated*"]  # the same weights a second time, in another layout
    try:
        try:
            cached = Path(download(name, allow_patterns=wanted, local_files_only=True))
            if (cached / "config.json").is_file() and not (weights and missing_weights(cached)):
                return cached
        except LocalEntryNotFoundError:
            pass
        return Path(download(name, allow_patterns=wanted, ignore_patterns=unwanted))
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{name!r} is neither a folder nor a model on the hub: {reason}") from error


@contextmanager
def quiet() -> Generator[None]:
    """Silence transformers' progress bars and load reports: we show progress, and refuse what it only reports."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def loading() -> Generator[None]:
    """Load quietly and one weight at a time: transformers' loading threads can break PyTorch's own at their start."""
    name = "HF_DEACTIVATE_ASYNC_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        with quiet():
            yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
