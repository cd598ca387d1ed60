"""What differs between systems lies in one module, and does here what the others rely on."""

import ast
import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from selfboost import system

SOURCE = Path(system.__file__).parents[1]


LACKED = re.compile(
    r"\bos\.(fork|forkpty|killpg|getpgrp|setsid|nice|posix_\w+|sched_\w+|sysconf|uname|get(e?uid|e?gid|loadavg)|mkfifo|"
    r"O_(NOFOLLOW|NONBLOCK|DIRECTORY|CLOEXEC|BINARY))|\bsignal\.(SIGKILL|SIGALRM|SIGHUP|SIGUSR\d|setitimer|ITIMER_\w+)|"
    r"^\s*(import|from) (fcntl|resource|termios|pty|pwd|grp|msvcrt|psutil)\b|/proc/",
    re.MULTILINE,
)
"""What Windows or macOS lack, or only Windows has."""
GUARDED = {
    "system/__init__.py": "where it belongs",
    "limits/__init__.py": "alarms, asked for by system.ALARMS",
    "limits/worker.py": "likewise",
    "endpoints/launching.py": "refused where there is no os.killpg",
    "endpoints/watcher.py": "a program of its own, started by launching alone",
    "results/environment.py": "files that may be missing",
}


def sources() -> dict[str, str]:
    """Module → its text."""
    return {path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}


def test_what_some_systems_lack_is_used_in_one_module_or_guarded() -> None:
    assert {name for name, text in sources().items() if LACKED.search(text)} == GUARDED.keys()


def test_files_are_read_and_written_in_a_named_encoding() -> None:
    """Windows' own is another in every country."""
    missing: list[str] = []
    for name, text in sources().items():
        for call in filter(lambda node: isinstance(node, ast.Call), ast.walk(ast.parse(text))):
            written = ast.unparse(call)
            names_file = re.match(r"(.*\.)?(read_text|write_text)\(|open\(", written)
            binary = re.search(r"""['"][rwax+]*b[rwax+]*['"]""", written)
            if names_file and "encoding=" not in written and not binary and "os.devnull" not in written:
                missing.append(f"{name}: {written}")
    assert not missing


def test_paths_that_are_stored_have_slashes() -> None:
    """A folder that moves to another system stays readable; what is printed may look as it likes."""
    assert [name for name, text in sources().items() if re.search(r"\bstr\([^()]*\.relative_to\(", text)] == []


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


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, 0),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0),
        ({"cpu.max": "nonsense"}, 0),
        ({}, 0),
    ],
)
def test_a_containers_quota_is_a_number_of_cores(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    assert system.cpu_quota(str(tmp_path)) == cores


def test_memory_of_started_processes_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfboost.system._Seen.peak", 0)  # or what earlier tests started would count
    size = 100 << 20
    code = f"held = bytearray(b'x') * {size}; del held; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        seen = system.peak_memory_of_all()
        counted = seen - system.peak_memory()
        other.communicate(b"\n")
    assert system.peak_memory_of_all() >= seen  # it has ended, and still counts
    if sys.platform != "darwin":  # which does not tell another process's peak
        assert counted > size


HEAP = """
import psutil
from selfboost.system import give_back_freed_memory

def held():
    return psutil.Process().memory_info().rss

pieces = [b"x" * 60_000 for _ in range(2_000)]
last = b"x" * 60_000  # behind them in the heap, whose end cannot be given back
pieces.clear()
before = held()
give_back_freed_memory()
print(before - held())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_freed_memory_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", HEAP], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100_000_000


def test_a_c_library_that_cannot_give_memory_back_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[object]()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: asked.append(name) or object())
    system.give_back_freed_memory()
    assert asked == ([None] if sys.platform == "linux" else [])
