"""Completion for bash, zsh and fish, made from the parser: commands, their options, their choices, shipped recipes."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from selfboost import recipe

Shell = Literal["bash", "zsh", "fish"]
RECIPE = "RECIPE"
"""The placeholder of an argument that is a recipe."""
BASH = """\
_selfboost() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words={commands}
    else
        case "${{COMP_WORDS[1]}} $previous" in
{values}
        *) case "${{COMP_WORDS[1]}}" in
{options}
        esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _selfboost selfboost
"""
ZSH = """\
#compdef selfboost
_selfboost() {{
    local -a found
    if (( CURRENT == 2 )); then
        found=({commands})
    else
        case "$words[2] $words[CURRENT-1]" in
{values}
        *) case "$words[2]" in
{options}
        esac ;;
        esac
    fi
    (( $#found )) && _describe selfboost found || _files
}}
if [[ "$funcstack[1]" == _selfboost ]]; then _selfboost "$@"; else compdef _selfboost selfboost; fi
"""
"""A file of zsh's `fpath` is the function itself, called at once; one that is sourced only defines it."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a command."""

    flag: str
    takes: bool
    """Whether a value follows."""
    choices: Sequence[str]
    words: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command, and what may follow it."""

    words: str
    options: Sequence[Option]
    places: Sequence[str]
    """What its arguments can be, where that is known."""


def completion(parser: argparse.ArgumentParser, shell: Shell) -> str:
    """The script for a shell."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands_of(parser))


def commands_of(parser: argparse.ArgumentParser) -> dict[str, Command]:
    """Command → what may follow it."""
    found: dict[str, Command] = {}
    for name, each in _parsers(parser).items():
        actions = _actions(each)
        places = [word for action in actions if not action.option_strings for word in _known(action)]
        options = [_option(flag, action) for action in actions for flag in action.option_strings if flag[:2] == "--"]
        found[name] = Command(words=each.description or "", options=options, places=places)
    return found


def _parsers(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    group = next(action for action in _actions(parser) if action.nargs == argparse.PARSER)
    return cast("Mapping[str, argparse.ArgumentParser]", group.choices)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # pyright: ignore[reportPrivateUsage]  # argparse has no public way to ask


def _known(action: argparse.Action) -> Sequence[str]:
    return list(recipe.shipped()) if action.metavar == RECIPE else [str(choice) for choice in action.choices or ()]


def _option(flag: str, action: argparse.Action) -> Option:
    choices = [str(choice) for choice in action.choices or ()]
    return Option(flag=flag, takes=action.nargs != 0, choices=choices, words=action.help or "")


def _bash(commands: Mapping[str, Command]) -> str:
    values: list[str] = []
    for name, command in commands.items():
        for option in command.options:
            if option.takes:  # where no choices are known, files are offered
                values.append(f"        {shlex.quote(f'{name} {option.flag}')}) words={_quoted(option.choices)} ;;")
    options = [
        f"        {name}) words={_quoted([*command.places, *(option.flag for option in command.options)])} ;;"
        for name, command in commands.items()
    ]
    return BASH.format(commands=_quoted(list(commands)), values="\n".join(values), options="\n".join(options))


def _zsh(commands: Mapping[str, Command]) -> str:
    values: list[str] = []
    options: list[str] = []
    for name, command in commands.items():
        for option in command.options:
            if option.takes:
                values.append(
                    f"        {shlex.quote(f'{name} {option.flag}')}) found=({shlex.join(option.choices)}) ;;"
                )
        words = [*command.places, *(_described(option.flag, option.words) for option in command.options)]
        options.append(f"        {name}) found=({shlex.join(words)}) ;;")
    first = shlex.join(_described(name, command.words) for name, command in commands.items())
    return ZSH.format(commands=first, values="\n".join(values), options="\n".join(options))


def _described(word: str, words: str) -> str:
    """A word with its description, as `_describe` reads it."""
    return f"{word}:{' '.join(words.split())}"


def _quoted(words: Sequence[str]) -> str:
    return shlex.quote(" ".join(words))


def _fish(commands: Mapping[str, Command]) -> str:
    lines: list[str] = []
    for name, command in commands.items():
        lines.append(f"complete -c selfboost -n __fish_use_subcommand -f -a {name} -d {_said(command.words)}")
        after = f"complete -c selfboost -n '__fish_seen_subcommand_from {name}'"
        lines += [f"{after} -a {_quoted(command.places)}"] if command.places else []
        for option in command.options:
            value = f" -x -a {_quoted(option.choices)}" if option.choices else " -r" if option.takes else ""
            lines.append(f"{after} -l {option.flag[2:]}{value} -d {_said(option.words)}")
    return "\n".join(lines) + "\n"


def _said(words: str) -> str:
    """A description in fish's quotes."""
    text = " ".join(words.split()).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
