"""The drift panel by model: every figure with its alarm level, what fired, and how the main ones went.

Figures are those that the run kept in `run.json`; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping

from selfboost.drift import Drift
from selfboost.drift.alarms import WATCHED, Watched, alarm_level, shown
from selfboost.measures import SCORE, SHARE
from selfboost.report.charts import by_iteration, estimates
from selfboost.report.figures import figure
from selfboost.report.markup import Html, folded, join, table, tag
from selfboost.report.material import Story
from selfboost.views.sentences import interval

CHARTED = ("kl", "entropy", "gold_perplexity", "equal_length_win_rate")
"""Figures drawn by iteration."""


def drift_section(story: Story) -> Html:
    """The section; a sentence in its place for a folder without panels."""
    run = story.summary
    if len(run.iterations) < 2:
        return Html("")
    panels = {_name(entry.iteration): entry.drift for entry in run.iterations}
    panels |= {entry.name: entry.drift for entry in run.beside}
    panels = {name: panel for name, panel in panels.items() if panel.figures}
    title = tag("h2", "Drift from the initial model")
    if not panels:
        why = (
            "This folder was written by a version without the drift panel. Rerun its recipe into it: finished stages "
            "are reused, and the panel is computed from them."
        )
        return tag("section", title, tag("p", why, class_="muted"), id="drift")
    return tag(
        "section",
        title,
        tag("div", *_charts(story), class_="grid"),
        _table(panels),
        tag(
            "p",
            "Of held-out answers, against the initial model's. A figure beyond its alarm level is marked; "
            "brackets are 95 % intervals over prompts. Variety is compared at equal counts of tokens.",
            class_="muted",
        ),
        folded("Why these levels", table(["figure", "alarm", "reason"], _reasons())),
        *_absent(panels),
        id="drift",
    )


def _name(iteration: int) -> str:
    return f"iteration {iteration}" if iteration else "initial"


def alarm_lines(story: Story) -> list[Html]:
    """The alarms of all iterations."""
    return [
        tag("p", tag("strong", f"Iteration {entry.iteration}: "), f"{sentence}.", class_="warning")
        for entry in story.summary.iterations
        for sentence in entry.drift.alarms.values()
    ]


def _table(panels: Mapping[str, Drift]) -> Html:
    rows: list[list[str]] = []
    for name, watched in WATCHED.items():
        if any(name in panel.figures for panel in panels.values()):
            cells: list[str] = [_cell(name, watched, panel) for panel in panels.values()]
            rows.append([_title(watched), *cells, alarm_level(watched)])
    return table(["figure", *panels, "alarm"], rows, tuple(range(1, len(panels) + 1)), class_="panel")


def _title(watched: Watched) -> str:
    unit = {SHARE: "%", SCORE: ""}.get(watched.unit, watched.unit)
    return f"{watched.title} ({unit})" if unit else watched.title


def _cell(name: str, watched: Watched, panel: Drift) -> Html:
    found = panel.figures.get(name)
    if found is None or found.value is None:
        return tag("span", "–", title=panel.absent.get(name), class_="muted")
    text = shown(found.value, watched.unit).partition(" ")[0]
    around = interval(found, share=watched.unit == SHARE)
    parts = [text, *([" ", tag("small", around)] if around else [])]
    return tag("span", "⚠ ", *parts, class_="worse") if name in panel.alarms else join(parts)


def _reasons() -> list[list[str]]:
    return [[watched.title, alarm_level(watched), watched.reason] for watched in WATCHED.values() if watched.rule]


def _absent(panels: Mapping[str, Drift]) -> list[Html]:
    """Figures that no later model has, by reason."""
    later = list(panels.values())[1:] or list(panels.values())
    missing = [name for name in WATCHED if all(name in panel.absent for panel in later)]
    reasons: dict[str, list[str]] = {}
    for name in missing:
        reasons.setdefault(later[0].absent[name], []).append(WATCHED[name].title)
    return [tag("p", f"Not computed, {why}: {', '.join(titles)}.", class_="muted") for why, titles in reasons.items()]


def _charts(story: Story) -> list[Html]:
    charts: list[Html] = []
    for name in CHARTED:
        points = by_iteration(story.summary.iterations, lambda entry, name=name: entry.drift.figures.get(name))
        if len(points) > 1:
            watched = WATCHED[name]
            charts.append(figure(_title(watched), estimates(points, (), share=watched.unit == SHARE)))
    return charts
