"""The run's record at the end of the page: stages and their costs by kind, the environment, the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfboost.recipe_text import toml_value
from selfboost.report import rounds
from selfboost.report.charts import split
from selfboost.report.first_screen import KIND_COLOURS
from selfboost.report.markup import Html, folded, table, tag
from selfboost.report.material import Story
from selfboost.results.differing import Differing, differing
from selfboost.results.environment import described
from selfboost.results.kinds import KINDS, by_kind, kind_of
from selfboost.views.sentences import duration, number

LONGEST = 300
"""Most characters of a setting's value that are shown."""


def stages(story: Story) -> Html:
    """What each kind of stage cost, every stage, and the faults of those outside the iterations."""
    headings = ["stage", "verb", "rows", "tokens", "time", "fingerprint", "file"]
    rows: list[list[str]] = [
        [
            card.name,
            card.verb,
            f"{card.rows:,}",
            f"{card.tokens:,}" if card.tokens else "",
            duration(card.seconds),
            tag("code", card.fingerprint[:12], title=card.fingerprint),
            tag("code", card.file),
        ]
        for card in story.cards
    ]
    time = duration(sum(card.seconds for card in story.cards))
    faults = rounds.fault_rows([card for card in story.cards if card.name.startswith(("prepare", "beside-"))])
    parts = [table(headings, rows, (2, 3, 4), class_="stages")]
    if faults:
        parts.append(table(["stage outside the iterations", "faults counted", "rows"], faults, (2,)))
    title = f"All {len(rows)} finished stages, {time} together"
    return tag("section", tag("h2", "Stages and costs"), *_costs(story), folded(title, *parts), id="stages")


def _costs(story: Story) -> list[Html]:
    seconds = by_kind(story.cards)
    whole = sum(seconds.values())
    if not whole:
        return []
    rows: list[list[str]] = []
    for kind in KINDS:
        own = [card for card in story.cards if kind_of(card) == kind]
        tokens = sum(card.tokens for card in own)
        speed = f"{tokens / seconds[kind]:,.0f}" if seconds[kind] else ""
        share = number(seconds[kind] / whole, share=True)
        rows.append([kind, f"{len(own):,}", f"{tokens:,}", duration(seconds[kind]), share, speed])
    bar = split({kind: seconds[kind] for kind in KINDS}, KIND_COLOURS)
    headings = ["kind of stage", "stages", "tokens", "time", "share of the time", "tokens per second"]
    return [tag("div", bar, class_="whole"), table(headings, rows, (1, 2, 3, 4, 5))]


def environments(story: Story) -> Html:
    """What the run's processes worked with; empty where an old folder does not say."""
    found = story.summary.environments
    if not found:
        return Html("")
    tables = [table([], [list(fact) for fact in described(each).items()]) for each in found]
    several = f" of its {len(found)} processes, in order" if len(found) > 1 else ""
    title = f"Libraries, devices and platform{several}"
    return tag("section", tag("h2", "Environment"), folded(title, *tables), id="environment")


def recipe(story: Story) -> Html:
    """What differs from the defaults first, then the whole."""
    text = tag("pre", story.recipe or "There is no recipe.toml in this folder.", tabindex=0)
    return tag(
        "section",
        tag("h2", "Recipe"),
        *_differing(story.summary.recipe),
        folded("The complete recipe of this run", text, class_="whole-recipe"),
        tag("p", "The complete recipe is recipe.toml in the run's folder.", class_="muted print-only"),
        id="recipe",
    )


def _differing(table_: Mapping[str, Any]) -> list[Html]:
    found = differing(table_)
    if not found:
        return []
    rows: list[list[str]] = [[tag("code", each.name), _value(each.value), _default(each)] for each in found]
    words = f"{len(found)} settings differ from their default, or have none:"
    return [tag("p", words), table(["setting", "here", "default"], rows, class_="settings")]


def _default(each: Differing) -> str:
    return "" if each.default is None else _value(each.default)


def _value(value: Any) -> Html:
    text = toml_value(value)
    return tag("code", text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text):,} characters)")
