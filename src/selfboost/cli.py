"""The command line: parses arguments, hands over, turns errors into one sentence. Nothing is decided here."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import shlex
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from selfboost import plugins

if TYPE_CHECKING:
    from selfboost.recipe import Recipe

Arguments = argparse.Namespace
Handler = Callable[[Arguments], None]
Add = Callable[[str, Handler, str], argparse.ArgumentParser]
"""Adds a command: its name, what it does, its description."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0 success, 2 an error the user can fix, 1 a failure, 130 interrupted."""
    # Silence the libraries: selfboost itself reports, once, what a user must know.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    parsed = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    # The user's own components, `kind = "mine:Mine"`: in the working directory, or beside the recipe.
    sys.path += [os.getcwd(), str(Path(getattr(parsed, "recipe", "")).resolve().parent)]
    from selfboost.train.devices.launched import launched  # imported here: `--help` does not need it

    if launched():
        from selfboost.train.devices.parallel import join_launched

        if not join_launched():
            sys.exit(0)
    try:
        parsed.command(parsed)
    except KeyboardInterrupt:
        _stop(130, "interrupted; rerun the same command to resume")
    except BrokenPipeError:
        os._exit(0)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _stop(
                1, f"the disk is full ({error.filename or 'while writing'}); free some space and rerun the same command"
            )
        _stop(2, f"{error.filename or 'while reading or writing'}: {error.strerror or error}")
    except (ValueError, FloatingPointError) as error:
        _stop(2, str(error))
    sys.exit(0)


def _stop(code: int, sentence: str) -> NoReturn:
    print(f"selfboost: {sentence}", file=sys.stderr)
    sys.exit(code)


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


class _Version(argparse.Action):
    """Prints the installed version, which is looked up only on request."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"selfboost {version('selfboost')}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """All commands and their options; docs/commands.md describes each."""
    made = argparse.ArgumentParser(prog="selfboost", description="A language model improves itself.")
    made.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    made.set_defaults(command=_help)
    commands = made.add_subparsers(metavar="COMMAND")

    def add(name: str, handler: Handler, words: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
        command.set_defaults(command=handler)
        return command

    _add_recipe_commands(add)
    _add_folder_commands(add)
    add("list", _list, "list recipes, methods, losses, engines, trainers, scorers and benchmarks")
    return made


def _add_recipe_commands(add: Add) -> None:
    """Commands that write, check and run a recipe."""
    init = add("init", _init, "write a complete, commented recipe for your own model and seed")
    init.add_argument("folder", type=Path, metavar="DIR", help="folder to write recipe.toml to")
    init.add_argument("--model", required=True, help="a transformers folder or hub name, or 'embedded'")
    init.add_argument("--seed", required=True, help="JSONL or Parquet of prompts with answers, or 'embedded'")
    init.add_argument("--method", default="synpo", metavar="NAME", help="see 'selfboost list'; default: synpo")
    new = add("new", _new, "write a starter for a component of your own, and a recipe that runs it")
    new.add_argument("kind", choices=tuple(plugins.FOLDERS), metavar="KIND", help=", ".join(plugins.FOLDERS))
    new.add_argument("name", metavar="NAME", help="its name: writes NAME.py and NAME.toml")
    new.add_argument("--to", type=Path, default=Path(), metavar="DIR", help="folder to write to; default: this one")
    check = add("check", _check, "check a recipe without running it, and print its plan")
    run = add("run", _run, "run a recipe, or resume a stopped run")
    run.add_argument("--into", type=Path, required=True, metavar="DIR", help="the run's folder")
    for each in (check, run):
        each.add_argument("recipe", metavar="RECIPE", help="a .toml file or the name of a shipped recipe")
        words = """change one setting, such as training.epochs=2; may be repeated. VALUE is read as TOML (a quoted
        "one\\ntwo" spans two lines); anything that is not TOML is taken literally"""
        each.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=words)


def _add_folder_commands(add: Add) -> None:
    """Commands that read a run's folder."""
    show = add("show", _show, "show a run's results so far")
    report = add("report", _report, "write DIR/report.html, one self-contained page")
    inspect = add("inspect", _inspect, "show one preference pair: its origin, scores and tokens")
    for each in (show, report, inspect):
        each.add_argument("folder", type=Path, metavar="DIR", help="the run's folder")
    show.add_argument("--json", action="store_true", help="one JSON object for programs")
    inspect.add_argument("what", choices=["pair"], help="what to show")
    inspect.add_argument("id", metavar="ID", help="the pair's id, or its beginning")


