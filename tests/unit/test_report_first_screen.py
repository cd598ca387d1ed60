"""The first screen of a report: its answers against the run's own numbers, in words that read without colour."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from report_pages import page_of
from small_run import finished_run

from selfboost.disk.json_files import read_json, write_json
from selfboost.report.charts import split
from selfboost.report.material import outcome, read_story
from selfboost.results.kinds import by_kind
from selfboost.store import StageCard


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run(), tmp_path / "run"))


def tiles(root: Path) -> dict[str, str]:
    """Question → all that its tile says, without markup."""
    text = page_of(root).partition('<div class="tiles">')[2].partition("<h2")[0]
    found = re.findall(
        r'class="tile([^"]*)"><p class="question">([^<]*)</p>(.*?)</div>(?=<div class="tile|</div>)', text
    )
    return {question: colour + "|" + re.sub(r"<[^>]+>", " ", body) for colour, question, body in found}


def edit(root: Path, change: Any) -> None:
    told = read_json(root / "run.json")
    change(told["iterations"])
    write_json(root / "run.json", told)


def test_each_question_has_its_answer(copy: Path) -> None:
    asked = [
        "Is it better?",
        "By how much?",
        "How sure?",
        *(f"At what cost in {x}?" for x in ("length", "drift", "time")),
    ]
    found = tiles(copy)
    assert list(found) == asked
    story = read_story(copy)
    drift = story.rounds[1].entry.drift
    assert f"{drift.value('length_ratio'):.2f} times as long" in found["At what cost in length?"]
    won, tied, lost = outcome(story.rounds[1].ratings, story.rounds[0].ratings, 1)
    for part in (f"{won} better", f"{tied} equal", f"{lost} worse", f"of {won + tied + lost} prompts"):
        assert part in found["How sure?"]
    assert re.search(r"sampling \d+ %.*training \d+ %", found["At what cost in time?"])


@pytest.mark.parametrize(
    ("gain", "answer", "colour"),
    [
        ((0.2, 0.1, 0.3), "Yes", " better"),
        ((-0.2, -0.3, -0.1), "No, it got worse", " worse"),
        ((0.1, -0.1, 0.3), "Not clearly", ""),
    ],
)
def test_colour_and_words_follow_the_outcome(
    copy: Path, gain: tuple[float, float, float], answer: str, colour: str
) -> None:
    def change(iterations: Any) -> None:
        iterations[1]["measures"]["sampled"] |= dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True))

    edit(copy, change)
    found = tiles(copy)
    assert found["Is it better?"].startswith(f"{colour}|")
    assert answer in found["Is it better?"]
    assert f"{100 * gain[0]:+.1f} points" in found["By how much?"]


def test_alarms_stand_on_the_first_screen_in_the_panel_and_at_their_iteration(copy: Path) -> None:
    def change(iterations: Any) -> None:
        iterations[1]["drift"]["alarms"] = {"repeated": "answers repeat themselves: a lot"}

    edit(copy, change)
    found, text = tiles(copy), page_of(copy)
    assert "1 alarm" in found["At what cost in drift?"]
    assert found["At what cost in drift?"].startswith(" worse|")
    assert text.count("answers repeat themselves: a lot.") == 2
    assert '<span class="worse">⚠ ' in text


def test_a_folder_without_panels_says_what_to_do(copy: Path) -> None:
    def change(iterations: Any) -> None:
        for entry in iterations:
            del entry["drift"]

    edit(copy, change)
    told = read_json(copy / "run.json")
    for entry in told["beside"]:
        del entry["drift"]
    write_json(copy / "run.json", told)
    assert "Unknown" in tiles(copy)["At what cost in drift?"]
    assert "Rerun its recipe into it" in page_of(copy)


def test_a_policy_that_stayed_the_initial_model_is_unchanged(copy: Path) -> None:
    edit(copy, lambda iterations: iterations[1].update(decision="kept"))
    found = tiles(copy)
    assert "Unchanged" in found["Is it better?"]
    assert "By how much?" not in found


def test_what_rates_a_model_counts_as_measuring() -> None:
    names = {
        "iteration-1/own-answers": "sample",
        "iteration-1/held_out-sampled": "sample",
        "iteration-1/policy": "prefer",
    }
    names |= {"iteration-1/drift/samples": "sample", "iteration-1/measure-held_out": "measure", "prepare/x": "score"}
    cards = [
        StageCard(name=name, verb=verb, fingerprint="", parts={}, seconds=2.0**i)
        for i, (name, verb) in enumerate(names.items())
    ]
    assert by_kind(cards) == {"sampling": 1, "measuring": 2 + 8 + 16, "training": 4, "scoring": 32}


def test_a_split_bar_is_whole_and_says_its_parts() -> None:
    text = split({"better": 3, "worse": 1}, {"better": "better", "worse": "worse"}, "prompts")
    assert sum(float(width) for width in re.findall(r"width:([\d.]+)%", text)) == pytest.approx(100)
    assert "3 better" in text
    assert "of 4 prompts" in text
    assert "width:0.0%" in split({"a": 0.0}, {"a": "a"})
