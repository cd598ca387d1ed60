"""What differs between systems lies in one module, and does here what the others rely on."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from selfboost import system

SOURCE = Path(system.__file__).parents[1]


def importers(*names: str) -> set[str]:
    """The modules of the source that import one of these."""
    line = re.compile(rf"^\s*(?:import|from) (?:{'|'.join(names)})\b", re.MULTILINE)
    return {
        p.relative_to(SOURCE).as_posix() for p in SOURCE.rglob("*.py") if line.search(p.read_text(encoding="utf-8"))
    }


def test_no_other_module_imports_what_some_systems_lack() -> None:
    assert importers("fcntl", "msvcrt", "psutil", "termios", "pwd", "grp") == {"system/__init__.py"}
    assert importers("resource") == {"system/__init__.py", "limits/__init__.py"}  # the second on Linux alone


def test_a_locked_file_is_refused_to_others(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT | system.OWN) for _ in range(2))
    system.lock_file(first)
    with pytest.raises(BlockingIOError):
        system.lock_file(second)
    os.close(first)
    system.lock_file(second)
    os.close(second)


def test_processes_and_memory_are_those_of_this_machine() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert system.is_running(os.getpid())
    assert not system.is_running(ended.pid)
    assert not system.is_running(1 << 70)
    assert 1 << 20 < system.peak_memory() < system.total_memory()
