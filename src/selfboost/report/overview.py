"""The top of the page: the run's result in one sentence, its measures as charts, the table of iterations."""

from __future__ import annotations

from selfboost.measures import WIN_RATE
from selfboost.report.charts import by_iteration, estimates
from selfboost.report.drift import alarm_lines
from selfboost.report.figures import figure
from selfboost.report.first_screen import first_screen
from selfboost.report.markup import Html, join, table, tag
from selfboost.report.material import Story
from selfboost.views.sentences import (
    against_beside,
    broke_off,
    gate_row,
    headline,
    reason,
    title_of,
    with_interval,
)
from selfboost.views.summary import RunSummary
from selfboost.views.table import Cell, table_cells

LEGEND = "Bars are 95 % intervals over prompts; a hollow point is a candidate that did not become the policy."


def caveats(run: RunSummary) -> str:
    """The basis of the headline."""
    prompts = f"{run.seeds[2]:,} held-out prompts" if len(run.seeds) == 3 else "the held-out prompts"
    chosen = "" if run.policy is None else f" The policy is the candidate of iteration {run.policy.iteration}."
    beside = [
        f"{e.name}, measured beside it: {with_interval(gate_row(run, e), run.gate)}. {against_beside(run, e)}"
        for e in run.beside
    ]
    return " ".join(
        [
            f"Gains are paired differences on {prompts} against the initial model; brackets are 95 % intervals over "
            f"prompts. This is one run with one seed; results also vary with the seed.{chosen}",
            *beside,
        ]
    )


def top(story: Story) -> Html:
    """Headline, the answers of the first screen, warnings, facts."""
    run = story.summary
    facts = {
        "method": run.method or "?",
        "initial model": run.recipe.get("model", {}).get("path", "?"),
        "state": run.status,
        "peak memory": f"{run.peak_memory_bytes / 2**20:,.0f} MB",
        "finished stages": f"{len(story.cards):,}",
    }
    shown = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()]
    warnings = [*run.warnings, *story.problems, *run.said]
    if run.status != "finished":
        state = broke_off(run) or f"is {run.status}"
        warnings.insert(0, f"The run {state}. This page shows what is finished so far.")
    return join(
        [
            tag("h1", headline(run)),
            first_screen(story),
            *alarm_lines(story),
            *(tag("p", warning, class_="warning") for warning in warnings),
            tag("p", caveats(run), class_="muted"),
            tag("dl", *shown, class_="facts"),
        ]
    )


def measures(run: RunSummary) -> Html:
    """A chart per measure, the gate's first."""
    names = list(dict.fromkeys(name for entry in run.iterations for name in entry.measures))
    names.sort(key=lambda name: (name != run.gate_measure, name == WIN_RATE))
    charts = [_chart(run, name) for name in names]
    if not charts:
        return Html("")
    return tag(
        "section",
        tag("h2", "Held-out measures by iteration"),
        tag("div", *charts, class_="grid"),
        tag("p", LEGEND, class_="muted"),
        id="measures",
    )


def _chart(run: RunSummary, name: str) -> Html:
    points = by_iteration(run.iterations, lambda entry: entry.measures.get(name))
    rows = ((model.name, model.measures.get(name)) for model in run.beside)
    beside = [(at, row.value) for at, row in rows if row and row.value is not None]
    measure = run.measure(name)
    remark = "; decides" if name == run.gate_measure else f", by {run.gate.title}" if name == WIN_RATE else ""
    drawn = estimates(points, beside, share=measure.share) if points else tag("p", "no value", class_="muted")
    return figure(title_of(measure) + remark, drawn)


def iterations_table(run: RunSummary) -> Html:
    """The table that `selfboost show` prints, and the reasons for the decisions."""
    if not run.iterations:
        return Html("")
    headings, rows = table_cells(run)
    cells: list[list[str]] = [[_cell(cell) for cell in row] for row in rows]
    reasons = [
        tag("li", tag("strong", f"{entry.iteration} {entry.decision}"), f": {reason(run, entry)}")
        for entry in run.iterations[1:]
    ]
    numeric = tuple(i for i, heading in enumerate(headings) if heading not in ("iteration", "decision"))
    return tag(
        "section",
        tag("h2", "Iterations and decisions"),
        table(headings, cells, numeric),
        tag(
            "p",
            "Decisions are made on the validation prompts, results are reported on the held-out ones.",
            class_="muted",
        ),
        tag("ul", *reasons, class_="plain"),
        id="iterations",
    )


def _cell(cell: Cell) -> str:
    text = tag("span", cell.text, class_=cell.verdict) if cell.verdict else cell.text
    return join([text, " ", tag("small", cell.below)]) if cell.below else text
