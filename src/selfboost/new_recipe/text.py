"""What `selfboost init` prints: what was read and written, warnings, and the commands that come next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from selfboost.new_recipe import NewRecipe, RecipeRequest
from selfboost.views.streams import console
from selfboost.views.visible import visible


def show_new_recipe(written: NewRecipe, wanted: RecipeRequest, trust: Sequence[str]) -> None:
    """Print it, sentences broken at the terminal's width and commands whole."""
    out = console()
    if written.seeds:
        out.print(visible(f"Read {written.seeds:,} different prompts with answers from {wanted.seed}."))
    for note in written.notes:
        out.print(visible(f"- {note}"))
    out.print(visible(f"Wrote {written.path}, fitted to the model, the seed and this machine."))
    for warning in written.warnings:
        out.print(visible(f"Warning: {warning}."))
    path, more = shlex.quote(str(written.path)), "".join(f" --trust {name}" for name in trust)
    into = shlex.quote(str(written.path.parent / "out"))
    commands = [f"check {path}{more}", f"try {path}{more}", f"run {path} --into {into}{more}"]
    out.print("\nNext:")
    for command in commands:
        out.print(visible(f"  selfboost {command}"), soft_wrap=True)
