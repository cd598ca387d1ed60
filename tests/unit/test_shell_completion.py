"""Completion, asked as a shell asks."""

import shlex
import shutil
import subprocess

import pytest

from selfboost import cli, recipe
from selfboost.views.shell_completion import SHELLS, commands_of, completion

COMMANDS = commands_of(cli.parser())


def offered(*lines: str) -> list[list[str]]:
    """What bash offers for the last word of each line."""
    script = completion(cli.parser(), "bash")
    for line in lines:
        words = [*shlex.split(line), *([""] if line.endswith(" ") else [])]
        script += f"\nCOMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _selfboost; echo ${{COMPREPLY[*]}}"
    ran = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, timeout=20)
    assert not ran.stderr
    return [line.split() for line in ran.stdout.splitlines()]


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_bash_offers_commands_options_choices_and_recipes() -> None:
    first, ru, run, kinds, into, dashes = offered(
        "selfboost ",
        "selfboost ru",
        "selfboost run ",
        "selfboost new ",
        "selfboost run demo --into ",
        "selfboost report --",
    )
    assert first == list(COMMANDS)
    assert ru == ["run"]
    assert set(run) >= {*recipe.shipped(), "--into", "--set"}
    assert {"method", "loss"} <= set(kinds)
    assert into == []  # and so files
    assert set(dashes) == {option.flag for option in COMMANDS["report"].options}


def test_fish_has_a_line_for_each_command_and_option() -> None:
    lines = completion(cli.parser(), "fish").splitlines()
    assert len(lines) == sum(1 + bool(each.places) + len(each.options) for each in COMMANDS.values())
    for line in lines:
        assert shlex.split(line.replace("\\'", ""))[:3] == ["complete", "-c", "selfboost"]


def test_each_shell_has_a_script_and_others_are_refused() -> None:
    assert completion(cli.parser(), "zsh").startswith("#compdef selfboost\n")
    assert len({completion(cli.parser(), shell) for shell in SHELLS}) == len(SHELLS)
    with pytest.raises(ValueError, match="'ksh': no completion for this shell; allowed: bash, zsh, fish"):
        completion(cli.parser(), "ksh")
