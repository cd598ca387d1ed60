"""The command line: parses arguments, hands over, turns errors into one sentence. Nothing is decided here."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from selfboost import plugins
from selfboost.launch.command import add_launch_arguments, count
from selfboost.trust import is_module
from selfboost.views.streams import guarded

if TYPE_CHECKING:
    from selfboost.recipe import Recipe

LONGEST_SENTENCE = 1500
"""Most characters of an error that are shown: it may quote a path of thousands."""
MOST_DIGITS = 18
"""Of a random seed: it must fit 64 bits."""
Arguments = argparse.Namespace
Handler = Callable[[Arguments], None]
Add = Callable[[str, Handler, str], argparse.ArgumentParser]
"""Adds a command: its name, what it does, its description."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0 success, 2 an error the user can fix, 1 a failure, 130 interrupted."""
    with guarded():
        _main(arguments)


def _main(arguments: Sequence[str] | None) -> NoReturn:
    # Silence the libraries: selfboost itself reports, once, what a user must know.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    parsed = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    _add_import_path(parsed)
    from selfboost.train.devices.launched import Lost  # imported here: `--help` does not need it

    try:
        if _conducts():
            parsed.command(parsed)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _stop(130, "interrupted; rerun the same command to resume")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _stop(
                1, f"the disk is full ({error.filename or 'while writing'}); free some space and rerun the same command"
            )
        _stop(2, f"{error.filename or 'while reading or writing'}: {error.strerror or error}")
    except (ValueError, FloatingPointError) as error:
        _stop(2, str(error))
    except Lost as error:
        _stop(1, str(error))
    except Exception as error:
        _dismiss_followers(f"{type(error).__name__}: {error}")
        raise
    sys.exit(0)


def _add_import_path(parsed: Arguments) -> None:
    """Look for the modules of --trust in the working directory and beside the recipe; nothing else looks there."""
    if any(is_module(name) for name in getattr(parsed, "trust", ())):
        recipe: str | None = getattr(parsed, "recipe", None)
        sys.path += [os.getcwd(), *([os.path.dirname(os.path.realpath(recipe))] if recipe else [])]


def _conducts() -> bool:
    """Whether the command is this process's; one that a launcher started beside it has followed it instead."""
    from selfboost.train.devices.launched import launched

    if not launched():
        return True
    from selfboost.train.devices.parallel import join_launched

    return join_launched()


def _stop(code: int, sentence: str) -> NoReturn:
    _dismiss_followers(sentence)
    print(f"selfboost: {_short(sentence)}", file=sys.stderr)
    sys.exit(code)


def _dismiss_followers(sentence: str) -> None:
    """Processes that a launcher started beside this one end with an error too."""
    from selfboost.train.devices.launched import launched

    if launched():
        from selfboost.train.devices.parallel import dismiss

        dismiss(_short(sentence))


def _short(sentence: str) -> str:
    half = LONGEST_SENTENCE // 2
    return f"{sentence[:half]} … {sentence[-half:]}" if len(sentence) > LONGEST_SENTENCE else sentence


class _Parser(argparse.ArgumentParser):
    """A parser whose errors quote long arguments in part."""

    def error(self, message: str) -> NoReturn:
        super().error(_short(message))


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
    made = _Parser(prog="selfboost", description="A language model improves itself.")
    made.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    made.set_defaults(command=_help)
    commands = made.add_subparsers(metavar="COMMAND")

    def add(name: str, handler: Handler, words: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
        command.set_defaults(command=handler)
        return command

    _add_recipe_commands(add)
    _add_folder_commands(add)
    add("list", _list, "list recipes, methods, losses, engines, trainers, scorers, benchmarks and clusters")
    return made


def _add_recipe_commands(add: Add) -> None:
    """Commands that write, check and run a recipe."""
    init = add("init", _init, "write a complete, commented recipe for your own model and seed")
    init.add_argument("folder", type=_folder, metavar="DIR", help="folder to write recipe.toml to")
    init.add_argument("--model", required=True, help="a transformers folder or hub name, or 'embedded'")
    init.add_argument("--seed", required=True, help="JSONL or Parquet of prompts with answers, or 'embedded'")
    init.add_argument("--method", default="synpo", metavar="NAME", help="see 'selfboost list'; default: synpo")
    new = add("new", _new, "write a starter for a component of your own, and a recipe that runs it")
    new.add_argument("kind", choices=tuple(plugins.FOLDERS), metavar="KIND", help=", ".join(plugins.FOLDERS))
    new.add_argument("name", metavar="NAME", help="its name: writes NAME.py and NAME.toml")
    new.add_argument("--to", type=_folder, default=Path(), metavar="DIR", help="folder to write to; default: this one")
    check = add("check", _check, "check a recipe without running it, and print its plan")
    check.add_argument("--gpus", type=count, default=0, metavar="N", help="price it on N GPUs, all held throughout")
    words = "of this kind (H100, A100-80GB, RTX4090 ...; 'cpu' measures this one); refused if it does not fit"
    check.add_argument("--gpu-kind", default="", metavar="KIND", help=words)
    run = add("run", _run, "run a recipe, or resume a stopped run")
    run.add_argument("--into", type=_folder, required=True, metavar="DIR", help="the run's folder")
    words = "run the recipe once with each of these random seeds, in DIR/seed-N"
    run.add_argument("--seeds", type=_seed, nargs="+", default=[], metavar="N", help=words)
    measure = _add_measure(add)
    launch = add("launch", _launch, "write the file by which a cluster runs a recipe; submit nothing")
    add_launch_arguments(launch, _folder)
    for each in (check, run):
        each.add_argument("recipe", metavar="RECIPE", help="a .toml file or the name of a shipped recipe")
    for each in (check, run, measure, launch):
        words = """change one setting, such as training.epochs=2; may be repeated. VALUE is read as TOML (a quoted
        "one\\ntwo" spans two lines); anything that is not TOML is taken literally"""
        each.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=words)
    for each in (init, check, run, measure, launch):
        words = """let the recipe import this module or package, installed, in this folder or beside the recipe; may be
        repeated. 'remote-code' allows trust_remote_code = true, 'server:HOST' requests to another machine,
        'command:PROGRAM' a program that the recipe starts"""
        each.add_argument("--trust", action="append", default=[], metavar="NAME", help=words)