def _help(_arguments: Arguments) -> None:
    parser().print_help()


def _read(arguments: Arguments) -> Recipe:
    from selfboost import recipe

    return recipe.read(recipe.find(arguments.recipe), arguments.set, lambda said: print(said, file=sys.stderr))


def _run(arguments: Arguments) -> None:
    from selfboost.loop import boost
    from selfboost.report import write_report
    from selfboost.views.table import print_summary
    from selfboost.views.terminal import Terminal

    chosen = _read(arguments)
    _check_folder(arguments.into)
    with Terminal() as terminal:
        boost(chosen, arguments.into, terminal)
    print_summary(arguments.into)
    print(f"Report: {write_report(arguments.into)}")


def _check(arguments: Arguments) -> None:
    from selfboost.plan import plan
    from selfboost.plan.text import show_plan

    show_plan(plan(_read(arguments)))


def _init(arguments: Arguments) -> None:
    from selfboost.new_recipe import write_new_recipe

    path = write_new_recipe(arguments.folder, arguments.model, arguments.seed, arguments.method)
    print(f"Wrote {path} with every setting explained.\n\nNext:")
    print(f"  selfboost check {shlex.quote(str(path))}")
    print(f"  selfboost run {shlex.quote(str(path))} --into {shlex.quote(str(path.parent / 'out'))}")


def _new(arguments: Arguments) -> None:
    from selfboost.new_component import write_new_component

    code, recipe = write_new_component(arguments.kind, arguments.name, arguments.to)
    print(f"Wrote {code}, a working {arguments.kind} to build on.")
    print(f"Wrote {recipe}, a small recipe that runs it.\n\nNext:")
    print(f"  selfboost run {shlex.quote(str(recipe))} --into {shlex.quote(str(Path('runs') / arguments.name))}")


def _check_folder(folder: Path) -> None:
    """A run's folder may come from a stranger: nothing in it may block when it is read."""
    from selfboost.data.files import check_folder

    check_folder(folder)


def _show(arguments: Arguments) -> None:
    from selfboost.views.summary import as_json, summary
    from selfboost.views.table import print_summary

    _check_folder(arguments.folder)
    if arguments.json:
        print(json.dumps(as_json(summary(arguments.folder)), indent=1, ensure_ascii=False))
    else:
        print_summary(arguments.folder)


def _report(arguments: Arguments) -> None:
    from selfboost.report import write_report

    _check_folder(arguments.folder)
    print(write_report(arguments.folder))


def _list(_arguments: Arguments) -> None:
    from selfboost import recipe

    print("recipes")
    for name, path in recipe.shipped().items():
        print(_listed(name, _first_sentence(path.read_text(encoding="utf-8"))))
    for role, folder in plugins.FOLDERS.items():
        print(f"{role}s  ({folder}/)" if role != "loss" else f"losses  ({folder}/)")
        for kind, words in plugins.kinds(role).items():
            print(_listed(kind, words))


def _first_sentence(recipe: str) -> str:
    """The first sentence of the comment that a recipe begins with."""
    comment = re.match(r"(?:#.*\S.*\n?)*", recipe)
    assert comment is not None, "it may be empty"
    words = " ".join(line.lstrip("# ") for line in comment[0].splitlines())
    return re.split(r"(?<=[.!?])\s", words, maxsplit=1)[0]


def _listed(name: str, words: str) -> str:
    """A name and, beside it, its description, as wide as the terminal."""
    columns = shutil.get_terminal_size().columns
    begin, beside = f"  {name:<26} ", " " * 29
    return textwrap.fill(
        words, columns, initial_indent=begin, subsequent_indent=beside, break_long_words=False, break_on_hyphens=False
    )


def _inspect(arguments: Arguments) -> None:
    from selfboost.views.pair_view import print_pair

    _check_folder(arguments.folder)
    print_pair(arguments.folder, arguments.id)


if __name__ == "__main__":
    main()
