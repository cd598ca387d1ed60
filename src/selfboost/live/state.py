"""A run in the words and numbers of the page, by the same sentences as in the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfboost import store
from selfboost.disk.json_files import flat
from selfboost.live.progress import RemainingTime, StageInProgress
from selfboost.measures import WIN_RATE, MeasureRow
from selfboost.report.rounds import fault_rows
from selfboost.store.cards import CARD
from selfboost.views.sentences import (
    broke_off,
    choices,
    drift_sentences,
    duration,
    gain_of,
    gate_row,
    headline,
    interval,
    reason,
    title_of,
    value_of,
    verdict,
)
from selfboost.views.summary import BesideSummary, IterationSummary, RunSummary

Json = dict[str, Any]
LOGGED = 2000
"""Newest entries of the log that are shown."""


def short_state(name: str, run: RunSummary) -> Json:
    """What the list of runs shows."""
    policy = run.policy
    gain = gate_row(run, policy).gained if policy else None
    return {
        "name": name,
        "status": run.status,
        "method": run.method,
        "headline": headline(run),
        "verdict": verdict(gain, run.gate) if gain and policy and policy.iteration else "",
    }


def full_state(root: Path, run: RunSummary, cards: Sequence[store.StageCard]) -> Json:
    """What the page of a run shows besides its records."""
    policy = run.policy
    return {
        "model": str(flat(run.recipe).get("model.path", "")),
        "seconds": run.seconds,
        "time": duration(run.seconds),
        "memory": f"{run.peak_memory_bytes / 2**20:,.0f} MB",
        "tokens": sum(card.tokens for card in cards),
        "policy": policy.iteration if policy else None,
        "gate": run.gate_measure,
        "measures": [_measure(run, name) for name in _names(run)],
        "iterations": [_iteration(run, entry) for entry in run.iterations],
        "beside": [_model(run, entry) | {"name": entry.name} for entry in run.beside],
        "error": broke_off(run),
        "warnings": [*run.warnings, *run.said],
        "alarms": [
            {"iteration": entry.iteration, "text": text}
            for entry in run.iterations
            for text in entry.drift.alarms.values()
        ],
        "notes": [*drift_sentences(run), *choices(run.iterations)],
        "faults": fault_rows(cards),
        "stages": [_stage(card) for card in cards],
        "log": _log(root, run, cards),
    }


def in_progress(opened: Sequence[StageInProgress], left: RemainingTime | None) -> Json:
    """What changes from second to second."""
    return {
        "open": [
            asdict(each) | {"time": duration(each.seconds), "left": None if each.left is None else duration(each.left)}
            for each in opened
        ],
        "left": left and {"time": duration(left.seconds), "share": min(left.share, 1.0), "basis": left.basis},
    }


def _names(run: RunSummary) -> list[str]:
    """The measures that any model has, the gate's first."""
    names = list(dict.fromkeys(name for entry in run.iterations for name in entry.measures))
    return sorted(names, key=lambda name: (name != run.gate_measure, name == WIN_RATE))


def _measure(run: RunSummary, name: str) -> Json:
    measure = run.measure(name)
    return {"name": name, "title": title_of(measure), "share": measure.share, "decides": name == run.gate_measure}


def _iteration(run: RunSummary, entry: IterationSummary) -> Json:
    return _model(run, entry) | {
        "iteration": entry.iteration,
        "decision": entry.decision,
        "why": reason(run, entry),
        "pairs": entry.pairs,
        "seconds": sum(stage.seconds for stage in entry.stages),
        "time": duration(sum(stage.seconds for stage in entry.stages)),
    }


def _model(run: RunSummary, entry: IterationSummary | BesideSummary) -> Json:
    return {"measures": {name: _value(run, name, row) for name, row in entry.measures.items()}}


def _value(run: RunSummary, name: str, row: MeasureRow) -> Json:
    measure = run.measure(name)
    return {
        "value": row.value,
        "low": row.low,
        "high": row.high,
        "text": value_of(row.value, measure),
        "interval": interval(row, share=measure.share),
        "gain": gain_of(row.gained, measure) if row.gain is not None else "",
        "verdict": verdict(row.gained, measure),
    }


def _stage(card: store.StageCard) -> Json:
    return {
        "name": card.name,
        "verb": card.verb,
        "rows": card.rows,
        "tokens": card.tokens,
        "time": duration(card.seconds),
        "fingerprint": card.fingerprint[:12],
    }


def _log(root: Path, run: RunSummary, cards: Sequence[store.StageCard]) -> list[Json]:
    """Stages as they were finished, with their warnings, and the decisions after the stages of their iteration."""
    entries: list[Json] = []
    decided = {entry.iteration: entry for entry in run.iterations}
    last = {card.name.partition("/")[0]: card.name for card in cards}
    for card in cards:
        at = _finished_at(root, card)
        tokens = f", {card.tokens:,} tokens" if card.tokens else ""
        text = f"{card.verb}: {card.rows:,} rows{tokens}, {duration(card.seconds)}"
        entries.append({"at": at, "kind": "stage", "title": card.name, "text": text})
        entries += [{"at": at, "kind": "warning", "title": card.name, "text": each} for each in card.warnings]
        head = card.name.partition("/")[0]
        number = head.removeprefix("iteration-")
        entry = decided.get(int(number)) if number.isdecimal() and len(number) < 10 else None
        if entry is not None and last[head] == card.name:
            entries += _decided(run, entry, at)
    if run.error:
        entries.append(
            {"at": entries[-1]["at"] if entries else 0.0, "kind": "alarm", "title": "failed", "text": run.error}
        )
    return entries[-LOGGED:]


def _decided(run: RunSummary, entry: IterationSummary, at: float) -> list[Json]:
    """The decision on an iteration, and its alarms."""
    title = f"iteration {entry.iteration}"
    alarms = [{"at": at, "kind": "alarm", "title": title, "text": text} for text in entry.drift.alarms.values()]
    return [{"at": at, "kind": "decision", "title": title, "text": f"{entry.decision}: {reason(run, entry)}"}, *alarms]


def _finished_at(root: Path, card: store.StageCard) -> float:
    try:
        return (root / store.STAGES / card.name / CARD).stat().st_mtime
    except OSError:  # replaced meanwhile
        return 0.0