def _add_measure(add: Add) -> argparse.ArgumentParser:
    measure = add("measure", _measure, "measure any model by any benchmark, or count a benchmark's judgments")
    measure.add_argument("model", nargs="?", default="", metavar="MODEL", help="a transformers folder or hub name")
    measure.add_argument("--benchmark", required=True, metavar="NAME", help="see 'selfboost list'")
    words = "task files (JSONL, YAML) or names that the harness knows"
    measure.add_argument("--tasks", nargs="+", default=[], metavar="FILE", help=words)
    measure.add_argument("--seed", default="", metavar="DATA", help="prompts, for a benchmark without its own")
    measure.add_argument("--against", default="", metavar="OTHER", help="another model, for paired differences")
    measure.add_argument("--recipe", default="", metavar="RECIPE", help="take benchmark and engine settings from it")
    measure.add_argument("--into", type=_folder, metavar="DIR", help="keep the stages here, to resume from")
    measure.add_argument("--to", type=_folder, metavar="FILE", help="store the result as JSON, for 'compare'")
    words = "judgments to count instead (JSONL, gzip too): generator_2 and preference in each row"
    measure.add_argument("--judgments", type=Path, metavar="FILE", help=words)
    measure.add_argument("--json", action="store_true", help="one JSON object for programs")
    return measure


def _add_folder_commands(add: Add) -> None:
    """Commands that read a run's folder."""
    show = add("show", _show, "show a run's results so far")
    compare = add("compare", _compare, "compare two runs or two stored measurements, item by item")
    report = add("report", _report, "write DIR/report.html, one self-contained page")
    inspect = add("inspect", _inspect, "show one preference pair: its origin, scores and tokens")
    for each in (show, report, inspect):
        each.add_argument("folder", type=_folder, metavar="DIR", help="the run's folder")
    compare.add_argument("first", type=_folder, metavar="A", help="a run's folder, or a file of measure --to")
    compare.add_argument(
        "second", type=_folder, metavar="B", help="another; differences are its values minus the first's"
    )
    for each in (show, compare):
        each.add_argument("--json", action="store_true", help="one JSON object for programs")
    inspect.add_argument("what", choices=["pair"], help="what to show")
    inspect.add_argument("id", metavar="ID", help="the pair's id, or its beginning")


