"""The live page as a person sees it: in a headless Chromium, by the keyboard, narrow and dark, while a run grows."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra `live` is not installed")
pytest.importorskip("uvicorn", reason="the extra `live` is not installed")

from small_run import evil_pair, finished_run, make_run

from chromium import PROGRAM, Chromium
from live_page import served
from selfboost.disk.record_files import to_line
from selfboost.views.sentences import headline
from selfboost.views.summary import summary

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PROGRAM, reason="there is no Chromium on PATH")]
TITLE = "document.querySelector('#panel h1')?.textContent"
ROWS = "document.querySelectorAll('article.row').length"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    with Chromium(tmp_path) as opened:
        yield opened
        lost = "'source': 'network'"  # requests of the page after the server has ended
        assert [error for error in opened.errors if lost not in error] == []


def test_a_run_that_starts_and_grows_is_shown_without_a_reload(browser: Chromium, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with served(tmp_path / "runs") as live:
        browser.open(live.url)
        browser.until(f"{TITLE} === 'No run here yet'")
        browser.evaluate("window.sameDocument = true")
        root = make_run(tmp_path / "runs")
        wanted = headline(summary(root)).replace(" %", "\N{NO-BREAK SPACE}%")
        browser.until(f"{TITLE} === {wanted!r}")
        assert browser.until("document.querySelectorAll('#measures figure svg').length") >= 3
        assert browser.evaluate("window.sameDocument")


def test_the_keyboard_leads_everywhere(browser: Chromium) -> None:
    with served(finished_run()) as live:
        browser.open(live.url)
        browser.until("document.querySelectorAll('#measures figure svg').length")
        browser.press("ArrowRight")
        browser.until(f"{TITLE} === 'Pairs, chosen over rejected' && {ROWS}")
        browser.press("j", "j", "k", "j", "Enter")
        current = "[...document.querySelectorAll('article.row')].findIndex((row) => row.matches('.current.unfolded'))"
        browser.until(f"{current} === 1")
        browser.press("ArrowRight")
        browser.until(f"{TITLE} === 'Held-out answers before and after' && {ROWS} === 8")
        assert browser.evaluate("document.querySelectorAll('.mark.right, .mark.wrong').length") == 32
        browser.press("/")
        browser.until("document.activeElement.id === 'query'")
        browser.press("Escape", "?")
        browser.until("document.getElementById('help').open")


def test_a_search_is_answered_as_it_is_typed(browser: Chromium) -> None:
    with served(finished_run()) as live:
        browser.open(live.url)
        browser.until("document.querySelectorAll('#measures figure svg').length")
        browser.press("/", *"twice")
        browser.until(f"document.querySelector('main mark')?.textContent === 'twice' && {ROWS} === 50")
        assert browser.evaluate("document.activeElement.id") == "query"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (420, True)])
def test_nothing_is_wider_than_the_window_and_no_text_acts(
    browser: Chromium, tmp_path: Path, width: int, dark: bool
) -> None:
    root = shutil.copytree(finished_run(), tmp_path / "run")
    policy = root / "stages/iteration-1/policy.partial-01234567"
    policy.mkdir()
    (policy / "records.jsonl").write_bytes(to_line(evil_pair()))
    browser.look(width, 900, dark=dark)
    with served(root) as live:
        for tab in ("overview", "pairs", "answers", "search", "log", "recipe"):
            browser.open("about:blank")
            browser.open(f"{live.url}#tab={tab}")
            browser.until(f"{TITLE} && document.readyState === 'complete'")
            assert browser.evaluate("document.documentElement.scrollWidth") == width, tab
            assert browser.evaluate("document.querySelectorAll('main script').length") == 0
    light = browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(252, 252, 250)"
    assert light != dark
