"""What errors say of a wrong value: the value itself, cut where it is long, and what a mistyped name may have meant."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, cast

MOST = 3
"""Names offered at once."""
ELSEWHERE: Mapping[str, str] = {
    "lr": "learning_rate",
    "eta": "learning_rate",
    "bs": "batch_size",
    "train_batch_size": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation": "batch_size",
    "gradient_accumulation_steps": "batch_size",
    "steps": "epochs",
    "max_steps": "epochs",
    "num_train_epochs": "epochs",
    "optim": "optimizer",
    "scheduler": "schedule",
    "lr_scheduler": "schedule",
    "lr_scheduler_type": "schedule",
    "warmup_ratio": "warmup",
    "warmup_steps": "warmup",
    "wd": "weight_decay",
    "clip": "max_gradient_norm",
    "grad_clip": "max_gradient_norm",
    "max_grad_norm": "max_gradient_norm",
    "max_seq_len": "max_length",
    "max_seq_length": "max_length",
    "cutoff_len": "max_length",
    "rank": "lora_rank",
    "lora_r": "lora_rank",
    "target_modules": "lora_targets",
    "max_new_tokens": "max_tokens",
    "temp": "temperature",
    "num_samples": "samples",
    "num_return_sequences": "samples",
    "rounds": "iterations",
    "num_iterations": "iterations",
    "random_seed": "seed",
    "model_name_or_path": "path",
    "dataset": "path",
    "torch_dtype": "dtype",
    "precision": "dtype",
}
"""What other libraries call a setting → our name."""
LONGEST_TEXT = 200
"""Characters of a text that is quoted."""
LONGEST_NUMBER = 10_000
"""Bits of a whole number that is quoted: Python refuses to write far longer ones."""


def shown(value: Any) -> str:
    """A value as an error quotes it: as Python writes it, a list in brackets, cut where it is long or deep."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxlong = 3, LONGEST_TEXT, 40
    if isinstance(value, int) and value.bit_length() > LONGEST_NUMBER:
        return "a number of thousands of digits"
    return short.repr(list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value)


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """` (did you mean 'x'?)` with the names that a word may have meant; nothing where there is none."""
    near = nearest(word, allowed)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def nearest(word: str, allowed: Iterable[str]) -> list[str]:
    """Names that a word is near to, is short for, or stands for in other libraries."""
    names, plain = list(allowed), word.lower().replace("-", "_")
    return (
        [name for name in names if name in (plain, ELSEWHERE.get(plain))]
        or difflib.get_close_matches(plain, names, n=1)
        or difflib.get_close_matches(word, names, n=1)
        or [name for name in names if _abbreviates(plain, name)][:MOST]
    )


def _abbreviates(word: str, name: str) -> bool:
    """Whether a word is a name's initials, its beginning, or one of its words."""
    words = name.replace("-", "_").split("_")
    initials = "".join(part[:1] for part in words)
    return len(word) > 1 and (word == initials or name.startswith(word) or word in words)