def _folder(text: str) -> Path:
    """A folder's path; an empty one, often an unset variable of a shell, would be this folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; give a folder's path (this folder is '.')")
    return Path(text)


def _help(_arguments: Arguments) -> None:
    parser().print_help()


def _read(arguments: Arguments) -> Recipe:
    from selfboost import recipe

    path = recipe.find(arguments.recipe)
    return recipe.read(path, arguments.set, lambda said: print(said, file=sys.stderr), trust=arguments.trust)


def _run(arguments: Arguments) -> None:
    from selfboost.loop import boost
    from selfboost.report import write_report
    from selfboost.views.repeats import print_repeats
    from selfboost.views.table import print_summary
    from selfboost.views.terminal import Terminal

    chosen = _read(arguments)
    runs = {arguments.into: chosen} if not arguments.seeds else _repeats(chosen, arguments)
    for into, recipe in runs.items():
        _check_folder(into)
        with Terminal() as terminal:
            boost(recipe, into, terminal)
        report = write_report(into)
        print_summary(into)
        print(f"Report: {report}")
    if len(runs) > 1:
        print_repeats(dict(zip(arguments.seeds, runs, strict=True)))


def _repeats(recipe: Recipe, arguments: Arguments) -> dict[Path, Recipe]:
    """The folder and the recipe of each run seed."""
    from selfboost.views.repeats import FOLDER

    if len(set(arguments.seeds)) < len(arguments.seeds):
        raise ValueError(f"--seeds {' '.join(map(str, arguments.seeds))}: each seed may be given once")
    return {
        arguments.into / FOLDER.format(seed): replace(recipe, run=replace(recipe.run, seed=seed))
        for seed in arguments.seeds
    }


def _seed(text: str) -> int:
    if not text.isdecimal() or len(text) > MOST_DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from 0, of at most {MOST_DIGITS} digits")
    return int(text)


def _check(arguments: Arguments) -> None:
    from selfboost.plan import plan
    from selfboost.plan.placement import fleet_for
    from selfboost.plan.text import show_plan

    recipe = _read(arguments)
    found = plan(recipe, fleet_for(recipe, arguments.gpu_kind, arguments.gpus))
    show_plan(found)
    if found.misfits and (arguments.gpus or arguments.gpu_kind):
        raise ValueError(f"on {found.fleet.gpus} x {found.fleet.hardware.name}: {'; '.join(found.misfits)}")


def _init(arguments: Arguments) -> None:
    from selfboost.new_recipe import write_new_recipe

    trust = arguments.trust
    path = write_new_recipe(arguments.folder, arguments.model, arguments.seed, arguments.method, trust)
    print(f"Wrote {path} with every setting explained.\n\nNext:")
    written, more = shlex.quote(str(path)), "".join(f" --trust {name}" for name in trust)
    print(f"  selfboost check {written}{more}")
    print(f"  selfboost run {written} --into {shlex.quote(str(path.parent / 'out'))}{more}")


def _new(arguments: Arguments) -> None:
    from selfboost.new_component import write_new_component

    code, recipe = write_new_component(arguments.kind, arguments.name, arguments.to)
    print(f"Wrote {code}, a working {arguments.kind} to build on.")
    print(f"Wrote {recipe}, a small recipe that runs it.\n\nNext:")
    into, name = Path("runs") / arguments.name, arguments.name
    print(f"  selfboost run {shlex.quote(str(recipe))} --into {shlex.quote(str(into))} --trust {name}")


def _check_folder(folder: Path) -> None:
    """A run's folder may come from a stranger: nothing in it may block when it is read."""
    from selfboost.data.files import check_folder
    from selfboost.loop import FOLDERS
    from selfboost.views.repeats import FOLDER

    check_folder(folder, (*FOLDERS, FOLDER.format("*")))


def _show(arguments: Arguments) -> None:
    from selfboost.views import repeats
    from selfboost.views.summary import as_json, summary
    from selfboost.views.table import print_summary

    _check_folder(arguments.folder)
    if seeds := repeats.repeats(arguments.folder):
        if arguments.json:
            print(json.dumps(repeats.as_json(seeds), indent=1))
        else:
            repeats.print_repeats(seeds)
    elif arguments.json:
        print(json.dumps(as_json(summary(arguments.folder)), indent=1))
    else:
        print_summary(arguments.folder)


def _measure(arguments: Arguments) -> None:
    from selfboost.measuring.request import MeasureRequest
    from selfboost.views.judged import count_and_print
    from selfboost.views.measured import measure_and_print

    if arguments.judgments is not None:
        count_and_print(arguments)
        return
    request = MeasureRequest(
        model=arguments.model,
        benchmark=arguments.benchmark,
        recipe=arguments.recipe,
        settings=tuple(arguments.set),
        tasks=tuple(arguments.tasks),
        seed=arguments.seed,
        against=arguments.against,
        trust=tuple(arguments.trust),
    )
    measure_and_print(request, arguments.into, arguments.to, json=arguments.json)


def _launch(arguments: Arguments) -> None:
    from selfboost import recipe
    from selfboost.launch.command import write_and_explain

    _read(arguments)  # a recipe that a cluster would refuse is refused here
    write_and_explain(arguments, recipe.find(arguments.recipe))


def _compare(arguments: Arguments) -> None:
    from selfboost.views.comparison import as_json, compare, print_comparison

    if arguments.json:
        print(json.dumps(as_json(compare(arguments.first, arguments.second)), indent=1))
    else:
        print_comparison(arguments.first, arguments.second)


def _report(arguments: Arguments) -> None:
    from selfboost.report import write_report

    _check_folder(arguments.folder)
    print(write_report(arguments.folder))


def _list(_arguments: Arguments) -> None:
    from selfboost.views.listing import print_listing

    print_listing()


def _inspect(arguments: Arguments) -> None:
    from selfboost.views.pair_view import print_pair

    _check_folder(arguments.folder)
    print_pair(arguments.folder, arguments.id)


if __name__ == "__main__":
    main()
