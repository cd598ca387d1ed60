"""What `selfboost show` says of a run's folder, finished, running or killed: one object for programs, one table for us.

Reads `run.json`, the recipe and the stages' cards; computes nothing new.
"""

from __future__ import annotations

import math
import os
import re
import socket
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from selfboost import store
from selfboost.loop import SUMMARY, beside_place
from selfboost.views.visible import visible

RECIPE = "recipe.toml"
WIDE = 116
"""From this many columns on an interval stands beside its value, below that it stands under it."""
SIDES = ("gold chosen", "generated chosen")
"""The two kinds of labels, in the notes of a method that labels."""
Row = Mapping[str, Any]


def summary(root: Path) -> dict[str, Any]:
    """Everything a folder says of its run.

    Raises:
        ValueError: the folder is no run, or a file of it is damaged.
    """
    told = _told(root)
    places: dict[str, list[dict[str, Any]]] = {}
    cards = store.cards(root)
    for card in cards:
        places.setdefault(card.name.partition("/")[0], []).append(_stage(card))
    iterations = [
        _entry(root, entry, places.pop(f"iteration-{entry['iteration']}", [])) for entry in told.get("iterations", [])
    ]
    beside = [_entry(root, entry, places.pop(beside_place(entry["name"]), [])) for entry in told.get("beside", [])]
    further = [name for name in places if name.startswith(("iteration-", "beside-"))]
    found = {
        "recipe": _recipe(root),
        "status": _status(root, told),
        "error": told.get("error", ""),
        "method": told.get("method", ""),
        "seconds": told.get("seconds", 0.0),
        "peak_memory_bytes": told.get("peak_memory_bytes", 0),
        "gate_measure": told.get("gate_measure", ""),
        "seeds": told.get("seeds", []),
        "said": told.get("said", []),
        "warnings": [f"{card.name}: {warning}" for card in cards for warning in card.notes.get("warnings", ())],
        "iterations": iterations,
        "beside": beside,
        # Stages of iterations that are not over, or of a longer run with an earlier recipe.
        "further": [stage for name in further for stage in places[name]],
        "prepare": [stage for name, stages in places.items() if name not in further for stage in stages],
    }
    return cast(dict[str, Any], _plain(found))


def _entry(root: Path, entry: Mapping[str, Any], stages: list[dict[str, Any]]) -> dict[str, Any]:
    """With its stages, and with a policy's folder that can be opened from anywhere."""
    folder = root / str(entry["policy"])
    return {**entry, "policy": str(folder.resolve() if folder.exists() else entry["policy"]), "stages": stages}


def final(told: Mapping[str, Any]) -> dict[str, Any] | None:
    """The iteration whose candidate is the policy now; None where nothing has been measured."""
    return next((i for i in reversed(told["iterations"]) if i["decision"] in ("promoted", "initial")), None)


def is_share(told: Mapping[str, Any], measure: str) -> bool:
    """Whether a measure is a share, which reads best in percent: by what it is, since any values may lie in [0, 1].

    Of scores only those of `checks` are, right or wrong; every other scorer has a scale of its own.
    """
    scorer = told["recipe"].get("benchmark", {}).get("scorer", {})
    return measure in ("win_rate", "ended") or (measure in ("sampled", "greedy") and scorer.get("kind") == "checks")


def number(value: float | None, *, share: bool = False, signed: bool = False, unit: bool = True) -> str:
    """A measured value for people; `share` in percent, `unit` says so."""
    if value is None:
        return "–"
    digits = 1 if share or abs(value) >= 10 else 2 if abs(value) >= 0.1 or value == 0 else 3
    text = f"{100 * value if share else value:{'+' if signed else ''},.{digits}f}"
    return f"{text} %" if share and unit else text


def interval(row: Row, key: str = "", *, share: bool = False) -> str:
    """`[low, high]` of a measure's value, or of its `gain_`."""
    low, high = row.get(f"{key}low"), row.get(f"{key}high")
    if low is None or high is None:
        return ""
    signed = bool(key)
    return "[" + ", ".join(number(end, share=share, signed=signed, unit=False) for end in (low, high)) + "]"


def broke_off(told: Mapping[str, Any]) -> str:
    """What a run broke off with, and what to do; empty where it did not."""
    failed = told["status"] == "failed" and told["error"]
    return f"broke off: {told['error'].rstrip('.')}; start it again to go on" if failed else ""


