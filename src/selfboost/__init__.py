"""A language model improves itself: from a small seed of prompts with good answers, on preference data of its own.

The public face: `boost` runs a recipe in a folder; `read_recipe` and `find_recipe` read one; `show` and
`write_report` tell what a folder holds; `Method` is the base class of a method of your own, `Note` and `Counts` those
of what it notes; `Measure` is what a benchmark of your own declares; the records are the nouns.
Everything is loaded on first use, so that importing selfboost is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfboost.loop import boost as boost
    from selfboost.measures import Measure as Measure
    from selfboost.method import Method as Method
    from selfboost.notes import Counts as Counts
    from selfboost.notes import Note as Note
    from selfboost.recipe import find as find_recipe
    from selfboost.recipe import read as read_recipe
    from selfboost.records import Answer, Example, Message, Model, Origin, Pair, Prompt, Sampling, Verdict
    from selfboost.report import write_report as write_report
    from selfboost.views.summary import summary as show

_HOMES = {
    "boost": "loop",
    "find_recipe": "recipe:find",
    "read_recipe": "recipe:read",
    "show": "views.summary:summary",
    "write_report": "report",
    "Counts": "notes",
    "Measure": "measures",
    "Method": "method",
    "Note": "notes",
    **dict.fromkeys(
        ("Answer", "Example", "Message", "Model", "Origin", "Pair", "Prompt", "Sampling", "Verdict"), "records"
    ),
}

__all__ = [
    "Answer",
    "Counts",
    "Example",
    "Measure",
    "Message",
    "Method",
    "Model",
    "Note",
    "Origin",
    "Pair",
    "Prompt",
    "Sampling",
    "Verdict",
    "boost",
    "find_recipe",
    "read_recipe",
    "show",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'selfboost' has no attribute {name!r}; it offers {', '.join(__all__)}")
    module, _, inside = _HOMES[name].partition(":")
    return getattr(import_module(f"selfboost.{module}"), inside or name)
