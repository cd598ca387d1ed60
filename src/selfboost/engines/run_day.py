"""The day that chat templates see: entered into a run once, the same in all its stages, on every day and machine.

Templates ask for it by `strftime_now` (Llama 3, gpt-oss); left to transformers, each rendering would read the clock.
Outside a run it is today, in UTC.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, time

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


def shown_as(day: date, form: str) -> str:
    """What a template's `strftime_now(form)` gives on this day; the time is always 12:00:00, UTC."""
    return datetime.combine(day, time(12), UTC).strftime(form)
