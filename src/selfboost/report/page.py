"""The page: sections in reading order, in one file without network access or scripts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from selfboost.disk.files import write_atomically
from selfboost.report import answers, health, overview, rounds
from selfboost.report.diversity import diversity_section
from selfboost.report.markup import Html, folded, join, table, tag
from selfboost.report.material import Story, read_story
from selfboost.report.self_play import self_play_section
from selfboost.results import REPORT
from selfboost.results.environment import described
from selfboost.views.sentences import duration

STYLE = Path(__file__).with_name("page.css")


def write_report(root: Path) -> Path:
    """Write `report.html` into a run's folder, finished or running.

    Raises:
        ValueError: the folder is not a run's, or its summary is damaged.
    """
    path = root / REPORT
    write_atomically(path, page(read_story(root)).encode())
    return path


def page(story: Story) -> str:
    """The whole page as text."""
    run, self_play = story.summary, self_play_section(story)
    sections = [
        overview.measures(run),
        overview.iterations_table(run),
        self_play,
        *rounds.iteration_sections(story),
        health.health(story),
        diversity_section(story.prompts),
        answers.side_by_side(story),
        _stages(story),
        _environments(story),
        _recipe(story),
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"selfboost: {run.method or 'run'} in {story.root.resolve().name}"),
        tag("style", Html(STYLE.read_text(encoding="utf-8"))),
    )
    body = tag(
        "body",
        _navigation(story, {"self-play": "self-play"} if self_play else {}),
        tag("main", overview.top(story), *sections),
    )
    return join([Html("<!doctype html>\n"), tag("html", head, body, lang="en"), Html("\n")])


def _navigation(story: Story, played: Mapping[str, str]) -> Html:
    names = {"measures": "measures", "iterations": "iterations"} if story.rounds else {}
    names |= played
    names |= {f"iteration-{r.number}": str(r.number) for r in story.rounds if r.number > 0}
    names |= {"health": "health"} if len(story.rounds) > 1 else {}
    names |= {"prompts": "prompts"} if story.prompts.iterations or story.prompts.self_instruct else {}
    names |= {"answers": "answers"} if len(story.rounds) > 1 else {}
    names |= {"stages": "stages", "recipe": "recipe"}
    return tag("nav", tag("strong", "selfboost"), *(tag("a", name, href=f"#{at}") for at, name in names.items()))


def _stages(story: Story) -> Html:
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
    return tag("section", tag("h2", "Stages"), folded(title, *parts), id="stages")


def _environments(story: Story) -> Html:
    found = story.summary.environments
    if not found:
        return Html("")
    tables = [table([], [list(fact) for fact in described(each).items()]) for each in found]
    several = f" of its {len(found)} processes, in order" if len(found) > 1 else ""
    title = f"Libraries, devices and platform{several}"
    return tag("section", tag("h2", "Environment"), folded(title, *tables), id="environment")


def _recipe(story: Story) -> Html:
    text = tag("pre", story.recipe or "There is no recipe.toml in this folder.")
    return tag("section", tag("h2", "Recipe"), folded("The complete recipe of this run", text), id="recipe")
