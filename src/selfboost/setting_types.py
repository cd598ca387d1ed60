"""Types of settings that mean more than their value: what a rehearsal scales, what may lie beside a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=1), "count"]
"""A number of prompts or pairs: `selfboost check` scales these down to rehearse a run."""

BESIDE_RECIPE = "beside recipe"
"""Marks a setting that may name a file or folder: one that exists beside the recipe is meant before any other."""
PathOrName = Annotated[str, BESIDE_RECIPE]
"""A file or folder, or the name of something else: `embedded`, a hub name, a model of the run."""
