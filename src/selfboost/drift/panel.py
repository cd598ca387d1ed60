"""One model's panel, from what a benchmark sampled and scored, its training's history, and its passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from selfboost.drift import Drift, Measured
from selfboost.drift.alarms import WATCHED, alarms
from selfboost.drift.judged import judged_figures
from selfboost.drift.passes import Passes, pass_figures
from selfboost.drift.texts import text_figures
from selfboost.measures import Estimated
from selfboost.statistics import summed

STEPS = 8
"""Logged steps at both ends of a training that are averaged, or half of them if there are fewer: one says little."""
FEWEST = 2
"""Fewest steps averaged where each step's batch is another."""
TRAINING_FIGURES = ("chosen_logp", "rejected_logp", "chosen_change")
"""Figures of the history of a training."""
COMPARING = (
    "length_ratio",
    "distinct_1_ratio",
    "distinct_2_ratio",
    "compression_ratio",
    "self_bleu_rise",
    "unchanged",
    "entropy_ratio",
    "kl",
    "kl_k3",
    "gold_ratio",
    "gold_shift",
    "win_rate",
    "equal_length_win_rate",
    "train_scorer",
)
"""Figures that compare with the initial model, which it lacks itself."""
ITSELF = "this is the initial model, which the others are compared with"
History = Sequence[Mapping[str, float]]


def drift_panel(
    measured: Measured,
    first: Measured,
    *,
    history: History = (),
    passes: tuple[Passes | None, Passes | None] = (None, None),
    first_panel: Drift | None = None,
    gain: Estimated | None = None,
    sign: int = 1,
    seed: int = 0,
) -> Drift:
    """The panel with its alarms.

    `first`, the second of `passes` and `first_panel` are the initial model's; for itself, the last one is None. `gain`
    is that of the measure that decides, which `sign` turns into an improvement.
    """
    texts, no_texts = text_figures(measured.most(), first.most())
    judged, unjudged = judged_figures(measured, first, sign, seed)
    trained, untrained = training_figures(history)
    passed, missing = pass_figures(*passes, seed)
    found = {name: Estimated(value=value) for name, value in texts.items()} | judged | trained | passed
    absent = {**no_texts, **unjudged, **untrained, **missing}
    if first_panel is None:
        found = {name: figure for name, figure in found.items() if name not in COMPARING}
        absent |= dict.fromkeys(COMPARING, ITSELF)
    else:
        _relate_entropy(found, absent, first_panel)
    ordered = {name: found[name] for name in WATCHED if name in found}
    reasons = {name: absent[name] for name in WATCHED if name not in found}
    panel = Drift(figures=ordered, absent=reasons)
    return replace(panel, alarms=alarms(panel, first_panel, gain or Estimated(), sign)) if first_panel else panel


def training_figures(history: History) -> tuple[dict[str, Estimated], dict[str, str]]:
    """Of the last preference training: log-probabilities at its end, and how the chosen answers' changed."""
    rows = [row for row in history if {"chosen_logp", "rejected_logp"} <= row.keys()]
    if not rows:
        why = "no preference training of this iteration logged log-probabilities"
        return {}, dict.fromkeys(TRAINING_FIGURES, why)
    ends = {side: _mean(rows[-STEPS:], side) for side in ("chosen_logp", "rejected_logp")}
    found = {name: Estimated(value=value) for name, value in ends.items()}
    change = _chosen_change(rows)
    if change is None:
        return found, {"chosen_change": "the training logged too few steps"}
    return {**found, "chosen_change": Estimated(value=change)}, {}


def _chosen_change(rows: History) -> float | None:
    """By how much the chosen answers' log-probability changed; None where there are too few steps.

    Few batches differ by chance: there it is the change since the reference, batch by batch, if that was logged.
    """
    averaged = min(STEPS, len(rows) // 2)
    paired = averaged < STEPS and all("chosen_shift" in row for row in rows)
    if averaged < (1 if paired else FEWEST):
        return None
    name = "chosen_shift" if paired else "chosen_logp"
    return _mean(rows[-averaged:], name) - _mean(rows[:averaged], name)


def _mean(rows: History, name: str) -> float:
    return summed(row[name] for row in rows) / len(rows)


def _relate_entropy(found: dict[str, Estimated], absent: dict[str, str], first: Drift) -> None:
    own, before = found.get("entropy", Estimated()).value, first.value("entropy")
    if own is not None and before:
        found["entropy_ratio"] = Estimated(value=own / before)
    else:
        absent["entropy_ratio"] = absent.get("entropy", "the initial model's entropy is unknown")