def against_beside(told: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """How the policy stands against a model measured beside it, in a sentence."""
    row, share = entry.get("policy_over_it", {}), is_share(told, told["gate_measure"])
    if row.get("value") is None:
        return f"{entry['name']} was measured beside the policy."
    gap = number(row["value"], share=share, signed=True, unit=False)
    ends = ", ".join(number(row[end], share=share, signed=True, unit=False) for end in ("low", "high"))
    points = " points" if share else ""
    return f"The policy stands {gap}{points} [{ends}] against {entry['name']} (held-out {told['gate_measure']})."


def choices(told: Mapping[str, Any]) -> list[str]:
    """What the filter let pass and which beta the search chose, by iteration, in sentences."""
    notes = [entry.get("notes", {}) for entry in told["iterations"]]
    rates = [number(note["pass rate"], share=True) for note in notes if "pass rate" in note]
    betas = [f"{note['beta search']['chosen']:g}" for note in notes if "beta search" in note]
    sentences = [f"{', '.join(rates)} of the candidate pairs passed the filter, by iteration."] if rates else []
    sentences += [f"The search chose beta {', '.join(betas)}, by iteration."] if betas else []
    return sentences + _self_play(told["iterations"])


def _self_play(iterations: Sequence[Mapping[str, Any]]) -> list[str]:
    """How labels fell and how far the policy moved, where a method noted it: not in every iteration."""
    labels, moves = list[str](), list[str]()
    for entry in iterations:
        note = entry.get("notes", {})
        if "generated chosen" in (own := _numbers(note.get("labels"))):
            pairs = sum(own.get(side, 0) for side in SIDES)
            labels.append(f"in iteration {entry['iteration']}: {own['generated chosen']:,} of {pairs:,}")
        if "kl to previous" in (far := _numbers(note.get("distributions"))):
            moves.append(f"in iteration {entry['iteration']}: {far['kl to previous']:.3g}")
    sentences = [f"Pairs whose generated answer is chosen, {', '.join(labels)}."] if labels else []
    return sentences + ([f"KL(new policy ‖ the one before it), nats per answer, {', '.join(moves)}."] if moves else [])


def _numbers(note: object) -> dict[str, float]:
    """The numbers of a note, whatever a method wrote there."""
    if not isinstance(note, Mapping):
        return {}
    group = cast(Mapping[str, object], note)
    return {name: value for name, value in group.items() if isinstance(value, int | float)}


def duration(seconds: float) -> str:
    """Seconds for people."""
    whole = round(seconds)
    if whole < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def table_cells(told: Mapping[str, Any]) -> tuple[list[str], list[list[tuple[str, str]]]]:
    """The table as (headings, rows of (text, interval)): one row per iteration, then the models beside."""
    gate = told["gate_measure"]
    with_length = any("length" in entry["measures"] for entry in told["iterations"])
    percent = " %" if is_share(told, gate) else ""
    headings = ["iteration", f"held-out {gate}{percent}", "gain on initial", "win rate on previous %"]
    headings += ["mean length"] * with_length + ["pairs", "decision"]
    rows: list[list[tuple[str, str]]] = []
    for entry in told["iterations"]:
        ends = [(f"{entry['pairs']:,}" if entry["iteration"] else "", ""), (entry["decision"], "")]
        rows.append([(str(entry["iteration"]), ""), *_measured(told, entry["measures"], with_length), *ends])
    for entry in told["beside"]:
        rows.append([(entry["name"], ""), *_measured(told, entry["measures"], with_length), ("", ""), ("beside", "")])
    return headings, rows


def _measured(told: Mapping[str, Any], measures: Mapping[str, Row], with_length: bool) -> list[tuple[str, str]]:
    gate = told["gate_measure"]
    share, row, wins = is_share(told, gate), measures.get(gate, {}), measures.get("win_rate", {})
    first = measures == told["iterations"][0]["measures"] if told["iterations"] else False
    gain = number(row.get("gain"), share=share, signed=True, unit=False)
    cells = [
        (number(row.get("value"), share=share, unit=False), interval(row, share=share)),
        ("", "") if first else (gain, interval(row, "gain_", share=share)),
        (number(wins["value"], share=True, unit=False), interval(wins, share=True)) if wins else ("", ""),
    ]
    return cells + ([(number(measures.get("length", {}).get("value")), "")] if with_length else [])


def summary_table(root: Path, width: int = 80) -> Table:
    """The table of a run's iterations, readable in `width` columns."""
    return _table(summary(root), width)


def _table(told: Mapping[str, Any], width: int) -> Table:
    headings, rows = table_cells(told)
    between, padding = ("  ", 2) if width >= WIDE else ("\n", 1)
    cells = [[Text.assemble(visible(t), (between + below if below else "", "dim")) for t, below in row] for row in rows]
    columns = [[visible(heading), *(row[i].plain for row in cells)] for i, heading in enumerate(headings)]
    widths = _widths(columns, width - padding * len(columns))
    table = Table(box=None, padding=(0, padding, 0, 0), header_style="bold")
    for (heading, *_), room in zip(columns, widths, strict=True):
        side = "left" if heading in ("iteration", "decision") else "right"
        table.add_column(heading, justify=side, width=room, overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Widths of columns (heading, cells): headings break first, then long names, then intervals between their ends."""
    lines = [max(len(line) for cell in cells for line in cell.split("\n")) for _, *cells in columns]
    whole = [max(len(column[0]), line) for column, line in zip(columns, lines, strict=True)]
    if sum(whole) <= room:
        return whole
    words = [max(len(word) for cell in column for word in cell.split()) for column in columns]
    widths = [max(both) for both in zip(lines, words, strict=True)]
    words[0] = len(columns[0][0])  # the name of a model beside breaks anywhere
    for i in sorted(range(len(widths)), key=lambda i: (i > 0, words[i] - widths[i])):
        widths[i] = max(words[i], widths[i] - max(0, sum(widths) - room))
    return widths


def print_summary(root: Path) -> None:
    """Print state, table and the reasons of the decisions."""
    told = summary(root)
    console = Console(highlight=False, markup=False, emoji=False)
    memory = f"{told['peak_memory_bytes'] / 2**20:,.0f} MB at most"
    facts = [told["method"], told["status"], duration(told["seconds"]), memory]
    console.print(Text("  ·  ".join(fact for fact in facts if fact), style="bold"))
    for sentence in filter(None, [broke_off(told), *told["warnings"], *told["said"]]):
        console.print(visible(sentence))
    if not told["iterations"]:
        count = len(told["prepare"]) + len(told["further"])
        console.print(f"Nothing is measured yet; {count} stages are finished.")
        return
    console.print()
    console.print(_table(told, console.width))
    console.print()
    for entry in told["iterations"][1:]:
        console.print(visible(f"{entry['iteration']} {entry['decision']}: {entry['why']}"))
    for sentence in [*choices(told), *(against_beside(told, entry) for entry in told["beside"])]:
        console.print(visible(sentence))
    console.print("Brackets are 95 % intervals over prompts; one run with one seed.", style="dim")


def _told(root: Path) -> dict[str, Any]:
    if (root / SUMMARY).exists():
        told = store.read_json(root / SUMMARY)
        if not isinstance(told, dict) or not isinstance(cast(dict[str, Any], told).get("iterations"), list):
            raise ValueError(f"{root / SUMMARY}: is damaged (no list of iterations)")
        return cast(dict[str, Any], told)
    if (root / RECIPE).exists() or (root / store.STAGES).is_dir():
        return {"status": "starting"}
    raise ValueError(
        f"{root}: is no run's folder (it holds neither {SUMMARY} nor {RECIPE}); give the folder of 'run … --into'"
    )


def _recipe(root: Path) -> dict[str, Any]:
    path = root / RECIPE
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is damaged ({error})") from error


def _status(root: Path, told: Mapping[str, Any]) -> str:
    """As told, but `stopped` where the process that wrote the folder is gone."""
    status = str(told.get("status", ""))
    lock = root / "lock"
    owner = re.match(r"process (\d+) on (\S+) ", lock.read_text(errors="replace")) if lock.exists() else None
    if status in ("finished", "failed") or owner is None or owner[2] != socket.gethostname():
        return status
    try:
        os.kill(int(owner[1]), 0)
    except ProcessLookupError:
        return "stopped"
    except (PermissionError, OverflowError):
        pass
    return status


def _stage(card: store.StageCard) -> dict[str, Any]:
    names = ("name", "verb", "rows", "tokens", "seconds", "fingerprint", "file")
    return {name: getattr(card, name) for name in names}


def _plain(value: Any) -> Any:
    """JSON has no infinities: they become the texts `inf` and `-inf`, which float() reads back."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in cast(Mapping[str, Any], value).items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in cast(Iterable[Any], value)]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
