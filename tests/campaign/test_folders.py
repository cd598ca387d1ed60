"""Damaged run folders: every command that reads or resumes one ends with success or one sentence."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from trial import run_command, told

from fake_recipes import run, write_recipe

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"))
SOME = 12
SECONDS = 30.0
DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "null": lambda file: file.write_text("null\n"),
    "list": lambda file: file.write_text("[]\n"),
    "object": lambda file: file.write_text("{}\n"),
    "number": lambda file: file.write_text("1\n"),
    "deep": lambda file: file.write_text("[" * 100_000),
    "long number": lambda file: file.write_text("9" * 9999),
    "binary": lambda file: file.write_bytes(bytes(range(256)) * 4),
    "null characters": lambda file: file.write_bytes(b"\0" * 4096),
    "nulls": lambda file: file.write_text(file.read_text().replace(": 1", ": null").replace(': "', ': null, "x": "')),
    "not finite": lambda file: file.write_text(file.read_text().replace(": 0.", ': Infinity, "y": 0.')),
    "twice": lambda file: file.write_bytes(file.read_bytes() * 2),
    "gone": lambda file: file.unlink(),
    "folder": lambda file: (file.unlink(), file.mkdir()),
    "pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "dangling link": lambda file: (file.unlink(), file.symlink_to("nowhere")),
    "link to itself": lambda file: (file.unlink(), file.symlink_to(file)),
    "unending": lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe and its finished run."""
    folder = tmp_path_factory.mktemp("folders")
    path = write_recipe(folder, "spin", run={"iterations": 1}, benchmark={"samples": 1, "greedy": False})
    run(path, folder / "run")
    return path, folder / "run"


def faults_of(whole: tuple[Path, Path], tmp_path: Path, first: int, last: int | None) -> list[tuple[str, list[str]]]:
    path, root = whole
    files = sorted(file.relative_to(root) for file in root.rglob("*") if file.is_file())
    found = [(file, damage) for file in files for damage in DAMAGES]
    random.Random(SEED).shuffle(found)
    faults: list[tuple[str, list[str]]] = []
    for file, damage in found[first:last]:
        commands = (["show"], ["show", "--json"], ["report"], ["inspect", "pair", "p"], ["run", str(path), "--into"])
        for command in commands:
            copy = tmp_path / "copy"
            shutil.copytree(root, copy, symlinks=True)
            try:
                DAMAGES[damage](copy / file)
            except UnicodeDecodeError:
                continue  # no text to change
            line = [command[0], str(copy), *command[1:]] if command[0] != "run" else [*command, str(copy)]
            if wrong := run_command(line, SECONDS):
                faults.append((f"{file}: {damage}: {wrong}", line))
            shutil.rmtree(copy)
    return faults


def test_some_damages(whole: tuple[Path, Path], tmp_path: Path) -> None:
    faults = faults_of(whole, tmp_path, 0, SOME)
    assert not faults, told(faults)


@pytest.mark.slow
def test_all_damages(whole: tuple[Path, Path], tmp_path: Path) -> None:
    faults = faults_of(whole, tmp_path, SOME, None)
    assert not faults, told(faults)
