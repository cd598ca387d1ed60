"""Arguments that several commands share, and what they mean."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfboost.recipe import Recipe

Arguments = argparse.Namespace
Parser = argparse.ArgumentParser
MOST = 100_000
"""GPUs, machines or hours that can be asked for."""
MOST_DIGITS = 18
"""Of a random seed: it must fit 64 bits."""


def folder(text: str) -> Path:
    """A folder's path; an empty one, often an unset variable of a shell, would be this folder.

    Raises:
        ArgumentTypeError: it is empty.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; give a folder's path (this folder is '.')")
    return Path(text)


def count(text: str) -> int:
    """A number of GPUs, machines or hours, from 1.

    Raises:
        ArgumentTypeError: it is not such a number.
    """
    if not text.isdecimal() or len(text) > len(str(MOST)) or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r:.40}: must be a whole number from 1 to {MOST:,}")
    return int(text)


def random_seed(text: str) -> int:
    """The random seed of a run.

    Raises:
        ArgumentTypeError: it is not a whole number from 0.
    """
    if not text.isdecimal() or len(text) > MOST_DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from 0, of at most {MOST_DIGITS} digits")
    return int(text)


def add_recipe(parser: Parser) -> None:
    """The recipe that the command reads."""
    parser.add_argument("recipe", metavar="RECIPE", help="a .toml file or the name of a shipped recipe")


def add_run_folder(parser: Parser) -> None:
    """The folder of a run that exists."""
    parser.add_argument("folder", type=folder, metavar="DIR", help="the run's folder")


def add_iteration(parser: Parser) -> None:
    """`--iteration`: which of a run's models."""
    words = "the model of this iteration; default: best, the run's policy"
    parser.add_argument("--iteration", type=_iteration, default="best", metavar="N", help=words)


def _iteration(text: str) -> str:
    if text != "best" and not (text.isdecimal() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r:.40}: must be an iteration's number, or best")
    return text


def add_gold(parser: Parser) -> None:
    """`--gold`: good answers to held-out prompts."""
    words = "a seed's file with good answers to held-out prompts, shown beside the models' own; may be repeated"
    parser.add_argument("--gold", action="append", type=folder, default=[], metavar="FILE", help=words)


def add_set(parser: Parser) -> None:
    """`--set`: changes of single settings."""
    words = """change one setting, such as training.epochs=2; may be repeated. VALUE is read as TOML (a quoted
    "one\\ntwo" spans two lines); anything that is not TOML is taken literally"""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=words)


def add_trust(parser: Parser) -> None:
    """`--trust`: what the recipe may do besides reading files."""
    words = """let the recipe import this module or package, installed, in this folder or beside the recipe; may be
    repeated. 'remote-code' allows trust_remote_code = true, 'server:HOST' requests to another machine,
    'command:PROGRAM' a program that the recipe starts"""
    parser.add_argument("--trust", action="append", default=[], metavar="NAME", help=words)


def add_json(parser: Parser) -> None:
    """`--json`: output for programs."""
    parser.add_argument("--json", action="store_true", help="one JSON object for programs")


def read_recipe(arguments: Arguments) -> Recipe:
    """The recipe named by the arguments, with their changes; what was noticed is printed.

    Raises:
        ValueError: it does not exist, or something in it is wrong.
    """
    from selfboost import recipe

    path = recipe.find(arguments.recipe)
    return recipe.read(path, arguments.set, lambda said: print(said, file=sys.stderr), trust=arguments.trust)


def check_folder(path: Path) -> None:
    """A run's folder may come from a stranger: nothing in it may block when it is read.

    Raises:
        ValueError: something in it is not a plain file.
    """
    from selfboost.data import files
    from selfboost.loop import FOLDERS
    from selfboost.views.repeats import FOLDER

    files.check_folder(path, (*FOLDERS, FOLDER.format("*")))
