"""Live progress: quiet away from a terminal, one line that moves on one, true figures, nothing hostile."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from small_run import EVIL, make_run

from selfboost.store import StageCard
from selfboost.store.faults import faults_of
from selfboost.views import terminal
from selfboost.views.terminal import StageProgress, Terminal


def card(name: str) -> StageCard:
    return StageCard(name=name, verb="sample", fingerprint="f", parts={}, rows=7, tokens=1234, seconds=2.5)


def told(*, on_terminal: bool = False) -> tuple[Terminal, io.StringIO]:
    file = io.StringIO()
    return Terminal(Console(file=file, force_terminal=on_terminal, width=80, color_system=None)), file


def test_a_whole_run_prints_at_most_a_line_per_start_and_finish_and_a_second_time_one_line(tmp_path: Path) -> None:
    listener, file = told()
    with listener:
        root = make_run(tmp_path, listener)
    lines = file.getvalue().splitlines()
    stages = len(list((root / "stages").rglob("stage.json")))
    assert stages <= len(lines) <= 2 * stages + 2
    assert sum(line.startswith("iteration-1/policy: prefer, ") for line in lines) == 1
    listener, file = told()
    with listener:
        make_run(tmp_path, listener)
    assert file.getvalue() == f"reused {stages} finished stages\n"


def test_progress_away_from_a_terminal_is_told_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    listener, file = told()
    with listener:
        listener.started("a", "sample", 100)
        for done in range(1, 100):
            listener.progress(done, 100, done * 10)
        assert file.getvalue() == "a: sample 100 …\n"
        monkeypatch.setattr(terminal, "QUIET_SECONDS", 0.0)
        listener.progress(50, 100, 500)
    assert "a: 50/100  " in file.getvalue()
    assert "tokens/s" in file.getvalue()


def test_reused_stages_are_counted_before_the_next_thing_is_told() -> None:
    listener, file = told()
    with listener:
        for name in "ab":
            listener.finished(name, card(name), reused=True)
        listener.started("c", "sample", 7)
        listener.finished("c", card("c"), reused=False)
        listener.finished("d", card("d"), reused=True)
    assert file.getvalue().splitlines() == [
        "reused 2 finished stages",
        "c: sample 7 …",
        "c: sample, 7 rows, 1,234 tokens, 2.5 s",
        "reused 1 finished stage",
    ]


def test_progress_belongs_to_the_innermost_stage_and_a_failed_one_is_forgotten() -> None:
    listener, file = told()
    listener.progress(1, 2, 3)  # nobody's
    with listener:
        listener.started("outer", "measure", 5)
        listener.started("inner", "sample", 9)
        listener.finished("outer", card("outer"), reused=False)
        listener.started("next", "sample", 4)
    assert "next: sample 4 …" in file.getvalue()


def test_the_live_line_shows_stage_count_pace_and_time_left() -> None:
    listener, file = told(on_terminal=True)
    with listener:
        listener.started("iteration-1/drafts", "sample", 200)
        listener.progress(50, 200, 1000)
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(listener._line())
        line = console.export_text()
        listener.finished("iteration-1/drafts", card("iteration-1/drafts"), reused=False)
    assert "iteration-1/drafts" in line
    assert "50/200" in line
    assert "tokens/s" in line
    assert "left" in line
    assert "✓ iteration-1/drafts: sample, 7 rows" in file.getvalue()


def test_time_left_of_a_resumed_stage_counts_only_what_is_done_now() -> None:
    work = StageProgress("a", "sample", 100, start=0.0)
    assert work.seconds_left(1.0) is None
    work.done, work.heard = 60, (10.0, 50)  # 50 were there when it was first heard of
    assert work.seconds_left(20.0) == pytest.approx(40.0)
    work.tokens = 500
    assert work.rate(20.0) == pytest.approx(25.0)


def test_what_is_said_cannot_act_on_a_terminal() -> None:
    listener, file = told()
    with listener:
        listener.say(EVIL)
        listener.started(EVIL, "sample", 1)
    assert "\x1b" not in file.getvalue()
    assert "\u202e" not in file.getvalue()
    assert "[red]" in file.getvalue()


def test_faults_stand_on_the_line_of_their_stage_louder_the_more_there_are() -> None:
    noted = replace(card("a"), notes={"failed": 2, "most common reason": "too long", "cut at the token limit": 6})
    assert [str(fault) for fault in faults_of({"truncated": 9, "failed": "2", "seconds": 4}, 7)] == [
        "9 prompts or answers cut to max_length"
    ]
    listener, file = told()
    with listener:
        listener.finished("a", noted, reused=False)
    assert file.getvalue() == (
        "a: sample, 7 rows, 1,234 tokens, 2.5 s; 2 of 7 failed: too long; 6 of 7 cut at the token limit\n"
    )
    coloured = io.StringIO()
    listener = Terminal(Console(file=coloured, force_terminal=True, width=200, color_system="standard"))
    with listener:
        listener.finished("a", noted, reused=False)
        listener.finished("b", replace(noted, rows=1000), reused=False)
    first, second = (line for line in coloured.getvalue().splitlines() if "sample, " in line)
    assert "\x1b[33m; 2 of 7 failed" in first
    assert "\x1b[1;31m; 6 of 7 cut" in first
    assert "\x1b[2m; 2 of 1,000 failed" in second
