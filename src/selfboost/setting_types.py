"""Types of settings: each says what is allowed, so that a recipe's reader can refuse the rest in one sentence.

Every number has a lower and an upper bound, every text a greatest length. Counts that a rehearsal shrinks, and paths
that may be beside the recipe, carry a mark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import Field as Setting
from dataclasses import fields, is_dataclass
from datetime import date
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BeforeValidator, Field

Part = TypeVar("Part")

MOST_ROWS = 10_000_000
"""Most prompts, pairs or paragraphs that a setting can ask for."""
MOST_TOKENS = 10_000_000
"""Most tokens of a text or a batch."""
LARGEST, SMALLEST = 1e6, 1e-12
"""The largest rate, weight or factor, and the smallest above 0: neither overflows in float32 when squared."""
LARGEST_SCORE = 1e9
"""Scores and their thresholds lie between minus this and this."""

COUNT = "count"
"""Marks a number of prompts or pairs: `selfboost check` makes these small to rehearse a run."""
Count = Annotated[int, Field(ge=1, le=MOST_ROWS), COUNT]
CountOrNone = Annotated[int, Field(ge=0, le=MOST_ROWS), COUNT]
"""The same, where 0 means none or all."""

Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
"""A number of tokens."""
Several = Annotated[int, Field(ge=1, le=10_000)]
"""A small whole number: samples, keywords, steps between two events."""
SeveralOrNone = Annotated[int, Field(ge=0, le=10_000)]
"""The same, where 0 means none, all or automatic."""

Positive = Annotated[float, Field(ge=SMALLEST, le=LARGEST)]
"""A rate, weight or factor above 0."""
NotNegative = Annotated[float, Field(ge=0, le=LARGEST)]
"""The same, or 0."""
Passes = Annotated[float, Field(ge=1e-6, le=10_000)]
"""Passes over the data; a fraction is allowed."""
PassesOrNone = Annotated[float, Field(ge=0, le=10_000)]
"""The same, where 0 means no limit."""
Share = Annotated[float, Field(ge=0, le=1)]
"""From none to all of it."""
Warmth = Annotated[float, Field(ge=1e-3, le=100)]
"""A sampling temperature above 0."""
Score = Annotated[float, Field(ge=-LARGEST_SCORE, le=LARGEST_SCORE)]
"""A score, or a difference of scores."""
ScoreOrNone = Annotated[float, Field(ge=-math.inf, le=LARGEST_SCORE)]
"""A threshold of scores, where -inf means none."""

Text = Annotated[str, Field(max_length=100_000)]
"""A text: a template, a name, a separator."""
Pattern = Annotated[str, Field(min_length=1, max_length=10_000)]
"""A regular expression."""
Name = Annotated[str, Field(min_length=1, max_length=1000)]
"""A name; not empty."""

BESIDE_RECIPE = "beside recipe"
"""Marks a setting that may name a file or folder: one that exists beside the recipe takes precedence."""
PathOrName = Annotated[str, Field(min_length=1, max_length=4096), BESIDE_RECIPE]
"""A file or folder, or the name of something else: `embedded`, a hub name, a model of the run."""
PathOrNone = Annotated[str, Field(max_length=4096), BESIDE_RECIPE]
"""The same, where an empty text means none."""
PathOrCount = Annotated[
    Annotated[str, Field(min_length=1, max_length=4096)] | Annotated[int, Field(ge=1, le=MOST_ROWS)], BESIDE_RECIPE
]
"""The same, or a number of rows."""

WORDS: Mapping[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}

Day = Annotated[str, BeforeValidator(lambda value: value.isoformat() if isinstance(value, date) else value)]
"""A day such as 2026-01-31; TOML's own dates too."""

NEW: Mapping[str, bool] = {"new": True}
"""Metadata of a setting that came later: at its default it changes no result, so fingerprints leave it out there."""

SPEED_ONLY: Mapping[str, bool] = {"speed_only": True}
"""Metadata of settings that change no result beyond rounding: those of speed and memory, and what is merely watched."""


def decides(setting: Setting[Any], value: Any) -> bool:
    """Whether results depend on a component's setting with this value."""
    return not setting.metadata.get("speed_only") and not (setting.metadata.get("new") and value == setting.default)


NAMES_CODE = "names code"
"""Marks a setting that names a Python object to import, or turns on a checkpoint's own code: both need trust."""
FunctionName = Annotated[str, Field(min_length=1, max_length=1000), NAMES_CODE]
"""A function, as `package.module:name`."""
RemoteCode = Annotated[bool, NAMES_CODE]
"""Whether Python files of a checkpoint may run."""

SENDS = "sends"
"""Marks the URL of a server that a run sends texts to: another machine needs trust."""
ServerUrl = Annotated[str, Field(min_length=1, max_length=1000), SENDS]
"""A server's base URL."""
ServerUrls = Annotated[
    Annotated[str, Field(max_length=1000)] | tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...], SENDS
]
"""A server's base URL, or a list of several servers'; empty: none."""

STARTS = "starts"
"""Marks a command that a run starts: its program needs trust."""
CommandLine = Annotated[str, Field(max_length=10_000), STARTS]
"""A command, read by no shell; empty: none."""


def parts_of(settings: Any, kind: type[Part], where: str = "") -> Iterator[tuple[str, Part]]:
    """The values of one type anywhere in settings, each with its path, such as `method.sampling`."""
    for f in fields(settings):
        value = getattr(settings, f.name)
        if isinstance(value, kind):
            yield f"{where}{f.name}", value
        elif is_dataclass(value):
            yield from parts_of(value, kind, f"{where}{f.name}.")


def is_count(hint: Any) -> bool:
    """Whether a setting of this type is a number of prompts or pairs."""
    return COUNT in getattr(hint, "__metadata__", ())


def allowed(hint: Any) -> str:
    """What a setting of this type may be, in words that follow "must be"."""
    kind = get_origin(hint)
    if kind is Annotated:
        return _limited(hint)
    if kind is Literal:
        *rest, last = map(repr, get_args(hint))
        return f"{', '.join(rest)} or {last}" if rest else last
    if kind is tuple:
        return f"a list; each item must be {allowed(get_args(hint)[0])}"
    if kind in (Union, UnionType):
        return " or ".join(allowed(part) for part in get_args(hint) if part is not type(None))
    return WORDS.get(hint, str(hint))


def _limited(hint: Any) -> str:
    kind, *marks = get_args(hint)
    limits: dict[str, float] = {}
    for limit in (limit for mark in marks for limit in getattr(mark, "metadata", ())):
        limits |= {f.name: getattr(limit, f.name) for f in fields(limit)}
    least, most = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if kind is str and "max_length" in limits:
        return f"text of {limits.get('min_length', 0):,} to {limits['max_length']:,} characters"
    if least is None or most is None:
        bound = f", at least {_number(least)}" if least is not None else ""
        return allowed(kind) + bound + (f", at most {_number(most)}" if most is not None else "")
    low = f"{'above ' if 'gt' in limits else ''}{_number(least)}"
    return f"{allowed(kind)} from {low} to {'below ' if 'lt' in limits else ''}{_number(most)}"


def _number(value: float) -> str:
    return f"{int(value):,}" if abs(value) < math.inf and value == int(value) else f"{value:g}"
