"""The top of the page: what came of the run in one sentence, its measures as charts, the table of iterations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfboost.report.charts import Estimate, estimates, figure
from selfboost.report.markup import Html, join, table, tag
from selfboost.report.material import Story
from selfboost.views.summary import against_beside, broke_off, duration, final, interval, is_share, number, table_cells

LEGEND = "Bars are 95 % intervals over prompts; a hollow point is a candidate that did not become the policy."


def headline(told: Mapping[str, Any]) -> str:
    """One sentence: did it improve, by how much, on what."""
    last, gate = final(told), told["gate_measure"]
    if last is None:
        return "Nothing has been measured yet."
    tried = len(told["iterations"]) - 1
    rounds = f"{tried} iteration{'s' if tried > 1 else ''}"
    if last["iteration"] == 0:
        stays = f"After {rounds} no candidate became the policy" if tried else "So far only the start is measured"
        return f"{stays}; held-out {gate} of the initial model is {_value(told, last, gate)}."
    row, first = last["measures"][gate], told["iterations"][0]
    share = is_share(told, gate)
    gain = number(row["gain"], share=share, signed=True, unit=False) + (" points" if share else "")
    return (
        f"After {rounds} the policy {_verdict(row)}: held-out {gate} went from "
        f"{number(first['measures'][gate]['value'], share=share)} to {number(row['value'], share=share)}, "
        f"{gain} {interval(row, 'gain_', share=share)}."
    )


def _verdict(row: Mapping[str, Any]) -> str:
    if row["gain_low"] > 0:
        return "improved"
    return "got worse" if row["gain_high"] < 0 else "shows no clear change"


def _value(told: Mapping[str, Any], entry: Mapping[str, Any], gate: str) -> str:
    row, share = entry["measures"].get(gate, {}), is_share(told, gate)
    return f"{number(row.get('value'), share=share)} {interval(row, share=share)}".strip()


def caveats(told: Mapping[str, Any]) -> str:
    """What the headline rests on."""
    prompts = f"{told['seeds'][2]:,} held-out prompts" if len(told["seeds"]) == 3 else "the held-out prompts"
    last = final(told)
    chosen = "" if last is None else f" The policy is the candidate of iteration {last['iteration']}."
    beside = [
        f"{e['name']}, measured beside it: {_value(told, e, told['gate_measure'])}. {against_beside(told, e)}"
        for e in told["beside"]
    ]
    return " ".join(
        [
            f"Gains are paired differences on {prompts} against the initial model; brackets are 95 % intervals over "
            f"prompts. This is one run with one seed: another seed moves the result too.{chosen}",
            *beside,
        ]
    )


def top(story: Story) -> Html:
    """Title, headline, facts, and whatever the reader must be warned of."""
    told = story.summary
    tokens = sum(card.tokens for card in story.cards)
    model = told["recipe"].get("model", {}).get("path", "?")
    facts = {
        "method": told["method"] or "?",
        "initial model": model,
        "state": told["status"],
        "time": duration(told["seconds"]),
        "peak memory": f"{told['peak_memory_bytes'] / 2**20:,.0f} MB",
        "tokens": f"{tokens:,}",
        "finished stages": f"{len(story.cards):,}",
    }
    shown = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()]
    warnings = [*told["warnings"], *story.problems, *told["said"]]
    if told["status"] != "finished":
        state = broke_off(told) or f"is {told['status']}"
        warnings.insert(0, f"The run {state}. This page shows what is finished so far.")
    return join(
        [
            tag("h1", headline(told)),
            tag("p", caveats(told), class_="muted"),
            tag("dl", *shown, class_="facts"),
            *(tag("p", warning, class_="warning") for warning in warnings),
        ]
    )


def measures(told: Mapping[str, Any]) -> Html:
    """A chart per measure, the gate's first."""
    gate = told["gate_measure"]
    names = list(dict.fromkeys(name for entry in told["iterations"] for name in entry["measures"]))
    names.sort(key=lambda name: (name != gate, name == "win_rate"))
    charts = [_chart(told, name, "decides" if name == gate else "") for name in names]
    if not charts:
        return Html("")
    return tag(
        "section",
        tag("h2", "Held-out measures by iteration"),
        tag("div", *charts, class_="grid"),
        tag("p", LEGEND, class_="muted"),
        id="measures",
    )


def _chart(told: Mapping[str, Any], name: str, remark: str) -> Html:
    points = [
        Estimate(
            x=entry["iteration"],
            value=row["value"],
            low=row["low"],
            high=row["high"],
            hollow=entry["decision"] not in ("initial", "promoted"),
        )
        for entry in told["iterations"]
        if (row := entry["measures"].get(name)) and row["value"] is not None
    ]
    beside = [
        (e["name"], e["measures"][name]["value"])
        for e in told["beside"]
        if name in e["measures"] and e["measures"][name]["value"] is not None
    ]
    titles = {"win_rate": f"win rate against the previous policy ({told['gate_measure']})", "length": "length (tokens)"}
    title = titles.get(name, name) + (f" ({remark})" if remark else "")
    share = is_share(told, name)
    return figure(title, estimates(points, beside, share=share) if points else tag("p", "no value", class_="muted"))


def iterations_table(told: Mapping[str, Any]) -> Html:
    """The table `selfboost show` prints, and the reasons of the decisions."""
    if not told["iterations"]:
        return Html("")
    headings, rows = table_cells(told)
    cells: list[list[str]] = [
        [join([text, " ", tag("small", below)]) if below else text for text, below in row] for row in rows
    ]
    reasons = [
        tag("li", tag("strong", f"{entry['iteration']} {entry['decision']}"), f": {entry['why']}")
        for entry in told["iterations"][1:]
    ]
    numeric = tuple(i for i, heading in enumerate(headings) if heading not in ("iteration", "decision"))
    return tag(
        "section",
        tag("h2", "Iterations and decisions"),
        table(headings, cells, numeric),
        tag(
            "p", "Decisions are made on the validation prompts, results are told on the held-out ones.", class_="muted"
        ),
        tag("ul", *reasons, class_="plain"),
        id="iterations",
    )
