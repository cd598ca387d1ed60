"""The wheel and the sdist hold all that a run needs: installed into an empty environment, `selfboost run smoke` works.

The libraries are those of the environment that tests; nothing is downloaded.
"""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREE = ("src", "pyproject.toml", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_{}(sys.argv[1]))"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def build(kind: str, tree: Path, into: Path) -> Path:
    """A wheel or an sdist of a source tree, by its own build backend."""
    command = [sys.executable, "-c", BUILD.format(kind), str(into)]
    ran = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True, timeout=300)
    return into / ran.stdout.splitlines()[-1]


def copied_tree(into: Path) -> Path:
    """What a wheel is made of, without what earlier builds left."""
    into.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in TREE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, into / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, into / name)
    return into


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


@pytest.mark.slow
def test_an_installed_wheel_runs_and_an_sdist_makes_the_same_wheel(tmp_path: Path) -> None:
    wheel = build("wheel", copied_tree(tmp_path / "tree"), tmp_path)
    sdist = build("sdist", copied_tree(tmp_path / "again"), tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (tmp_path / "second").mkdir()
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    other = build("wheel", unpacked, tmp_path / "second")
    assert sorted(zipfile.ZipFile(wheel).namelist()) == sorted(zipfile.ZipFile(other).namelist())
    programs = installed(wheel, tmp_path / "environment")
    where = [str(programs / "python"), "-c", "import selfboost; print(selfboost.__file__)"]
    asked = subprocess.run(where, capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path, env={})
    assert Path(asked.stdout.strip()).is_relative_to(tmp_path / "environment")
    run = [str(programs / "selfboost"), "run", "smoke", "--into", str(tmp_path / "run")]
    subprocess.run(run, cwd=tmp_path, check=True, timeout=900, env={"OMP_NUM_THREADS": "1"})
    assert (tmp_path / "run" / "report.html").stat().st_size > 100_000


def test_every_file_of_the_package_that_is_no_code_is_named_in_its_data() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["selfboost"]
    folder = ROOT / "src" / "selfboost"
    packed = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    files = {p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert files - packed == set()


def test_the_extra_all_holds_every_other_that_a_run_can_need() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    named = {name for line in extras["all"] for name in line.partition("[")[2].partition("]")[0].split(",")}
    assert named == extras.keys() - {"all", "test", "dev", "docs", "tensorboard", "trackio", "wandb", "mlflow"}
