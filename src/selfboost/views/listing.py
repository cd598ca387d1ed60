"""What there is: shipped recipes and components, one line each."""

from __future__ import annotations

import re
import shutil
import textwrap

from selfboost import plugins, recipe


def print_listing() -> None:
    """Every recipe, and every component by its role, with its one-line description."""
    print("recipes")
    for name, path in recipe.shipped().items():
        print(_listed(name, _first_sentence(path.read_text(encoding="utf-8"))))
    for role, folder in plugins.FOLDERS.items():
        print(f"{role}s  ({folder}/)" if role != "loss" else f"losses  ({folder}/)")
        for kind, words in plugins.kinds(role).items():
            print(_listed(kind, words))


def _first_sentence(recipe: str) -> str:
    """The first sentence of the comment that a recipe begins with."""
    comment = re.match(r"(?:#.*\S.*\n?)*", recipe)
    assert comment is not None, "it may be empty"
    words = " ".join(line.lstrip("# ") for line in comment[0].splitlines())
    return re.split(r"(?<=[.!?])\s", words, maxsplit=1)[0]


def _listed(name: str, words: str) -> str:
    """A name and, beside it, its description, as wide as the terminal."""
    columns = shutil.get_terminal_size().columns
    begin, beside = f"  {name:<26} ", " " * 29
    return textwrap.fill(
        words, columns, initial_indent=begin, subsequent_indent=beside, break_long_words=False, break_on_hyphens=False
    )
