"""The constraints files say what pyproject.toml promises: lower bounds are tested, and the default set is allowed."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OWN, TORCH = "selfboost", "torch"


def requirements(*extras: str) -> dict[str, Requirement]:
    """What the project and these extras need, by name."""
    found = [
        Requirement(line) for line in [*PROJECT["dependencies"], *(line for name in extras for line in EXTRAS[name])]
    ]
    return {canonicalize_name(need.name): need for need in found if need.name != OWN}


def pins(name: str) -> dict[str, Version]:
    """Releases that a constraints file pins."""
    lines = (ROOT / "constraints" / name).read_text().splitlines()
    pinned = [re.fullmatch(r"([\w.-]+)==([\w.+!-]+)", line) for line in lines if line and not line.startswith("#")]
    assert all(pinned), lines
    return {canonicalize_name(found[1]): Version(found[2]) for found in pinned if found}


def torch_pin() -> Version:
    found = re.search(r"^TORCH \?= torch==(\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found
    return Version(found[1])


def test_lower_bounds_are_what_the_oldest_set_holds() -> None:
    oldest = pins("oldest.txt") | {TORCH: torch_pin()}
    for name, need in requirements("test").items():
        (bound,) = [Version(part.version) for part in need.specifier if part.operator == ">="]
        assert oldest[name] == bound, name
    assert all(oldest[name] in need.specifier for name, need in requirements("hub", "lora").items())


def test_the_tested_set_is_complete_and_allowed() -> None:
    tested = pins("tested.txt") | {TORCH: torch_pin()}
    for name, need in requirements("test", "dev", "docs", "hub", "lora").items():
        assert tested[name] in need.specifier, name


@pytest.mark.parametrize("name", ["oldest.txt", "tested.txt"])
def test_pytorch_is_pinned_in_the_makefile_alone(name: str) -> None:
    """A pin here would replace the build that TORCH asks for."""
    assert TORCH not in pins(name)
