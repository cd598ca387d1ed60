"""The page: sections in reading order, in one file without network access or scripts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from selfboost.disk.files import write_atomically
from selfboost.report import answers, overview, record, rounds
from selfboost.report.diversity import diversity_section
from selfboost.report.drift import drift_section
from selfboost.report.figures import STYLE
from selfboost.report.markup import Html, join, tag
from selfboost.report.material import Story, read_story
from selfboost.report.self_play import self_play_section
from selfboost.results import REPORT


def write_report(root: str | Path, gold: Mapping[str, str] | None = None) -> Path:
    """Write `report.html` into a run's folder, finished or running.

    `gold`: held-out prompt's id → good answer; those of the embedded seed are known.

    Raises:
        ValueError: the folder is not a run's, or its summary is damaged.
    """
    path = Path(root) / REPORT
    write_atomically(path, page(read_story(Path(root), gold)).encode())
    return path


def page(story: Story) -> str:
    """The whole page as text."""
    run, self_play = story.summary, self_play_section(story)
    sections = [
        overview.measures(run),
        overview.iterations_table(run),
        drift_section(story),
        self_play,
        *rounds.iteration_sections(story),
        diversity_section(story.prompts),
        answers.side_by_side(story),
        record.stages(story),
        record.environments(story),
        record.recipe(story),
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
        tag("a", "Skip to the results", href="#results", class_="skip"),
        _navigation(story, {"self-play": "self-play"} if self_play else {}),
        tag("main", overview.top(story), *sections, id="results"),
    )
    return join([Html("<!doctype html>\n"), tag("html", head, body, lang="en"), Html("\n")])


def _navigation(story: Story, played: Mapping[str, str]) -> Html:
    names = {"measures": "measures", "iterations": "iterations"} if story.rounds else {}
    names |= {"drift": "drift"} if len(story.rounds) > 1 else {}
    names |= played
    names |= {f"iteration-{r.number}": str(r.number) for r in story.rounds if r.number > 0}
    names |= {"prompts": "prompts"} if story.prompts.iterations or story.prompts.self_instruct else {}
    names |= {"answers": "answers"} if len(story.rounds) > 1 else {}
    names |= {"stages": "stages", "recipe": "recipe"}
    return tag("nav", tag("strong", "selfboost"), *(tag("a", name, href=f"#{at}") for at, name in names.items()))
