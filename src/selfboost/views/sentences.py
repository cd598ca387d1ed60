"""A run's numbers for people: values in their measure's unit, intervals, and the results of a run in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from selfboost.drift.alarms import WATCHED, shown
from selfboost.measures import SCORE, Estimated, Measure, MeasureRow
from selfboost.methods.parts.beta_search import BetaSearched
from selfboost.methods.parts.distributions import Movement
from selfboost.methods.parts.labelling import Labels
from selfboost.methods.parts.synthetic_preferences import PairYield
from selfboost.views.summary import BesideSummary, IterationSummary, RunSummary

Verdict = Literal["better", "worse", ""]
BY_CHANCE = " (an estimate, below 0 by chance: no divergence is seen)"
"""Beside a negative divergence."""


def number(value: float | None, *, share: bool = False, signed: bool = False, unit: bool = True) -> str:
    """A value for people; `share` in percent, `unit` says so."""
    if value is None:
        return "–"
    digits = 1 if share or abs(value) >= 10 else 2 if abs(value) >= 0.1 or value == 0 else 3
    text = f"{100 * value if share else value:{'+' if signed else ''},.{digits}f}"
    return f"{text} %" if share and unit else text


def interval(found: Estimated, *, share: bool = False, signed: bool = False) -> str:
    """`[low, high]`; empty if an end is missing."""
    if found.low is None or found.high is None:
        return ""
    return "[" + ", ".join(number(end, share=share, signed=signed, unit=False) for end in (found.low, found.high)) + "]"


def value_of(value: float | None, measure: Measure) -> str:
    """A measure's value with its unit: `74.0 %`, `39.2 tokens`, `0.31`."""
    unit = "" if value is None or measure.unit == SCORE or measure.share else f" {measure.unit}"
    return number(value, share=measure.share) + unit


def mark(score: float | None, measure: Measure) -> str:
    """Of an answer whose score is a share: `right`, `wrong` or `partly`; empty for any other."""
    if score is None or not measure.share:
        return ""
    return "right" if score >= 1 else "wrong" if score <= 0 else "partly"


def gain_of(gain: Estimated, measure: Measure) -> str:
    """A gain with its unit and interval: `+23.4 percentage points [+19.7, +27.1]`."""
    unit = " percentage points" if measure.share else "" if measure.unit == SCORE else f" {measure.unit}"
    value = number(gain.value, share=measure.share, signed=True, unit=False)
    return f"{value}{unit} {interval(gain, share=measure.share, signed=True)}".rstrip()


def title_of(measure: Measure) -> str:
    """A measure's title with its unit: `length of answers (tokens)`; it says so if lower is better."""
    unit = "%" if measure.share else "" if measure.unit == SCORE else measure.unit
    details = ", ".join(filter(None, [unit, "lower is better" if measure.better == "lower" else ""]))
    return f"{measure.title} ({details})" if details else measure.title


def verdict(gain: Estimated, measure: Measure) -> Verdict:
    """Whether a gain's interval says that the model got better or worse; empty if it holds 0 or neither is better."""
    if gain.low is None or gain.high is None:
        return ""
    low, high = sorted((measure.sign * gain.low, measure.sign * gain.high))
    return "better" if low > 0 else "worse" if high < 0 else ""


def duration(seconds: float) -> str:
    """A duration for people."""
    seconds = max(seconds, 0.0)  # an old folder's, of a clock that ran backwards
    whole = round(seconds)
    if whole < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def headline(run: RunSummary) -> str:
    """One sentence: did it improve, by how much, on what."""
    last, gate = run.policy, run.gate
    if last is None:
        return "Nothing has been measured yet."
    tried = len(run.iterations) - 1
    rounds = f"{tried} iteration{'s' if tried > 1 else ''}"
    if last.iteration == 0:
        stays = (
            f"After {rounds} no candidate became the policy" if tried else "Only the initial model has been measured"
        )
        return f"{stays}; held-out {gate.title} of the initial model is {with_interval(gate_row(run, last), gate)}."
    row, first = gate_row(run, last), gate_row(run, run.iterations[0])
    moved = f"went from {value_of(first.value, gate)} to {value_of(row.value, gate)}"
    lower = " (lower is better)" if gate.better == "lower" else ""
    return f"After {rounds} the policy {_came_out(row, gate)}: held-out {gate.title}{lower} {moved}, " + (
        f"{gain_of(row.gained, gate)}."
    )


def worse_than_initial(run: RunSummary) -> str:
    """What to know of a policy whose gain over the initial model lies below zero; empty where it does not."""
    last = run.policy
    if last is None or last.iteration == 0 or verdict(gate_row(run, last).gained, run.gate) != "worse":
        return ""
    gate, first = run.gate, run.iterations[0]
    row, before = gate_row(run, last), gate_row(run, first)
    rule = run.recipe.get("gate", {}).get("rule", "")
    why = ', and gate.rule = "always" promoted it all the same' if rule == "always" else ""
    return (
        f"The policy is worse than the initial model{why}: held-out {gate.title} went from "
        f"{value_of(before.value, gate)} to {value_of(row.value, gate)}, {gain_of(row.gained, gate)}. Keep the initial "
        f"model, {first.policy}"
    )


