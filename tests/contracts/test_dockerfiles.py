"""Images cannot be built by a test; that their files name what exists, at the tested versions, can be checked."""

import json
import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line]


def instructions(file: Path) -> list[tuple[str, str]]:
    """(instruction, rest) of each line, comments left out."""
    text = re.sub(r"\\\n", " ", file.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2]) for line in lines]


def given(file: Path, wanted: str) -> list[str]:
    return [rest for name, rest in instructions(file) if name == wanted]


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert [file.stem for file in FILES] == ["cpu", "cuda"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_its_versions_are_the_tested_ones(file: Path) -> None:
    arguments = dict(argument.split("=", 1) for argument in given(file, "ARG"))
    (pinned,) = re.findall(r"^TORCH \?= (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    with_vllm = "vllm" in arguments["EXTRAS"].split(",")  # which pins a release of PyTorch itself
    assert arguments["TORCH"] == ("torch==2.14.0" if with_vllm else pinned)
    assert set(arguments["EXTRAS"].split(",")) <= PROJECT["optional-dependencies"].keys()
    (base,) = given(file, "FROM")
    version = base.removeprefix("python:").removesuffix("-slim")
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_all_that_it_copies_is_there_and_reaches_the_builder(file: Path) -> None:
    kept = [pattern[1:] for pattern in IGNORED if pattern.startswith("!")]
    for copied in given(file, "COPY"):
        for source in shlex.split(copied)[:-1]:
            assert (ROOT / source).exists(), source
            assert any(fnmatch(source, pattern) for pattern in kept), f".dockerignore keeps {source} away"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_starts_the_command_as_nobody_special(file: Path) -> None:
    (entry,) = given(file, "ENTRYPOINT")
    assert json.loads(entry) == [next(iter(PROJECT["scripts"]))]
    (user,) = given(file, "USER")
    assert f"useradd --create-home --uid 1000 {user}" in file.read_text()
    order = [name for name, _ in instructions(file)]
    assert order.index("USER") > max(at for at, name in enumerate(order) if name == "RUN")
