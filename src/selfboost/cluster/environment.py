"""Environment variables of workers on this machine: they import what this process imports."""

from __future__ import annotations

import os
import site as python_site
import sys
import sysconfig
from pathlib import Path

PASSED_ON = ("HF_HUB_OFFLINE", "TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS", "TOKENIZERS_PARALLELISM")
"""Environment variables that workers have in common with this process."""


def workers_environment() -> dict[str, str]:
    """What workers need to import what this process imports, trusted modules of the user among it."""
    known = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return known | {"PYTHONPATH": os.pathsep.join(_own_path())}


def _own_path() -> list[str]:
    """Where this process looks for modules, other than its interpreter's own folders."""
    paths = sysconfig.get_paths()
    theirs = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    theirs |= {*python_site.getsitepackages(), python_site.getusersitepackages()}
    package = str(Path(__file__).parents[2])
    found = [os.path.abspath(path) for path in [package, *sys.path] if not path.endswith(".zip")]
    return list(dict.fromkeys(path for path in found if not any(_inside(path, folder) for folder in theirs)))


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)
