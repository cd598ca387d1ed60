"""The first screen's answers: is it better, by how much, how sure, and at what cost in length, drift and hours."""

from __future__ import annotations

from collections.abc import Mapping

from selfboost.drift import Drift
from selfboost.drift.alarms import WATCHED
from selfboost.measures import SHARE
from selfboost.report.charts import split
from selfboost.report.markup import Html, tag
from selfboost.report.material import Story, outcome
from selfboost.results.kinds import KINDS, by_kind
from selfboost.views.sentences import duration, gain_of, gate_row, interval, number, value_of, verdict, with_interval

KIND_COLOURS: Mapping[str, str] = dict(zip(KINDS, "adbc", strict=True))
"""Kind → class of its colour."""
ANSWERS = {"better": "Yes", "worse": "No, it got worse", "": "Not clearly"}
SIDES = {"better": "better", "grey": "equal", "worse": "worse"}
"""Colour → what became of a prompt."""


def first_screen(story: Story) -> Html:
    """A tile per question; empty until a candidate has been measured."""
    run = story.summary
    if len(run.iterations) < 2 or run.policy is None:
        return Html("")
    tiles = [*_gain(story), _length(story), _drift(story), _hours(story)]
    return tag("div", *tiles, class_="tiles")


def _tile(question: str, answer: str, *below: str, colour: str = "") -> Html:
    parts = [tag("p", line, class_="muted") if not isinstance(line, Html) else line for line in below if line]
    answered = tag("p", answer, class_=f"answer {colour}".strip())
    return tag("div", tag("p", question, class_="question"), answered, *parts, class_=f"tile {colour}".strip())


def _gain(story: Story) -> list[Html]:
    run, gate = story.summary, story.summary.gate
    policy = run.policy
    assert policy is not None, "something has been measured"
    row, first = gate_row(run, policy), gate_row(run, run.iterations[0])
    if policy.iteration == 0:
        stays = f"no candidate of {len(run.iterations) - 1} iterations became the policy"
        return [_tile("Is it better?", "Unchanged", stays, with_interval(row, gate))]
    found = verdict(row.gained, gate)
    moved = f"{gate.title}: {value_of(first.value, gate)} → {value_of(row.value, gate)}"
    amount = gain_of(row.gained, gate).partition(" [")[0]
    around = interval(row.gained, share=gate.share, signed=True)
    unit = "points" if gate.share else ""
    sure = [f"95 % interval {around} {unit}".rstrip(), *_counts(story)]
    basis = "excludes 0" if found else "includes 0"
    where = f"policy of iteration {policy.iteration}; held-out prompts"
    return [
        _tile("Is it better?", ANSWERS[found], where, colour=found),
        _tile("By how much?", amount.replace("percentage ", ""), moved, colour=found),
        _tile("How sure?", f"The interval {basis}", *sure, "one run, one seed: a repeat may differ by more"),
    ]


def _counts(story: Story) -> list[Html]:
    """Prompts better, equal and worse than under the initial model."""
    policy = story.summary.policy
    first, last = story.rounds[0], next(r for r in story.rounds if policy and r.number == policy.iteration)
    won, tied, lost = outcome(last.ratings, first.ratings, story.summary.gate.sign)
    if not won + tied + lost:
        return []
    counts = dict(zip(SIDES.values(), (won, tied, lost), strict=True))
    return [split(counts, dict(zip(counts, SIDES, strict=True)), "prompts")]


def _panel(story: Story) -> Drift:
    policy = story.summary.policy
    return policy.drift if policy and policy.iteration else Drift()


def _length(story: Story) -> Html:
    panel = _panel(story)
    ratio, low, middle, high = (panel.value(f"length_{name}") for name in ("ratio", "p10", "median", "p90"))
    alarm = "worse" if "length_ratio" in panel.alarms else ""
    if ratio is None:
        return _tile("At what cost in length?", "Unknown", panel.absent.get("length_ratio", "no drift panel was kept"))
    spread = "" if middle is None else f"median {middle:g} tokens; 80 % lie between {low:g} and {high:g}"
    return _tile("At what cost in length?", f"{ratio:.2f} times as long", spread, _equal_length(panel), colour=alarm)


def _equal_length(panel: Drift) -> str:
    wins = panel.figures.get("equal_length_win_rate")
    if wins is None:
        return ""
    return f"wins {number(wins.value, share=True)} {interval(wins, share=True)} among equally long answers"


def _drift(story: Story) -> Html:
    panel = _panel(story)
    if not panel.figures:
        return _tile("At what cost in drift?", "Unknown", "no drift panel was kept for this policy")
    checked = sum(1 for name in panel.figures if WATCHED[name].rule)
    count = len(panel.alarms)
    answer = "No alarm" if not count else f"{count} alarm{'s' if count > 1 else ''}"
    facts = {
        "KL to the initial model": ("kl", "nats per token"),
        "entropy": ("entropy_ratio", "times"),
        "repeated 4-grams": ("repeated", SHARE),
    }
    lines = [
        f"{title} {number(value, share=unit == SHARE)} {unit if unit != SHARE else ''}".rstrip()
        for title, (name, unit) in facts.items()
        if (value := panel.value(name)) is not None
    ]
    colour = "worse" if count else ""
    link = tag("a", f"{checked} figures watched", href="#drift")
    return _tile("At what cost in drift?", answer, "; ".join(lines), tag("p", link, class_="muted"), colour=colour)


def _hours(story: Story) -> Html:
    seconds = by_kind(story.cards)
    tokens = sum(card.tokens for card in story.cards)
    shown = {kind: seconds.get(kind, 0.0) for kind in KINDS}
    bar = split(shown, KIND_COLOURS) if any(shown.values()) else Html("")
    return _tile(
        "At what cost in time?",
        duration(story.summary.seconds),
        f"{tokens:,} tokens sampled, scored or trained on",
        bar,
    )
