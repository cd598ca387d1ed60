"""The declared form of a function that checks answers: `@check_function` marks it; no other function is ever called."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import TypeVar

CheckFunction = Callable[[str, str], bool | None]
"""(prompt, answer) → True, False, or None where it cannot tell."""
Marked = TypeVar("Marked", bound=CheckFunction)
MARK = "__selfboost_check__"


def check_function(function: Marked) -> Marked:
    """Mark a function (prompt, answer) → True, False, or None where it cannot tell, so that a recipe may name it.

    Raises:
        TypeError: not a function written in Python.
    """
    if not _is_function(function):
        raise TypeError(f"{function!r} is not a function written in Python with 'def'")
    vars(function)[MARK] = True
    return function


def is_check_function(value: object) -> bool:
    """Whether a value is a function that `check_function` has marked."""
    return _is_function(value) and vars(value).get(MARK) is True


def _is_function(value: object) -> bool:
    return isinstance(value, FunctionType)
