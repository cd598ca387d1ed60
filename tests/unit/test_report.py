"""The page: self-contained, well-formed, safe against every text in it, true to the run, whatever the method."""

import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_run import EVIL, evil_pair, finished_run

from selfboost import store
from selfboost.report import write_report
from selfboost.report.charts import Estimate, Frame, bars, curves, estimates, histogram, ticks
from selfboost.report.markup import VOID, Html, said, tag
from selfboost.summary import interval, summary


class Balance(HTMLParser):
    """Collects names and attributes; every element must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen = Counter[str]()
        self.attributes = Counter[str]()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] += 1
        self.attributes.update(name for name, _ in attrs)
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run(), tmp_path / "run"))


def page_of(root: Path) -> str:
    text = write_report(root).read_text(encoding="utf-8")
    parsed = Balance(text)
    assert not {"script", "link", "img", "iframe", "object"} & parsed.seen.keys()
    assert not {name for name in parsed.attributes if name.startswith("on") or name == "src"}
    assert not re.search(r"url\(|@import|https?://", text)
    return text


def change(root: Path, **values: object) -> None:
    store.write_json(root / "run.json", store.read_json(root / "run.json") | values)


def hostile_stage(root: Path) -> None:
    stage = store.Stage(root, "iteration-1/another", "prefer", {"a": 1})
    stage.append([evil_pair()])
    stage.finish(rows=1, tokens=1, seconds=1, result=store.ROWS, notes={"history": [{"step": 1, "loss": 1.0, EVIL: 2}]})


def test_the_page_of_a_run_is_self_contained_and_tells_its_truths(copy: Path) -> None:
    text, told = page_of(copy), summary(copy)
    last = told["iterations"][-1]["measures"]["sampled"]
    assert interval(last, "gain_", share=True) in text
    assert "8 held-out prompts" in text
    assert "one run with one seed" in text
    for card in store.cards(copy):
        assert card.name in text
        assert card.fingerprint in text
    assert 'kind = "spin"' in text.replace("&quot;", '"')
    assert "seed_sft" in text
    for part in (
        "log-probability per token",
        "Faults counted",
        "pairs, drawn at random",
        "Health",
        "chosen",
        "rejected",
    ):
        assert part in text


def test_writing_twice_gives_the_same_bytes(copy: Path) -> None:
    assert write_report(copy).read_bytes() == write_report(copy).read_bytes()


def test_hostile_text_is_shown_and_cannot_act(copy: Path) -> None:
    hostile_stage(copy)
    told = store.read_json(copy / "run.json")
    told["iterations"][1]["notes"] = {EVIL: {EVIL: 3}, "plain": EVIL}
    told["iterations"][1]["why"] = told["said"] = EVIL
    change(copy, iterations=told["iterations"], said=[EVIL], method=EVIL)
    text = page_of(copy)
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;" in text
    assert "\\x1b[31m\\u202e" in text
    assert not set(text) & {"\x1b", "\u202e", "\x00"}


def test_a_running_folder_one_without_measures_and_one_without_pairs_have_a_page(copy: Path) -> None:
    told = store.read_json(copy / "run.json")
    shutil.rmtree(copy / "stages" / "iteration-1" / "policy")
    page_of(copy)
    change(copy, status="running", iterations=told["iterations"][:1], beside=[])
    assert "The run is running" in page_of(copy)
    (copy / "run.json").unlink()
    assert "Nothing has been measured yet" in page_of(copy)


def test_other_measures_and_decisions_need_no_change(copy: Path) -> None:
    told = store.read_json(copy / "run.json")
    row = {"value": 7.5, "low": 7.0, "high": 7.9, "gain": -0.5, "gain_low": -0.9, "gain_high": -0.1}
    for entry in (*told["iterations"], *told["beside"]):
        entry["measures"] = {"turns": row, "unknown": dict.fromkeys(row)}
    change(copy, iterations=told["iterations"], beside=told["beside"], gate_measure="turns")
    text = page_of(copy)
    assert "the policy got worse: held-out turns went from 7.50 to 7.50, -0.50 [-0.90, -0.10]" in text
    told["iterations"][1]["decision"] = "kept"
    change(copy, iterations=told["iterations"], gate_measure="turns")
    assert "no candidate became the policy" in page_of(copy)


def test_a_damaged_stage_is_told_on_the_page(copy: Path) -> None:
    (copy / "stages" / "iteration-1" / "policy" / store.ROWS).write_text('{"half\n')
    assert "line 1 is no Pair" in page_of(copy)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no run's folder"):
        write_report(tmp_path)


@given(st.text())
def test_any_text_stays_text(text: str) -> None:
    made = tag("p", text, title=text)
    element = ElementTree.fromstring(made)
    assert len(element) == 0
    assert not any(0xD800 <= ord(c) < 0xE000 or ord(c) in (0x1B, 0x202E) for c in made)
    made.encode()
    plain = re.sub(r"[^\w ]", "", text)
    if plain == text and text.isascii():
        assert element.text in (text, None)


def test_markup_is_escaped_once_and_only_if_it_is_not_markup() -> None:
    assert tag("b", "<", Html("<i/>")) == "<b>&lt;<i/></b>"
    assert tag("a", class_="x", stroke_width=2, id=None) == '<a class="x" stroke-width="2"></a>'
    assert "(nothing)" in said("")


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_round_few_and_inside(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 6
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in found)


def test_a_frame_maps_ends_to_ends() -> None:
    frame = Frame(0, 10, -1, 1)
    assert frame.x(0) < frame.x(5) < frame.x(10)
    assert frame.y(1) < frame.y(0) < frame.y(-1)
    assert frame.x(5) == pytest.approx((frame.x(0) + frame.x(10)) / 2)


@given(st.lists(st.one_of(st.integers(0, 300).map(float), st.floats(-50, 50)), min_size=1))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    drawing = histogram({"gap": values}, x_label="gap")
    ElementTree.fromstring(drawing)
    counts = [int(found.replace(",", "")) for found in re.findall(r": ([\d,]+)</title>", drawing)]
    assert sum(counts) == len(values)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=5))
def test_curves_draw_what_is_finite(values: list[float]) -> None:
    drawing = curves({"loss": [(float(i), value) for i, value in enumerate(values)]})
    ElementTree.fromstring(drawing)
    assert "nan" not in drawing
    assert "inf" not in drawing.replace("finite", "")


def test_an_estimate_without_an_interval_and_a_hollow_one_are_drawn() -> None:
    points = [Estimate(x=0, value=0.5), Estimate(x=1, value=0.6, low=0.5, high=0.7, hollow=True)]
    drawing = estimates(points, [("a<b", 0.9)], share=True)
    assert "a&lt;b 90.0 %" in drawing
    assert drawing.count("hollow") == 1
    assert drawing.count("<circle") == 2
    estimates([replace(points[0], value=0.0)], [])


def test_bars_go_from_all_to_what_is_kept() -> None:
    drawing = bars({"kept": 2, "why not": 3, "candidates": 5})
    assert re.findall(r"row\">([^<]+)<", drawing) == ["candidates", "why not", "kept"]
    assert "width:100.0%" in drawing
    bars({})
