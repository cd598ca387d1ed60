"""Figures of a report: named for those who do not see them, and downloads that hold what is drawn."""

import base64
import csv
import re
import shutil
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report_pages import page_of
from small_run import EVIL, finished_run

from selfboost.report.charts import Estimate, bars, curves, estimates, histogram, outcomes
from selfboost.report.figures import Chart, csv_of, figure, svg_of
from selfboost.views.summary import summary

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(shutil.copytree(finished_run(), tmp_path_factory.mktemp("figures") / "run"))


def downloads(text: str) -> dict[str, str]:
    """File's name → its content."""
    found = re.findall(r'href="data:[\w/+]+;base64,([^"]*)" download="([^"]+)"', text)
    return {unescape(name): base64.b64decode(content).decode() for content, name in found}


def test_every_drawing_has_a_name_of_its_own(page: str) -> None:
    drawings = re.findall(r"<svg [^>]*>", page)
    names = [re.search(r'aria-label="([^"]+)"', drawing) for drawing in drawings]
    assert len(drawings) >= 8
    assert all(names)
    assert [name[1] for name in names if name] == re.findall(r"<figcaption>([^<]+)</figcaption><svg", page)


def test_each_chart_of_the_page_can_be_downloaded(page: str) -> None:
    found = downloads(page)
    charts = len(re.findall(r"<figcaption>[^<]+</figcaption><svg", page))
    assert sum(name.endswith(".svg") for name in found) == charts
    for name, content in found.items():
        if name.endswith(".svg"):
            assert ElementTree.fromstring(content).tag == f"{SVG}svg"
            assert "var(" not in content
    rows = list(csv.DictReader(found["score-of-sampled-answers-decides.csv"].splitlines()))
    told = summary(Path(finished_run()))
    wanted = [entry.measures["sampled"] for entry in (*told.iterations, *told.beside)]
    assert [float(row["value"]) for row in rows] == [row.value for row in wanted]
    assert [row["low"] for row in rows[:2]] == [str(row.low) for row in wanted[:2]]


CHARTS = {
    "estimates": estimates([Estimate(x=1, value=0.5, low=0.4, high=0.6)], [(EVIL, 0.9)], share=True),
    "curves": curves({EVIL: [(1.0, 2.0), (2.0, 3.0)], "b": [(1.0, 1.0)]}),
    "histogram": histogram({"gap": [1.0, 2.0, 2.0]}, x_label=EVIL),
}


@pytest.mark.parametrize("kind", CHARTS)
def test_a_downloaded_drawing_stands_alone_whatever_its_texts(kind: str) -> None:
    chart = CHARTS[kind]
    assert isinstance(chart, Chart)
    root = ElementTree.fromstring(svg_of(f"long {EVIL} " * 9, chart))
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{name}" for name in ("svg", "style", "rect", "text", "title", "g", "line", "path", "polyline", "circle")
    }
    assert next(csv.reader(csv_of(chart).splitlines())) != []


def test_the_numbers_are_those_drawn() -> None:
    assert csv_of(bars({"kept": 2, "a,b": 3})) == 'name,count\n"a,b",3\nkept,2\n'
    assert csv_of(outcomes({"1 against 0": (3, 1, 2)})).splitlines()[1] == "1 against 0,3,1,2"
    assert csv_of(CHARTS["curves"]).splitlines()[0] == "line,step,value"
    counts = [
        int(float(row["count"]))
        for row in csv.DictReader(csv_of(histogram({"g": [1.0, 2.0, 2.0]}, x_label="x")).splitlines())
    ]
    assert counts == [1, 2]


def test_a_figure_without_a_chart_offers_nothing() -> None:
    assert "Download" not in figure("words", "none")
