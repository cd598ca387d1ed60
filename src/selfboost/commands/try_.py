"""`selfboost try`: one iteration on a few prompts, with samples and faults, before a run is paid for."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from selfboost.commands.arguments import Arguments, Parser, add_recipe, add_set, add_trust, folder, read_recipe

DESCRIPTION = "try a recipe on a few prompts, and show samples and faults of each stage"
MOST = 1000
"""Prompts of a trial."""


def add_arguments(parser: Parser) -> None:
    """The recipe, and how small the trial is."""
    add_recipe(parser)
    parser.add_argument("--prompts", type=_prompts, default=10, metavar="N", help="prompts to try; default: 10")
    words = "keep the trial in this new folder; default: a temporary one, deleted at the end"
    parser.add_argument("--into", type=folder, metavar="DIR", help=words)
    add_set(parser)
    add_trust(parser)


def execute(arguments: Arguments) -> None:
    """Try it, and print what came out.

    Raises:
        ValueError: the recipe is wrong, or a run of it would stop.
    """
    from selfboost.face.before import try_recipe
    from selfboost.trial.text import show_trial
    from selfboost.views.terminal import Terminal

    recipe = read_recipe(arguments)
    with Terminal() as terminal:
        trial = try_recipe(recipe, arguments.into, prompts=arguments.prompts, listener=terminal)
    faulty = show_trial(trial, arguments.recipe, _next(arguments), _again(arguments))
    if trial.error:
        raise ValueError(f"{trial.error}; first look at the faults above" if faulty else trial.error)


def _prompts(text: str) -> int:
    if not text.isdecimal() or len(text) > len(str(MOST)) or not 2 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r:.40}: must be a whole number from 2 to {MOST:,}")
    return int(text)


def _next(arguments: Arguments) -> str:
    own = Path(arguments.recipe)
    into = own.parent / "out" if own.suffix == ".toml" else Path("runs") / own
    return f"selfboost run {shlex.quote(arguments.recipe)} --into {shlex.quote(str(into))}{_changes(arguments)}"


def _again(arguments: Arguments) -> str:
    return f"selfboost try {shlex.quote(arguments.recipe)}{_changes(arguments)}"


def _changes(arguments: Arguments) -> str:
    given = [("--set", value) for value in arguments.set] + [("--trust", name) for name in arguments.trust]
    return "".join(f" {option} {shlex.quote(value)}" for option, value in given)
