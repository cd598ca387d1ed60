"""The day that chat templates see: entered into a run once, the same in all its stages, on every day and machine.

Templates ask for it by `strftime_now` (Llama 3, gpt-oss); left to transformers, each rendering would read the clock.
Outside a run it is today, in UTC. The time of day is always noon.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, time

_CODES = "aAbBcdeFGHIjmMpSTuUVwWxXyYzZ"
_CLOCK = (
    "{% macro strftime_now(format) %}{% set shown = namespace(text=format) %}"
    "{% for code, value in run_day_codes.items() %}{% set shown.text = shown.text | replace(code, value) %}{% endfor %}"
    "{{ shown.text }}{% endmacro %}{{ '' }}"
)
_DAY: ContextVar[date | None] = ContextVar("day", default=None)


def today() -> date:
    """Today, in UTC."""
    return datetime.now(UTC).date()


def run_day() -> date:
    """The day of the run that this code is part of; today outside a run."""
    return _DAY.get() or today()


@contextmanager
def on_day(day: date) -> Generator[None]:
    """Templates opened inside the block see this day."""
    before = _DAY.set(day)
    try:
        yield
    finally:
        _DAY.reset(before)


def stay_on_day(day: date) -> None:
    """Templates opened in this context see this day from now on: for a process of a run that another one started."""
    _DAY.set(day)


def pinned(template: str) -> str:
    """The template with a `strftime_now` of its own in place of transformers', which accepts no other as an argument.

    It is rendered with `run_day_codes=codes(day)`.
    """
    return _CLOCK + template


def dated(template: str, day: date) -> str:
    """The template with a day of its own, for a library that renders it by itself."""
    shown = json.dumps(dict(codes(day)), ensure_ascii=False)
    return f"{{% set run_day_codes = {shown} %}}{pinned(template)}"


def codes(day: date) -> Mapping[str, str]:
    """Each code of `strftime`, padded or not, and what it stands for on this day; `%%` comes last."""
    noon = datetime.combine(day, time(12), UTC)
    return {f"%{pad}{code}": noon.strftime(f"%{pad}{code}") for pad in ("", "-") for code in _CODES} | {"%%": "%"}
