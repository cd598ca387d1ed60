"""The command line: parses arguments, hands over, turns errors into one sentence. Nothing is decided here."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import shutil
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

Arguments = argparse.Namespace


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0 done, 2 something the user can mend, 1 a failure, 130 stopped by Ctrl-C."""
    # Quiet libraries: what a user must know is said by us, once.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    parsed = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    sys.path.append(os.getcwd())  # components of the user's own, `kind = "mine:Mine"`, beside where they work
    from selfboost.train.devices.launched import launched  # here: `--help` needs none of it

    if launched():
        from selfboost.train.devices.parallel import join_launched

        if not join_launched():
            sys.exit(0)
    try:
        parsed.command(parsed)
    except KeyboardInterrupt:
        _stop(130, "stopped; nothing finished is lost: the same command goes on from here")
    except BrokenPipeError:
        os._exit(0)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _stop(
                1, f"the disk is full ({error.filename or 'while writing'}); make room and give the same command again"
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="selfboost", description="A language model improves itself.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: object, words: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=words, description=words)
        made.set_defaults(command=function)
        return made

    run = command("run", _run, "run a recipe, or go on with one that was stopped")
    run.add_argument("recipe", help="a .toml file or the name of a shipped recipe")
    run.add_argument("--into", type=Path, required=True, metavar="DIR", help="the run's folder")
    check = command("check", _check, "check a recipe without work and print its plan")
    check.add_argument("recipe", help="a .toml file or the name of a shipped recipe")
    for made in (run, check):
        words = "change a setting of the recipe, e.g. training.epochs=2; may be repeated, once for each setting"
        made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=words)
    init = command("init", _init, "write a complete, commented recipe")
    init.add_argument("folder", type=Path, metavar="DIR")
    init.add_argument("--model", required=True, help="a transformers folder or hub name, or 'embedded'")
    init.add_argument("--seed", required=True, help="JSONL or Parquet of prompts with answers, or 'embedded'")
    init.add_argument("--method", default="synpo", metavar="NAME", help="see 'selfboost list'")
    show = command("show", _show, "show what a run came to so far")
    show.add_argument("folder", type=Path, metavar="DIR")
    show.add_argument("--json", action="store_true", help="one JSON object for programs")
    report = command("report", _report, "write DIR/report.html, one self-contained page")
    report.add_argument("folder", type=Path, metavar="DIR")
    command("list", _list, "list recipes, methods, losses, engines, trainers, scorers and benchmarks")
    inspect = command("inspect", _inspect, "show one preference pair: its origin, scores and tokens")
    inspect.add_argument("folder", type=Path, metavar="DIR")
    inspect.add_argument("what", choices=["pair"])
    inspect.add_argument("id", help="the pair's id, or its beginning")
    return parser


def _run(arguments: Arguments) -> None:
    from selfboost import recipe
    from selfboost.loop import boost
    from selfboost.report import write_report
    from selfboost.views.table import print_summary
    from selfboost.views.terminal import Terminal

    chosen = recipe.read(recipe.find(arguments.recipe), arguments.set)
    with Terminal() as terminal:
        boost(chosen, arguments.into, terminal)
    print_summary(arguments.into)
    print(f"Report: {write_report(arguments.into)}")


def _check(arguments: Arguments) -> None:
    from selfboost import recipe
    from selfboost.plan import plan
    from selfboost.plan.text import show_plan

    show_plan(plan(recipe.read(recipe.find(arguments.recipe), arguments.set)))


def _init(arguments: Arguments) -> None:
    from selfboost.new_recipe import write_new_recipe

    print(f"Wrote {write_new_recipe(arguments.folder, arguments.model, arguments.seed, arguments.method)}")


def _show(arguments: Arguments) -> None:
    from selfboost.views.summary import as_json, summary
    from selfboost.views.table import print_summary

    if arguments.json:
        print(json.dumps(as_json(summary(arguments.folder)), indent=1, ensure_ascii=False))
    else:
        print_summary(arguments.folder)


def _report(arguments: Arguments) -> None:
    from selfboost.report import write_report

    print(write_report(arguments.folder))


def _list(_arguments: Arguments) -> None:
    from selfboost import plugins, recipe

    print("recipes")
    for name, path in recipe.shipped().items():
        print(_listed(name, _first_sentence(path.read_text(encoding="utf-8"))))
    for role, folder in plugins.FOLDERS.items():
        print(f"{role}s  ({folder}/)" if role != "loss" else f"losses  ({folder}/)")
        for kind, words in plugins.kinds(role).items():
            print(_listed(kind, words))


def _first_sentence(recipe: str) -> str:
    """Of the comment that a recipe begins with."""
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

    print_pair(arguments.folder, arguments.id)


if __name__ == "__main__":
    main()
