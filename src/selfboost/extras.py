"""Optional libraries: imported when a setting asks for one, never before."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def require(module: str, *, extra: str, setting: str, library: str = "") -> Any:
    """Import a module of an optional library (`library`: its name, where that differs from the module's).

    Raises:
        ValueError: the library is not installed; the message says which setting needs it and how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{setting} needs {library or module}, which cannot be imported ({error}); install it with: "
            f"pip install 'selfboost[{extra}]'"
        ) from error
