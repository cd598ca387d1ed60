"""Terminals of every kind: readers that leave, closed streams, small encodings; nothing hostile reaches one raw."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small_run import EVIL

from fake_recipes import write_recipe
from selfboost import cli, store
from selfboost.disk.json_files import read_json
from selfboost.views.sentences import duration
from selfboost.views.streams import Guarded, GuardedStream, console
from selfboost.views.visible import visible

SMALL: dict[str, dict[str, Any]] = {"run": {"iterations": 1}, "benchmark": {"samples": 1, "greedy": False}}


def shell(command: str, *arguments: object, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """A shell's command, `$S` in it for the command line."""
    words = ["bash", "-o", "pipefail", "-c", command, "bash", *map(str, arguments)]
    own = {"S": f"{sys.executable} -m selfboost", **environment}
    return subprocess.run(words, env=os.environ | own, capture_output=True, timeout=120)


def finished(root: Path) -> bool:
    """Whether a run came to its end, its report with it."""
    return read_json(root / "run.json")["status"] == "finished" and (root / "report.html").exists()


@pytest.mark.parametrize(
    "command",
    [
        '$S run "$1" --into "$2" | true',
        '$S run "$1" --into "$2" 2>&1 | true',
        '$S run "$1" --into "$2" 2>&-',
        '$S run "$1" --into "$2" >&- 2>&- <&-',
    ],
)
def test_a_run_goes_on_when_nobody_reads_it(tmp_path: Path, command: str) -> None:
    path = write_recipe(tmp_path, "spin", **SMALL)
    done = shell(command, path, tmp_path / "run")
    assert (done.returncode, done.stderr.count(b"Traceback"), done.stderr.count(b"Exception ignored")) == (0, 0, 0)
    assert finished(tmp_path / "run")
    for card in store.cards(tmp_path / "run"):
        store.verify(tmp_path / "run/stages" / card.name, card)


def test_a_full_disk_below_standard_output_costs_no_report(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "spin", **SMALL)
    done = shell('$S run "$1" --into "$2" > /dev/full', path, tmp_path / "run")
    assert done.returncode == 1
    assert b"the disk is full" in done.stderr
    assert finished(tmp_path / "run")


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"PYTHONIOENCODING": "ascii"}, marks=pytest.mark.slow),
        pytest.param({"PYTHONIOENCODING": "latin-1"}, marks=pytest.mark.slow),
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=["ascii", "latin-1", "C"],
)
def test_every_command_works_where_the_terminal_knows_few_characters(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    path, root = write_recipe(tmp_path, "spin", **SMALL), tmp_path / "run"
    every = ['$S check "$1"', '$S run "$1" --into "$2"', '$S show "$2"', '$S show --json "$2"', '$S report "$2"']
    done = shell(" && ".join([*every, '$S inspect "$2" pair pair-', "$S list"]), path, root, **environment)
    assert done.returncode == 2, done.stderr  # more than one pair begins with it
    assert b"pairs begin with this" in done.stderr
    text = (done.stdout + done.stderr).decode(environment.get("PYTHONIOENCODING", "ascii"))
    assert "The recipe is valid." in text
    assert "..." in text
    assert "iteration-0/validation-sampled: sample 4 ..." in text


def test_what_an_encoding_lacks_is_written_alike_or_as_an_escape() -> None:
    base = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = GuardedStream(base)
    stream.write("10 – 20 … é 中 \U0001f600 \udcff “x”")
    stream.flush()
    assert base.buffer.getvalue() == rb'10 - 20 ... \xe9 \u4e2d \U0001f600 \udcff "x"'  # type: ignore[attr-defined]


def test_libraries_cannot_act_on_a_terminal_but_may_rewrite_their_line() -> None:
    base = io.StringIO()
    Guarded(base).write(f"\r50 %\r{EVIL}\n")
    assert base.getvalue() == f"\r50 %\r{visible(EVIL)}\n"
    assert "\x1b" not in base.getvalue()


def test_markup_in_text_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("[red]no[/red] :smile: [/]")
    assert capsys.readouterr().out == "[red]no[/red] :smile: [/]\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u200bb", r"a\u200bb"),
        ("pass\u200dword", r"pass\u200dword"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("x\U000e0041\U000e007f", r"x\U000e0041\U000e007f"),
        ("a\ufe0f", r"a\ufe0f"),
        ("a\U000e0100", r"a\U000e0100"),
        ("\x1b]0;t\x07", r"\x1b]0;t\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u00adb", r"a\xadb"),
        ("tab\tline\n", "tab\tline\n"),
        ("👩\u200d👩\u200d👧 ❤\ufe0f 1\ufe0f\u20e3", "👩\u200d👩\u200d👧 ❤\ufe0f 1\ufe0f\u20e3"),
        ("می\u200cخواهم क्\u200dष", "می\u200cخواهم क्\u200dष"),
    ],
)
def test_hidden_characters_are_shown_and_those_that_join_letters_stay(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", EVIL],
        ["show", "here", EVIL],
        ["check", EVIL],
        ["check", "RECIPE", "--set", f"training.{EVIL}=1"],
        ["check", "RECIPE", "--set", f"model.path={EVIL}"],
        ["check", "RECIPE", "--set", f"seed.path={EVIL}.jsonl"],
        ["run", "RECIPE", "--into", "RECIPE", "--set", f"gate.measure={EVIL}"],
        ["inspect", "here", "pair", EVIL],
        ["init", EVIL, "--model", EVIL, "--seed", EVIL],
        ["new", "method", EVIL],
    ],
)
def test_no_argument_reaches_the_terminal_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    path = write_recipe(tmp_path, "spin", **SMALL)
    with pytest.raises(SystemExit) as end:
        cli.main([str(path) if argument == "RECIPE" else argument for argument in arguments])
    written = capsys.readouterr()
    assert end.value.code == 2
    assert "\x1b" not in written.out + written.err
    assert "\u202e" not in written.out + written.err
    assert "Traceback" not in written.err