def best_model(run: RunSummary) -> str:
    """Where the best model is, in a sentence."""
    last = run.policy
    if last is None:
        return ""
    if run.model:
        return f"Model of iteration {last.iteration}: {run.model}"
    if last.iteration == 0:
        tried = "; no candidate was promoted" if len(run.iterations) > 1 else ""
        return f"The initial model is still the best{tried}: {last.policy}"
    return f"Model of iteration {last.iteration}: {last.policy}"


def unfinished(run: RunSummary) -> list[str]:
    """What is kept of each stage that was begun, in sentences."""
    return [
        f"{stage.name} is unfinished: "
        + (f"the training's state after step {stage.step} is kept" if stage.step else f"{stage.rows:,} rows are kept")
        for stage in run.unfinished
    ]


def _came_out(row: MeasureRow, gate: Measure) -> str:
    return {"better": "improved", "worse": "got worse", "": "shows no clear change"}[verdict(row.gained, gate)]


def with_interval(row: MeasureRow, measure: Measure) -> str:
    """A value with its unit and interval."""
    return f"{value_of(row.value, measure)} {interval(row, share=measure.share)}".strip()


def gate_row(run: RunSummary, entry: IterationSummary | BesideSummary) -> MeasureRow:
    """A model's result by the gate's measure."""
    return entry.measures.get(run.gate_measure, MeasureRow())


def reason(run: RunSummary, entry: IterationSummary) -> str:
    """Why a candidate was promoted or not, with the gate's measure in plain words."""
    return entry.why.replace(f"validation {run.gate_measure} ", f"validation {run.gate.title} ", 1)


def broke_off(run: RunSummary) -> str:
    """Why a run failed, and what to do; empty if it did not."""
    failed = run.status == "failed" and run.error
    return f"failed: {run.error.rstrip('.')}; rerun to resume" if failed else ""


def against_beside(run: RunSummary, entry: BesideSummary) -> str:
    """How the policy compares with a model measured beside it, in a sentence."""
    if entry.policy_over_it.value is None:
        return f"{entry.name} was measured beside the policy."
    gap = gain_of(entry.policy_over_it, run.gate)
    lower = ", lower is better" if run.gate.better == "lower" else ""
    return f"The policy stands {gap} against {entry.name} (held-out {run.gate.title}{lower})."


def drift_sentences(run: RunSummary) -> list[str]:
    """Alarms of the drift panel by iteration, and what the newest one says in short; empty if none was kept."""
    watched = [entry for entry in run.iterations[1:] if entry.drift.figures]
    if not watched:
        return []
    fired = [
        f"Iteration {entry.iteration}, alarm: {text}." for entry in watched for text in entry.drift.alarms.values()
    ]
    newest = watched[-1].drift
    named = {
        "length_ratio": "length",
        "entropy_ratio": "entropy",
        "kl": "KL",
        "equal_length_win_rate": "wins at equal length",
    }
    facts = [
        f"{title} {shown(value, WATCHED[name].unit)}{BY_CHANCE if name == 'kl' and value < 0 else ''}"
        for name, title in named.items()
        if (value := newest.value(name)) is not None
    ]
    count = sum(1 for name in newest.figures if WATCHED[name].rule)
    silent = (
        "no alarm" if not newest.alarms else f"{len(newest.alarms)} alarms" if len(newest.alarms) > 1 else "1 alarm"
    )
    told = f"Drift from the initial model after iteration {watched[-1].iteration}: {', '.join(facts)}; "
    return [*fired, f"{told}{silent} among {count} figures."]


def choices(iterations: Sequence[IterationSummary]) -> list[str]:
    """The pass rates of the filter and the betas that the search chose, by iteration, in sentences."""
    yields = [found for entry in iterations if (found := entry.note(PairYield))]
    searched = [found for entry in iterations if (found := entry.note(BetaSearched))]
    rates = ", ".join(number(found.pass_rate, share=True) for found in yields)
    betas = ", ".join(f"{found.chosen:g}" for found in searched)
    sentences = [f"{rates} of the candidate pairs passed the filter, by iteration."] if yields else []
    sentences += [f"The search chose beta {betas}, by iteration."] if searched else []
    return sentences + _self_play(iterations)


def _self_play(iterations: Sequence[IterationSummary]) -> list[str]:
    """How many labels chose generated answers and how far the policy moved, in the iterations that noted it."""
    fell, moved = list[str](), list[str]()
    for entry in iterations:
        if labels := entry.note(Labels):
            pairs = labels.gold_chosen + labels.generated_chosen
            fell.append(f"in iteration {entry.iteration}: {labels.generated_chosen:,} of {pairs:,}")
        movement = entry.note(Movement)
        found = movement and (movement.moved or movement.kl_to_previous)
        if movement and found and found.value is not None:
            stays = " (no more than by rounding)" if movement.moves is False else ""
            moved.append(f"in iteration {entry.iteration}: {found.value:.3g}{stays or BY_CHANCE * (found.value < 0)}")
    sentences = [f"Pairs whose generated answer is chosen, {', '.join(fell)}."] if fell else []
    return sentences + ([f"KL(new policy ‖ the one before it), nats per answer, {', '.join(moved)}."] if moved else [])
