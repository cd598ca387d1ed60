"""Models that are opened once for many calls: a scorer that is asked block by block must not load them for each."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Generator, Hashable
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

Opened = TypeVar("Opened")


@dataclass(frozen=True)
class _Kept:
    """What is open, and how it is closed."""

    models: dict[Hashable, Any] = field(default_factory=dict[Hashable, Any])
    closing: ExitStack = field(default_factory=ExitStack)


_KEPT: ContextVar[_Kept | None] = ContextVar("kept", default=None)


@contextmanager
def models_kept_open() -> Generator[None]:
    """What `kept_open` and `kept` open inside the block is opened once by its key, and freed when the block ends."""
    kept = _Kept()
    before = _KEPT.set(kept)
    try:
        with kept.closing:
            yield
    finally:
        kept.models.clear()
        _KEPT.reset(before)


def give_back() -> None:
    """Let other processes have the GPU memory that nothing in this one holds any more."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


@contextmanager
def kept_open(key: Hashable, opening: Callable[[], AbstractContextManager[Opened]]) -> Generator[Opened]:
    """What `opening` opens, or what was kept under the key; outside `models_kept_open` it is freed after the block."""
    kept = _KEPT.get()
    if kept is None:
        with opening() as opened:
            yield opened
        return
    if key not in kept.models:
        kept.models[key] = kept.closing.enter_context(opening())
    yield kept.models[key]


def kept(key: Hashable, load: Callable[[], Opened]) -> Opened:
    """What `load` loads, or what was kept under the key; for what needs no closing."""
    with kept_open(key, lambda: nullcontext(load())) as loaded:
        return loaded
