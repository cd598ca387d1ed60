"""Runs in a child process that is killed at a chosen moment, with SIGKILL: no handler, no clean-up, no warning."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import scipy.stats  # noqa: F401  # the children inherit it: loading it takes longer than a run

from fake_recipes import Heard
from selfboost import cli, recipe, store
from selfboost.loop import boost

KILLED = -signal.SIGKILL
PATIENCE = 60.0


def fork(work: Callable[[], object], log: Path | None = None) -> int:
    """Start work in a child; its process id. Its standard output and error go to a file."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        out = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        work()
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int) -> int:
    """The child's exit code, or minus the signal that ended it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError(f"the child was not done after {PATIENCE} seconds")


def command(*arguments: object, log: Path | None = None) -> tuple[int, str]:
    """A command of the command line in a child: its exit code, what it wrote."""
    written = log or Path(os.devnull)
    code = wait(fork(lambda: cli.main([str(argument) for argument in arguments]), log))
    return code, written.read_text() if log else ""


def kill_me() -> NoReturn:
    """The end."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


class Deaths:
    """Moments at which a process died already, kept in a file, so that each kills one process alone."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def all(self) -> list[str]:
        """The moments so far."""
        return self.file.read_text().splitlines() if self.file.exists() else []

    def reached(self, moment: str) -> None:
        """Die here, unless one died here before."""
        if moment not in self.all():
            with self.file.open("a") as file:
                file.write(f"{moment}\n")
            kill_me()


class DiesAtEvents(Heard):
    """A listener that dies at every start, progress and end of a stage, once each."""

    def __init__(self, deaths: Deaths) -> None:
        super().__init__()
        self.deaths, self.stage = deaths, ""

    def started(self, stage: str, verb: str, total: int) -> None:
        self.stage = stage
        self.deaths.reached(f"{stage} started")

    def progress(self, done: int, total: int, tokens: int) -> None:
        self.deaths.reached(f"{self.stage} {done} of {total}")

    def finished(self, stage: str, card: store.StageCard, *, reused: bool) -> None:
        if not reused:
            self.deaths.reached(f"{stage} finished")


def die_at_file_changes(root: Path, deaths: Deaths) -> None:
    """From now on this process dies before every change of a file under a folder, once each."""
    prefix = str(root) + os.sep

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.mkdir", "os.remove", "os.truncate", "shutil.rmtree"):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        paths = [os.fsdecode(a) for a in arguments[:2] if isinstance(a, str | bytes | os.PathLike)]
        if paths and paths[0].startswith(prefix):
            deaths.reached(" ".join([event, *(path.removeprefix(prefix) for path in paths)]))

    sys.addaudithook(hook)


def finished_stages(root: Path) -> dict[str, tuple[int, int]]:
    """Which card file each finished stage has: its inode and when it was written."""
    found = ((card, card.stat()) for card in root.rglob(store.CARD) if ".partial-" not in str(card))
    return {str(card): (state.st_ino, state.st_mtime_ns) for card, state in found}


def run_until_whole(path: Path, root: Path, prepare: Callable[[], Heard]) -> int:
    """Run in children that die, until one survives; how many died. No finished stage may ever be made again."""
    chosen, log = recipe.read(path), root.parent / "log.txt"
    for died in range(10_000):
        before = finished_stages(root)
        code = wait(fork(lambda: boost(chosen, root, prepare()), log))
        assert before.items() <= finished_stages(root).items(), "a finished stage was made again"
        if code == 0:
            return died
        assert code == KILLED, log.read_text()
    raise AssertionError("it never comes to an end")
