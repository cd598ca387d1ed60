"""Converts the `run.json` of version 0.1.0, which declared no measures and kept notes as plain words.

The only place that knows the old names. Unknown entries are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

Table = Mapping[str, Any]

COUNTED = ("prompts", "filter", "pairs", "judgements", "self-instruct")
"""Notes that were counts by reason."""
LABELS = {
    "gold chosen": "gold_chosen",
    "generated chosen": "generated_chosen",
    "ties": "ties",
    "unscored": "unscored",
    "changed since the last iteration": "changed",
}
"""Names in the note `labels`; all others were reasons for skipping a pair."""


def is_first_format(found: Table) -> bool:
    """Whether a `run.json` is of version 0.1.0."""
    return "declared" not in found


def modernised(found: Table, recipe: Table) -> dict[str, Any]:
    """The `run.json` in the current format; `recipe` tells what the scores were."""
    entries = [_table(entry) for entry in found["iterations"]]
    names = dict.fromkeys(name for entry in entries for name in _table(entry.get("measures")))
    return {
        **found,
        "declared": {name: declared for name in names if (declared := _declared(name, recipe))},
        "iterations": [{**entry, "notes": _notes(_table(entry.get("notes")))} for entry in entries],
    }


def _declared(name: str, recipe: Table) -> dict[str, str]:
    scorer = _table(_table(recipe.get("benchmark")).get("scorer")).get("kind")
    scores = {"unit": "share" if scorer == "checks" else "score"}
    return {
        "greedy": {"title": "score of greedy answers", **scores},
        "sampled": {"title": "score of sampled answers", **scores},
        "length": {"title": "length of answers", "unit": "tokens", "better": "neither"},
        "ended": {"title": "answers that ended by themselves", "unit": "share"},
        "win_rate": {"title": "win rate against the previous policy", "unit": "share"},
    }.get(name, {})


def _notes(old: Table) -> dict[str, Any]:
    notes: dict[str, Any] = {}
    for name, note in old.items():
        if not isinstance(note, Mapping):
            continue
        fields = cast(Table, note)
        if name in COUNTED:
            notes[_identifier(name)] = {"counts": fields}
        elif name == "labels":
            reasons = {reason: count for reason, count in fields.items() if reason not in LABELS}
            notes[name] = {**{LABELS[key]: fields[key] for key in fields if key in LABELS}, "no_pair": reasons}
        elif name == "beta search":
            tried = {key.removeprefix("beta "): value for key, value in fields.items() if key != "chosen"}
            measure = str(old.get("beta searched by", "")).removeprefix("mean validation ")
            notes["beta_search"] = {"chosen": fields.get("chosen"), "tried": tried, "measure": measure}
        else:
            notes[_identifier(name)] = _with_intervals(fields)
    if "pass rate" in old:
        notes["pair_yield"] = {"pass_rate": old["pass rate"], "missing_pairs": old.get("missing pairs", 0)}
    return notes


def _with_intervals(fields: Table) -> dict[str, Any]:
    """`x`, `x, low` and `x, high` were a single estimate."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        whole, _, end = name.partition(", ")
        if f"{whole}, low" in fields:
            found.setdefault(_identifier(whole), {})[end or "value"] = value
        else:
            found[_identifier(name)] = value
    return found


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def _table(value: Any) -> Table:
    return cast(Table, value) if isinstance(value, Mapping) else {}
