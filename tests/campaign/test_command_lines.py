"""Random command lines: every command with odd arguments ends with a documented exit code and one clear sentence."""

import argparse
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_values import VALUES
from trial import run_command, told

from fake_recipes import run, write_recipe
from selfboost import cli, recipe

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"))
SECONDS = 60.0
SOME, MANY = 150, 4000
WORDS = (
    *("", " ", "-", "--", "-1", "0", "1", "nan", "x", "pair", "method", "loss", "no such", "a" * 300, "a/" * 3000),
    *(
        "\x1b[31mred\x1b[0m",
        "\u202e\u200b",
        "\U0001f600",
        "\udcff",
        "a\nb",
        "'",
        '"',
        "$(date)",
        "%s%n",
        "{}",
        "*",
        "=",
    ),
    *(
        ".",
        "..",
        "~",
        "~nobody",
        "/dev/null",
        "/dev/zero",
        "/dev/tty",
        "/proc/self/mem",
        "/proc",
        "/usr",
        "/nowhere/at/all",
        "a\tb",
    ),
    *("demo", "synpo", "embedded", "fake", "os", "json", "selfboost", "remote-code", "class", "alpaca_eval", "1" * 40),
)
HERE = ("recipe.toml", "seed.jsonl", "whole", "empty", "pipe", "folder.toml", "judgments.jsonl", "damaged.toml", "loop")
"""Files and folders of the working directory."""
OPTIONS = ("--set", "--trust", "--into", "--json", "--seeds", "--model", "--seed", "--method", "--to", "--benchmark")
OPTIONS += ("--judgments", "--help", "--version", "--no-such", "-h", "-x")
KEYS = ("run.iterations", "model.path", "seed.path", "method.kind", "engine.kind", "scorer", "x", "run", "a.b.c.d", "")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with something of each kind; nothing above it can be hit by `..`."""
    folder = tmp_path_factory.mktemp("place") / "a" / "b"
    path = write_recipe(folder, "seed_sft", run={"iterations": 1}, benchmark={"samples": 1, "greedy": False})
    run(path, folder / "whole")
    (folder / "empty").mkdir()
    (folder / "folder.toml").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "damaged.toml").write_text("[run\n")
    (folder / "judgments.jsonl").write_text('{"generator_2": "a", "preference": 1.5}\n{"preference": null}\n')
    return folder


def commands() -> dict[str, argparse.ArgumentParser]:
    """The commands as the program itself has them."""
    (found,) = (action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def lines(seed: int) -> Iterator[list[str]]:
    """Command lines: about right, and with arguments that are left out, doubled, swapped or made up."""
    chance, known = random.Random(seed), commands()
    words = (*WORDS, *HERE, *recipe.shipped())

    def word() -> str:
        if chance.random() < 0.2:
            return f"{chance.choice(KEYS)}={chance.choice(VALUES)[:100_000]}"
        return chance.choice(HERE) if chance.random() < 0.4 else chance.choice(words)

    while True:
        name = chance.choice([*known])
        line = [name]
        for action in known[name]._actions:
            if action.option_strings and not (action.required or chance.random() < 0.3):
                continue
            chosen = chance.choice(sorted(map(str, action.choices))) if action.choices else word()
            value = word() if chance.random() < 0.1 else chosen
            line += [chance.choice(action.option_strings)] if action.option_strings else []
            line += [value] if action.nargs != 0 else []
        for _ in range(chance.choice((0, 0, 0, 1, 2))):
            line.insert(chance.randrange(len(line) + 1), chance.choice((*OPTIONS, word())))
        if chance.random() < 0.2:
            del line[chance.randrange(len(line))]
        yield line


def faults_of(place: Path, seed: int, count: int, verbs: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for _, line in zip(range(count), lines(seed), strict=False):
        if is_work(line, verbs):
            continue
        if wrong := run_command(line, SECONDS):
            found.append((wrong, line))
    return found


def is_work(line: list[str], verbs: tuple[str, ...]) -> bool:
    """Whether a line does one of these with a shipped recipe, which takes seconds or minutes."""
    return bool(set(verbs) & set(line) and recipe.shipped().keys() & set(line))


def test_some_command_lines(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    faults = faults_of(place, SEED, SOME, ("check", "run"))
    assert not faults, told(faults)


@pytest.mark.slow
def test_many_command_lines(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    faults = faults_of(place, SEED + 1, MANY, ("run",))
    assert not faults, told(faults)


@pytest.mark.parametrize("folder", ["/", "/usr", "/proc", "loop"])
@pytest.mark.parametrize("command", [["show"], ["report"], ["inspect", "pair", "p"]])
def test_a_folder_that_is_no_run_is_refused_at_once(
    command: list[str], folder: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as end:
        cli.main([command[0], folder, *command[1:]])
    assert end.value.code == 2
    assert "is not a run's folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", sorted({*commands()} - {"view"}))  # which serves until it is interrupted
def test_each_command_refuses_odd_words_one_by_one(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    words = [word for word in WORDS if not is_work([command, word], ("check", "run"))]
    faults = [(wrong, [command, word]) for word in words if (wrong := run_command([command, word], SECONDS))]
    assert not faults, told(faults)
