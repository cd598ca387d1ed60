"""A full disk, a missing or changed file, two runs at once, a signal: one clear sentence, and nothing is lost."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from killing import KILLED, command, finished_stages, fork, wait

from fake_recipes import results, run, write_recipe
from selfboost import cli
from selfboost.disk.json_files import read_json

SMALL: dict[str, dict[str, Any]] = {"run": {"iterations": 1}, "benchmark": {"samples": 1, "greedy": False}}
SLOW = {"engine": {"seconds_per_answer": 0.05}}


@pytest.fixture
def spin(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, "spin", **SMALL)


def only_sentence(text: str) -> str:
    """The one line that speaks to the user; a traceback is none."""
    assert "Traceback" not in text
    (sentence,) = [line for line in text.splitlines() if line.startswith("selfboost: ")]
    return sentence


def go_on(path: Path, root: Path, whole: Path) -> None:
    """The same command goes on and comes to what an undisturbed run comes to; nothing finished is made again."""
    before = finished_stages(root)
    run(path, root)
    assert before.items() <= finished_stages(root).items()
    run(path, whole)
    assert results(root) == results(whole)


@pytest.mark.parametrize("name", ["run.json.new", "recipe.toml.new"])
def test_a_full_disk_is_one_sentence(spin: Path, tmp_path: Path, name: str) -> None:
    root = tmp_path / "run"

    def on_a_full_disk() -> None:
        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" and str(arguments[0]) == str(root / name):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(root / name))

        sys.addaudithook(hook)
        cli.main(["run", str(spin), "--into", str(root)])

    assert wait(fork(on_a_full_disk, tmp_path / "log")) == 1
    text = (tmp_path / "log").read_text()
    assert "the disk is full" in only_sentence(text)
    assert "rerun the same command" in only_sentence(text)
    go_on(spin, root, tmp_path / "whole")


@pytest.mark.parametrize("name", ["run.json.new", "run.json", "stages", "stages/iteration-0", "cache", "report.html"])
def test_a_run_writes_through_no_link(spin: Path, tmp_path: Path, name: str) -> None:
    root, mine = tmp_path / "run", tmp_path / "mine"
    (root / name).parent.mkdir(parents=True)
    folder = "." not in name
    if folder:
        mine.mkdir()
    else:
        mine.write_text("precious")
    (root / name).symlink_to(mine)
    code, text = command("run", spin, "--into", root, log=tmp_path / "log")
    assert code == 2
    assert f"{root / name}: is a symbolic link, and a run writes only to its own files" in only_sentence(text)
    assert list(mine.iterdir()) == [] if folder else mine.read_text() == "precious"


def test_files_of_others_in_the_folder_are_named_and_left_alone(spin: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    for name in ("thesis.txt", "a.csv", "run.json.bak"):
        (root / name).write_text("mine")
    heard = run(spin, root)
    assert heard.said[0] == f"{root}: holds what no run wrote, which is left as it is: a.csv, run.json.bak, thesis.txt"
    assert [(root / name).read_text() for name in ("thesis.txt", "a.csv", "run.json.bak")] == ["mine"] * 3
    assert not any("no run wrote" in sentence for sentence in run(spin, tmp_path / "other").said)
    assert not any("no run wrote" in sentence for sentence in run(spin, tmp_path / "other").said), "nor its own files"


@pytest.mark.parametrize("size", [20_000, 40_000])
def test_a_file_that_cannot_grow_is_one_sentence(spin: Path, tmp_path: Path, size: int) -> None:
    root = tmp_path / "run"

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        cli.main(["run", str(spin), "--into", str(root)])

    code = wait(fork(limited, tmp_path / "log"))
    assert code in (1, 2)
    assert only_sentence((tmp_path / "log").read_text())
    assert (root / "stages").exists()
    go_on(spin, root, tmp_path / "whole")


TMPFS = """
mount -t tmpfs -o size=$1k none "$2" && cd "$2" || exit 77
"$3" -m selfboost run "$4" --into run; code=$?
cp -r run "$5"; exit $code
"""


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [60, 120, 200])
def test_a_truly_full_disk_loses_nothing(spin: Path, tmp_path: Path, kilobytes: int) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    arguments = [str(kilobytes), str(disk), sys.executable, str(spin), str(tmp_path / "copy")]
    shell = ["unshare", "--map-root-user", "--mount", "sh", "-c", TMPFS, "sh", *arguments]
    try:
        done = subprocess.run(shell, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    assert done.returncode == 1, done.stderr
    assert "the disk is full" in only_sentence(done.stderr)
    go_on(spin, tmp_path / "copy", tmp_path / "whole")


def test_two_runs_may_not_write_one_folder_and_a_dead_owner_is_no_obstacle(tmp_path: Path) -> None:
    path, root = write_recipe(tmp_path, "spin", **SMALL | SLOW), tmp_path / "run"
    first = fork(lambda: cli.main(["run", str(path), "--into", str(root)]), tmp_path / "first")
    while not (root / "stages").exists():
        time.sleep(0.01)
    code, text = command("run", path, "--into", root, log=tmp_path / "second")
    assert code == 2
    assert f"another run is writing this folder (process {first} on " in only_sentence(text)
    assert "choose another folder with --into" in only_sentence(text)
    os.kill(first, signal.SIGKILL)
    assert wait(first) == KILLED
    go_on(path, root, tmp_path / "whole")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_says_how_to_go_on(tmp_path: Path, sent: signal.Signals) -> None:
    path, root = write_recipe(tmp_path, "spin", **SMALL | SLOW), tmp_path / "run"
    child = fork(lambda: cli.main(["run", str(path), "--into", str(root)]), tmp_path / "log")
    while not (root / "stages").exists():
        time.sleep(0.01)
    os.kill(child, sent)
    assert wait(child) == 130
    assert only_sentence((tmp_path / "log").read_text()) == ("selfboost: interrupted; rerun the same command to resume")
    go_on(path, root, tmp_path / "whole")


def damaged(path: Path, damage: str) -> None:
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])


@pytest.mark.parametrize("damage", ["missing", "cut", "one bit"])
@pytest.mark.parametrize(
    "file",
    ["iteration-1/own-answers/records.jsonl", "iteration-1/policy/model/fake.json", "iteration-1/policy/stage.json"],
)
def test_a_damaged_stage_is_named_and_can_be_made_again(spin: Path, tmp_path: Path, file: str, damage: str) -> None:
    root = tmp_path / "run"
    run(spin, root)
    whole = results(root)
    path = root / "stages" / file
    damaged(path, damage)
    folder = root / "stages" / "/".join(file.split("/")[:2])
    left = path.read_bytes() if path.exists() else None
    heard = run(spin, root)
    aside, name = folder.with_name(f"{folder.name}.broken-1"), folder.relative_to(root / "stages").as_posix()
    assert heard.started_stages == [name]
    (sentence,) = heard.said
    assert sentence.startswith(str(folder))
    assert sentence.endswith(f"; kept as {aside}, and {name} is made again")
    kept = aside / path.relative_to(folder)
    assert (kept.read_bytes() if kept.exists() else None) == left
    shutil.rmtree(aside)
    assert results(root) == whole
    assert run(spin, root).started_stages == []


def test_a_torn_line_of_a_killed_stage_is_made_again_and_a_wrong_one_is_named(spin: Path, tmp_path: Path) -> None:
    root, whole = tmp_path / "run", tmp_path / "whole"
    run(spin, whole)
    name = "iteration-1/own-answers"
    card = next(c for c in (whole / "stages").rglob("stage.json") if name in str(c))
    rows = (card.parent / "records.jsonl").read_bytes()

    fingerprint = read_json(card)["fingerprint"]
    partial = root / "stages" / f"{name}.partial-{fingerprint[:8]}"
    partial.mkdir(parents=True)
    (partial / "records.jsonl").write_bytes(rows[: len(rows) // 2])
    run(spin, root)
    assert results(root) == results(whole)
    for number, wrong in enumerate(
        [rows.replace(b'"token_ids"', b'"tokens"'), rows + rows, rows[rows.index(b"\n") + 1 :]]
    ):
        again = tmp_path / str(number) / "stages" / f"{name}.partial-{fingerprint[:8]}"
        again.mkdir(parents=True)
        (again / "records.jsonl").write_bytes(wrong)
        (sentence,) = run(spin, tmp_path / str(number)).said
        aside = again.with_name(f"{again.name}.broken-1")
        assert sentence.startswith(f"{again / 'records.jsonl'} line ")
        assert sentence.endswith(f"; kept as {aside}, and {name} is made again")
        assert (aside / "records.jsonl").read_bytes() == wrong
        shutil.rmtree(aside)
        assert results(tmp_path / str(number)) == results(whole)


def test_a_damaged_summary_is_named_and_made_again(spin: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    run(spin, root)
    whole = results(root)
    (root / "run.json").write_text("{")
    code, text = command("show", root, log=tmp_path / "log")
    assert code == 2
    assert "run.json: is damaged" in only_sentence(text)
    (sentence,) = run(spin, root).said
    assert sentence.endswith(f"; kept as {root / 'run.json.broken-1'}, and made again from the stages")
    assert (root / "run.json.broken-1").read_text() == "{"
    assert results(root) == whole


@pytest.mark.parametrize("left", ["", "process 1 on elsewhere"])
def test_a_run_whose_lock_is_deleted_stops_and_lets_nobody_in_meanwhile(tmp_path: Path, left: str) -> None:
    path, root = write_recipe(tmp_path, "spin", **SMALL | SLOW), tmp_path / "run"
    first = fork(lambda: cli.main(["run", str(path), "--into", str(root)]), tmp_path / "first")
    while not (root / "stages").exists():
        time.sleep(0.01)
    os.kill(first, signal.SIGSTOP)
    (root / "lock").unlink()
    if left:
        (root / "lock").write_text(left)
    code, text = command("run", path, "--into", root, log=tmp_path / "second")
    assert code == 2
    assert "another run is writing this folder" in only_sentence(text)
    os.kill(first, signal.SIGCONT)
    assert wait(first) == 2
    said = only_sentence((tmp_path / "first").read_text())
    assert said.startswith(f"selfboost: {root / 'lock'}: was deleted or replaced while this run was writing")
    go_on(path, root, tmp_path / "whole")
