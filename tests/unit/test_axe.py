"""The report and the live page under axe-core, in both schemes and at two widths (`make axe` fetches it)."""

import os
import shutil
from pathlib import Path

import pytest
from small_run import finished_run

from chromium import PROGRAM, Chromium
from live_page import served
from selfboost.report import write_report

HERE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
AXE = Path(os.environ.get("AXE_CORE", HERE))
RULES = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']"
FOUND = f"axe.run(document, {{runOnly: {RULES}}}).then((r) => r.violations.map((v) => [v.id, v.nodes[0].html]))"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM, reason="there is no Chromium on PATH"),
    pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not here: `make axe`"),
]


def violations(browser: Chromium, url: str, ready: str) -> list[object]:
    """What axe-core finds on a page whose parts are all open."""
    browser.open("about:blank")
    browser.open(url)
    browser.until(ready)
    browser.evaluate("document.querySelectorAll('details').forEach((part) => part.open = true)")
    browser.evaluate(f"{AXE.read_text(encoding='utf-8')};0")
    return browser.evaluate(FOUND)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (420, False), (420, True)])
def test_axe_finds_nothing(tmp_path: Path, width: int, dark: bool) -> None:
    root = shutil.copytree(finished_run(), tmp_path / "run")
    report = write_report(root)
    with Chromium(tmp_path) as browser, served(root) as live:
        browser.look(width, 900, dark=dark)
        assert violations(browser, report.as_uri(), "!!document.querySelector('#recipe')") == []
        for tab in ("overview", "pairs", "answers", "search", "log", "recipe"):
            ready = "!!document.querySelector('#panel h1')"
            assert violations(browser, f"{live.url}#tab={tab}", ready) == [], tab
