"""The time left of a whole run: nothing before it is known, then the plan at the measured pace."""

import io
import json
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest
from rich.console import Console

from selfboost import recipe as recipes
from selfboost.plan import plan
from selfboost.plan.outline import BackgroundOutline, stages_ahead
from selfboost.store import StageCard
from selfboost.views import terminal
from selfboost.views.terminal import Terminal
from selfboost.views.time_left import StageAhead, TimeLeft, in_words


class Known:
    """An outline of four stages: the H100's hours say that scoring takes a tenth of sampling."""

    def __init__(self, *, hours: bool = True) -> None:
        self.hours = hours

    def stages(self) -> Sequence[StageAhead]:
        planned = [
            ("a", "sample", 100, 1.0),
            ("b", "score", 900, 0.1),
            ("c", "measure", 0, 0.0),
            ("d", "sample", 300, 3),
        ]
        return [StageAhead(name=n, verb=v, tokens=t, hours=h if self.hours else None) for n, v, t, h in planned]


def test_the_rest_is_the_planned_work_at_the_measured_pace() -> None:
    left = TimeLeft(Known())
    assert left.seconds("a", 0.1, 5.0) is None, "too little is measured"
    assert left.seconds("a", 0.5, 50.0) == pytest.approx(50 + 10 + 300)
    left.passed("a", 100.0, reused=False)
    assert left.seconds("b", 0.0, 0.0) == pytest.approx(10 + 300)
    left.passed("b", 50.0, reused=False)
    assert left.seconds("d", 0.5, 150.0) == pytest.approx(150.0)
    assert left.seconds("batch-2/extra", 0.0, 0.0) == pytest.approx(300.0)


def test_kinds_that_nothing_relates_are_not_guessed_and_reused_stages_measure_nothing() -> None:
    left = TimeLeft(Known(hours=False))
    left.passed("a", 100.0, reused=False)
    assert left.seconds("c", 0.0, 0.0) == pytest.approx(300.0)
    assert TimeLeft(Known(hours=False)).seconds("a", 0.5, 50.0) is None, "scoring has no pace yet"
    resumed = TimeLeft(Known())
    resumed.passed("a", 100.0, reused=True)
    assert resumed.seconds("b", 0.0, 0.0) is None
    assert [in_words(seconds) for seconds in (None, 29, 130, 3700)] == [
        "run: estimating the time left",
        "run: less than a minute left",
        "run: about 2 min left",
        "run: about 1 h 02 min left",
    ]


def test_the_terminal_says_it_below_the_stage_and_in_a_log_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "QUIET_SECONDS", 0.0)
    file = io.StringIO()
    listener = Terminal(Console(file=file, width=80), TimeLeft(Known(), start=time.monotonic() - 60))
    with listener:
        listener.started("a", "sample", 10)
        listener.progress(5, 10, 50)
        listener.finished("a", StageCard(name="a", verb="sample", fingerprint="", parts={}, seconds=30.0), reused=False)
        listener.started("d", "sample", 10)
        listener.progress(0, 10, 0)
        shown = Console(width=80, record=True, file=io.StringIO())
        shown.print(listener._line())
    lines = file.getvalue().splitlines()
    assert "run: estimating the time left, 1:00 so far" in lines[1]
    assert "run: about 2 min left, 1:00 so far" in lines[-1]
    assert max(map(len, shown.export_text().splitlines())) <= 80


def test_a_short_run_never_starts_the_process_that_plans() -> None:
    with BackgroundOutline("smoke", [], []) as outline:
        assert outline.stages() == []
        assert outline._process is None


@pytest.mark.slow
def test_the_outline_of_a_recipe_is_found_by_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfboost.plan.outline.PATIENCE", 0.0)
    with BackgroundOutline("smoke", ["run.iterations=1"], []) as outline:
        end = time.monotonic() + 120
        while not outline.stages() and time.monotonic() < end:
            time.sleep(0.2)
    assert "iteration-1/policy" in [stage.name for stage in outline.stages()]
    assert "iteration-2/policy" not in [stage.name for stage in outline.stages()]


@pytest.mark.parametrize("name", ["smoke", "demo-dnpo"])
def test_the_outline_has_the_plans_stages_with_about_their_work(name: str) -> None:
    recipe = recipes.read(recipes.find(name), [])
    planned, ahead = plan(recipe).stages, stages_ahead(recipe)
    assert [(stage.name, stage.verb) for stage in ahead] == [(stage.name, stage.verb) for stage in planned]
    for one, other in zip(ahead, planned, strict=True):
        assert one.tokens == pytest.approx(other.mean.tokens, rel=0.3)
        assert one.hours == pytest.approx(other.mean.hours, rel=0.3)


def test_the_outline_is_found_without_pytorch() -> None:
    asked = json.dumps({"recipe": "smoke", "settings": [], "trust": []})
    code = f"import sys; from selfboost.plan.outline import main; main({asked!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
