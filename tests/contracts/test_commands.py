"""The parser, the docs and the messages agree on which commands and options there are."""

import argparse
import ast
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfboost import cli

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "selfboost"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
RECIPES = sorted(SOURCE.rglob("*.toml"))
OWN_PARSER = [SOURCE / "cli.py", *(SOURCE / "commands").glob("*.py"), SOURCE / "demo" / "build.py"]
"""Modules that define options."""


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Command → its parser."""
    (action,) = (a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings if option.startswith("--")}


EVERY_OPTION = options(cli.parser()).union(*map(options, parsers().values()))
LLAMA_CPP = {"--outfile", "--host"}
"""Options of other programs that the source starts."""


def in_blocks(text: str) -> list[str]:
    """The selfboost commands that are lines of a fenced block."""
    found = re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL)
    return [line for block in found for line in block.splitlines() if line.startswith("selfboost ")]


def in_sentences(text: str) -> list[str]:
    """The selfboost commands between backticks; a comment of a recipe may break one over two lines."""
    rest = re.sub(r"\n#?\s*", " ", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return re.findall(r"`(selfboost(?: [^`]*)?)`", rest)


def objection(command: str) -> str:
    """What the parser says against a command, or nothing. KIND, COMMAND, CLUSTER, SHELL stand for one there is."""
    stand_for = {"KIND": "method", "COMMAND": "run", "CLUSTER": "slurm", "SHELL": "bash"}
    words = [word.strip("[]") for word in shlex.split(command, comments=True)][1:]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        cli.parser().parse_args([stand_for.get(word, word) for word in words])
    return said.getvalue()


@pytest.mark.parametrize("page", [*PAGES, *RECIPES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_is_written_down_parses(page: Path) -> None:
    for command in in_blocks(page.read_text()):
        assert not objection(command), command
    for command in in_sentences(page.read_text()):  # which may name a command and leave its arguments out
        assert "the following arguments are required" in (said := objection(command)) or not said, command


def test_commands_are_found_where_they_stand() -> None:
    readme = (ROOT / "README.md").read_text()
    assert {line.split()[1] for line in in_blocks(readme)} == set(parsers())
    assert "selfboost check NAME --gpus 8 --gpu-kind H100" in in_sentences(readme)
    assert "unrecognized arguments: --no-such" in objection("selfboost run demo --into runs/x --no-such")
    assert "invalid choice: 'rnu'" in objection("selfboost rnu demo")


def sections() -> dict[str, str]:
    """Command → its section of the page of commands."""
    found = re.split(r"^## selfboost (\w+)\n", (ROOT / "docs" / "commands.md").read_text(), flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def test_the_page_of_commands_has_each_command_in_the_order_of_the_help() -> None:
    assert list(sections()) == list(parsers())


@pytest.mark.parametrize("command", parsers())
def test_the_page_of_commands_has_each_option_and_argument(command: str) -> None:
    text, parser = sections()[command], parsers()[command]
    usage = text.split("`")[1]
    assert usage.startswith(f"selfboost {command}")
    wanted = options(parser) - {"--help"}
    assert set(re.findall(r"--[a-z][\w-]*", usage)) == wanted
    assert wanted <= set(re.findall(r"`(--[a-z][\w-]*)", text.partition("\n\n")[2]))
    places = [action for action in parser._actions if not action.option_strings]
    arguments = [str(action.metavar or next(iter(action.choices or ()))) for action in places]
    assert usage.split()[2 : 2 + len(places)] == arguments


def messages() -> Iterator[tuple[Path, str]]:
    """Every string of the source, docstrings included."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path, node.value


def test_commands_and_options_in_messages_exist() -> None:
    options_found: set[str] = set()
    for path, text in messages():
        named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))
        assert path in OWN_PARSER or named <= EVERY_OPTION | LLAMA_CPP, f"{path}: {text}"
        options_found |= named & EVERY_OPTION if path not in OWN_PARSER else set()
        for command in re.findall(r"[`']selfboost (\w+)", text):
            assert command in parsers(), f"{path}: {text}"
    assert options_found >= {"--into", "--set", "--seed", "--to"}


@pytest.mark.parametrize("command", ["", *parsers()])
def test_help_fits_eighty_columns_and_explains_every_argument(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = parsers()[command] if command else cli.parser()
    assert max(map(len, parser.format_help().splitlines())) <= 80
    assert all(action.help for action in parser._actions if not isinstance(action, argparse._SubParsersAction))
