"""Builds the wheel and the sdist of a source tree, checks them, and tries the wheel in an empty environment.

Nothing is downloaded: the build backend and the libraries are those of the environment that this runs in.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

from packaging.metadata import Metadata

TREE = ("src", "pyproject.toml", "README.md", "LICENSE")
"""What packages are made of."""
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_{}(sys.argv[1]))"


def copied_tree(root: Path, into: Path) -> Path:
    """What packages are made of, in a folder of its own, without what earlier builds left."""
    into.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in TREE:
        if (root / name).is_dir():
            shutil.copytree(root / name, into / name, ignore=unwanted)
        else:
            shutil.copy(root / name, into / name)
    return into


def build(kind: str, tree: Path, into: Path) -> Path:
    """A `wheel` or an `sdist` of a source tree, by its own build backend."""
    command = [sys.executable, "-c", BUILD.format(kind), str(into)]
    ran = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True, timeout=300)
    return into / ran.stdout.splitlines()[-1]


def check(wheel: Path, sdist: Path, version: str, scratch: Path) -> None:
    """Check that a wheel's metadata are valid and of this version, and that the sdist makes the same wheel.

    Raises:
        ValueError: they are not, or it does not.
    """
    with zipfile.ZipFile(wheel) as archive:
        (card,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        try:
            found = Metadata.from_email(archive.read(card), validate=True)
        except ExceptionGroup as errors:
            raise ValueError(f"{wheel.name}: {'; '.join(map(str, errors.exceptions))}") from errors
    if (found.name, str(found.version)) != ("selfboost", version) or not found.description:
        raise ValueError(f"{wheel.name}: is {found.name} {found.version}, or has no description")
    with tarfile.open(sdist) as archive:
        archive.extractall(scratch / "unpacked", filter="data")
    (unpacked,) = (scratch / "unpacked").iterdir()
    (scratch / "second").mkdir()
    files = [sorted(zipfile.ZipFile(each).namelist()) for each in (wheel, build("wheel", unpacked, scratch / "second"))]
    if files[0] != files[1]:
        raise ValueError(f"{sdist.name}: makes a wheel with other files: {set(files[0]) ^ set(files[1])}")


def installed(wheel: Path, into: Path) -> Path:
    """An environment with the wheel, and behind it the libraries of this one; its folder of programs."""
    venv.create(into, with_pip=False)
    programs = into / ("Scripts" if sys.platform == "win32" else "bin")
    python = str(programs / "python")
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(command, capture_output=True, check=True, timeout=300)
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = Path(subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.strip())
    (own / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return programs


def run_smoke(wheel: Path, scratch: Path) -> Path:
    """The folder of a run of the recipe `smoke` by the wheel, and by nothing else of selfboost.

    Raises:
        ValueError: another selfboost was imported, or the run wrote no report.
    """
    programs = installed(wheel, scratch / "environment")
    where = [str(programs / "python"), "-c", "import selfboost; print(selfboost.__file__)"]
    asked = subprocess.run(where, capture_output=True, text=True, check=True, timeout=60, cwd=scratch, env={})
    if not Path(asked.stdout.strip()).is_relative_to(scratch / "environment"):
        raise ValueError(f"{wheel.name}: its environment imports {asked.stdout.strip()}")
    run = scratch / "run"
    command = [str(programs / "selfboost"), "run", "smoke", "--into", str(run)]
    subprocess.run(command, cwd=scratch, check=True, timeout=900, env={"OMP_NUM_THREADS": "1"})
    if not (run / "report.html").is_file():
        raise ValueError(f"{wheel.name}: its run of `smoke` wrote no report")
    return run
