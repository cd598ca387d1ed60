"""Files and locks of a run's folder: one writer, no symbolic link written through, nothing waited for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfboost import store
from selfboost.disk import files, locks
from selfboost.disk.json_files import read_json, write_json
from selfboost.disk.locks import LockLost, lock

HOLD = (
    "import sys, time; from pathlib import Path; from selfboost.disk.locks import lock\n"
    "with lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def holder(root: Path) -> "subprocess.Popen[str]":
    """Another process that holds the folder's lock."""
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    return other


def test_one_writer_at_a_time_and_a_dead_one_is_no_obstacle(tmp_path: Path) -> None:
    other = holder(tmp_path)
    with pytest.raises(ValueError, match=rf"another run is writing this folder \(process {other.pid} on "):
        lock(tmp_path).__enter__()
    other.kill()
    other.wait()
    with lock(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / "lock").read_text()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_deleted_lock_lets_nobody_else_in(tmp_path: Path, replaced: bool) -> None:
    other = holder(tmp_path)
    (tmp_path / "lock").unlink()
    if replaced:
        (tmp_path / "lock").write_text("")
    with pytest.raises(ValueError, match="another run is writing this folder"):
        lock(tmp_path).__enter__()
    other.kill()
    other.wait()


@pytest.mark.parametrize("how", ["deleted", "replaced", "folder replaced"])
def test_who_lost_the_lock_writes_nothing_more(tmp_path: Path, how: str) -> None:
    root = tmp_path / "run"
    with lock(root):
        stage = store.Stage(root, "iteration-1/scores", "score", {"a": 1})
        stage.append([])
        if how == "folder replaced":
            root.rename(tmp_path / "moved")
            (root / stage.partial.relative_to(root)).mkdir(parents=True)
        else:
            (root / "lock").unlink()
        if how == "replaced":
            (root / "lock").write_text("")
        for write in (lambda: stage.append([]), lambda: stage.finish(rows=0, tokens=0, seconds=0, result="", notes={})):
            with pytest.raises(LockLost, match="was deleted or replaced while this run was writing"):
                write()
        assert store.cards(root) == []
    locks.check_held(root)  # not held any more: nothing to say


def test_a_lock_that_is_a_link_or_a_pipe_is_refused_by_name(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/lock").symlink_to(target)
    with pytest.raises(ValueError, match=r"run/lock: is a symbolic link"):
        lock(tmp_path / "run").__enter__()
    assert target.read_text() == "precious"
    (tmp_path / "run/lock").unlink()
    os.mkfifo(tmp_path / "run/lock")
    with pytest.raises(ValueError, match=r"run/lock: is not a plain file"):
        lock(tmp_path / "run").__enter__()
    assert locks.owner(tmp_path / "run") == ""


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    path = tmp_path / "not-a-folder"
    path.write_text("")
    with pytest.raises(ValueError, match="is a file; a run needs a folder"):
        lock(path).__enter__()


def test_a_new_file_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    path.with_name("x.json.new").write_text("of a try that was killed")
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("name", ["x.json", "x.json.new"])
def test_no_link_is_written_through(tmp_path: Path, name: str) -> None:
    target = tmp_path / "mine"
    target.write_text("precious")
    (tmp_path / name).symlink_to(target)
    with pytest.raises(ValueError, match=f"{name}: is a symbolic link, and a run writes only to its own files"):
        files.write_atomically(tmp_path / "x.json", b"{}")
    assert (tmp_path / name).is_symlink()
    with pytest.raises(ValueError, match="is a symbolic link"):
        files.open_to_add(tmp_path / name)
    assert target.read_text() == "precious"


def test_a_pipe_or_a_device_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(ValueError, match="is not a plain file"):
            files.read_bytes(path)
    with pytest.raises(ValueError, match="is not a plain file"):
        files.open_to_add(tmp_path / "pipe")


def test_links_inside_a_folder_are_found_but_for_finished_stages_moved_elsewhere(tmp_path: Path) -> None:
    stages, elsewhere = tmp_path / "stages", tmp_path / "big-disk"
    (stages / "iteration-1").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "stage.json").write_text("{}")
    (stages / "iteration-1/policy").symlink_to(elsewhere)
    files.refuse_links_inside(stages, spare="stage.json")
    link = stages / "iteration-1/drafts.partial-12345678"
    link.symlink_to(tmp_path)
    with pytest.raises(ValueError, match=f"{link}: is a symbolic link"):
        files.refuse_links_inside(stages, spare="stage.json")
    with pytest.raises(ValueError, match=f"{link}: is a symbolic link"):
        files.refuse_links_on_the_way(tmp_path, link / "model")


def test_what_is_set_aside_overwrites_nothing(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / "a").write_text(str(number))
        assert files.set_aside(tmp_path / "a") == tmp_path / f"a.broken-{number}"
    assert [(tmp_path / f"a.broken-{number}").read_text() for number in (1, 2, 3)] == ["1", "2", "3"]