def test_columns_keys_and_names_of_a_seed_reach_no_terminal_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, root = write_recipe(tmp_path, "spin", **SMALL), tmp_path / "run"
    seeds = [json.loads(line) for line in (tmp_path / "seed.jsonl").read_text().splitlines()]
    rows = [{**seed, "prompt": f"{seed['prompt']} \x1b[31m\u202e", f"column {EVIL}": 1} for seed in seeds]
    (tmp_path / "seed.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for arguments in (["check", path], ["run", path, "--into", root], ["show", root], ["show", root, "--json"]):
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        assert end.value.code == 0
        written = capsys.readouterr()
        assert not {"\x1b", "\u202e"} & set(written.out + written.err)
        if "run" in arguments:
            assert r"left out: 'column <script>" in written.err
    assert any("left out: 'column <script>" in sentence for sentence in json.loads(written.out)["said"])


@pytest.mark.parametrize("arguments", [["run", "demo", "--into", ""], ["show", ""], ["report", " "]])
def test_an_empty_folder_is_refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "is empty; give a folder's path (this folder is '.')" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["path", "validation", "held_out"])
def test_an_empty_path_of_a_seed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_recipe(tmp_path, "spin", **SMALL)
    monkeypatch.chdir(tmp_path)  # a folder with a seed file, which an empty path would name
    for command in (["check", str(path)], ["run", str(path), "--into", "run"]):
        with pytest.raises(SystemExit) as end:
            cli.main([*command, "--set", f'seed.{name}=""'])
        assert end.value.code == 2
        assert "Traceback" not in capsys.readouterr().err


def test_durations_are_never_negative() -> None:
    assert duration(-3.0) == "0.0 s"


@pytest.mark.parametrize("after", [0.02, 0.06, 0.15, 0.4, 0.8])
def test_an_interruption_while_modules_are_imported_leaves_no_traceback(tmp_path: Path, after: float) -> None:
    path = write_recipe(tmp_path, "spin", **SMALL, engine={"kind": "fake", "seconds_per_answer": 0.5})
    program = "from selfboost.__main__ import main; print(flush=True); main()"  # nothing else of ours is imported yet
    words = [sys.executable, "-c", program, "run", str(path), "--into", str(tmp_path / "run")]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(after)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert (child.returncode, "selfboost: interrupted" in said) == (130, True), said
