"""What the wheel and the sdist are told to hold; `test_release.py` builds and tries them."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


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
