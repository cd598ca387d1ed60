"""Completion, asked as a shell asks."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from selfboost import cli, recipe
from selfboost.views.shell_completion import commands_of, completion

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


START = {
    "bash": 'source ./selfboost.bash; selfboost() { echo "[[$*]]"; }; selfboost ready',
    "zsh": 'fpath+=($PWD/zfunc); autoload -U compinit; compinit -u -D; selfboost() { echo "[[$*]]" }; selfboost ready',
    "sourced zsh": "autoload -U compinit; compinit -u -D; source ./zfunc/_selfboost; "
    'selfboost() { echo "[[$*]]" }; selfboost ready',
    "fish": 'function selfboost; echo "[[$argv]]"; end; selfboost ready',
}
"""How a shell gets the script, by its name: as docs/commands.md says; `selfboost` prints what it is given."""
SHELLS = {"bash": ["bash", "--norc", "-i"], "zsh": ["zsh", "-f", "-i"], "fish": ["fish", "-i"]}
TYPED = {
    "selfboost ru\t": "run",
    "selfboost run smo\t": "run smoke",
    "selfboost report --go\t": "report --gold",
    "selfboost launch sl\t": "launch slurm",
    "selfboost run smoke --into fold\t": "run smoke --into folder",
    "selfboost run reci\t": "run recipe.toml",
}


@pytest.mark.parametrize("kind", START)
def test_a_tab_completes_what_is_typed(kind: str, tmp_path: Path) -> None:
    shell = kind.split()[-1]
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} on this machine")
    pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    from typed_lines import typed

    fish = tmp_path / "config" / "fish" / "completions" / "selfboost.fish"
    for path in (tmp_path / "selfboost.bash", tmp_path / "zfunc" / "_selfboost", fish):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(completion(cli.parser(), "fish" if path == fish else "zsh" if path.suffix == "" else "bash"))
    (tmp_path / "recipe.toml").touch()
    (tmp_path / "folder").mkdir()
    own = {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "TERM": "dumb",
        "PATH": os.environ["PATH"],
    }
    found = typed(SHELLS[shell], START[kind], list(TYPED), tmp_path, own | {"PATH": os.environ["PATH"]})
    assert [each.rstrip("/") for each in found] == list(TYPED.values())


def test_other_shells_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["completion", "ksh"])
    assert "invalid choice: 'ksh' (choose from" in capsys.readouterr().err
