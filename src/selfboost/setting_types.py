"""Setting types with extra meaning: counts that a rehearsal shrinks, paths beside the recipe, days, names of code."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

COUNT = "count"
"""Marks a number of prompts or pairs: `selfboost check` makes these small to rehearse a run."""
Count = Annotated[int, Field(ge=1), COUNT]
CountOrNone = Annotated[int, Field(ge=0), COUNT]
"""The same, where 0 means none or all."""

BESIDE_RECIPE = "beside recipe"
"""Marks a setting that may name a file or folder: one that exists beside the recipe takes precedence."""
PathOrName = Annotated[str, BESIDE_RECIPE]
"""A file or folder, or the name of something else: `embedded`, a hub name, a model of the run."""

Day = Annotated[str, BeforeValidator(lambda value: value.isoformat() if isinstance(value, date) else value)]
"""A day such as 2026-01-31; TOML's own dates too."""

NEW: Mapping[str, bool] = {"new": True}
"""Metadata of a setting that came later: at its default it changes no result, so fingerprints leave it out there."""

NAMES_CODE = "names code"
"""Marks a setting that names a Python object to import, or turns on a checkpoint's own code: both need trust."""
FunctionName = Annotated[str, NAMES_CODE]
"""A function, as `package.module:name`."""
RemoteCode = Annotated[bool, NAMES_CODE]
"""Whether Python files of a checkpoint may run."""


def is_count(hint: Any) -> bool:
    """Whether a setting of this type is a number of prompts or pairs."""
    return COUNT in getattr(hint, "__metadata__", ())
