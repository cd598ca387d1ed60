"""The command line: parses arguments, hands over, turns errors into one sentence. Nothing is decided here."""

from __future__ import annotations

import argparse
import errno
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from selfboost.commands import (
    chat,
    check,
    compare,
    completion,
    export,
    init,
    inspect,
    launch,
    listing,
    measure,
    new,
    push,
    report,
    run,
    show,
    try_,
    view,
)
from selfboost.commands.arguments import Arguments
from selfboost.suggestions import did_you_mean
from selfboost.trust import is_module
from selfboost.views.streams import guarded

COMMANDS: dict[str, ModuleType] = {
    "init": init,
    "new": new,
    "check": check,
    "try": try_,
    "run": run,
    "measure": measure,
    "launch": launch,
    "show": show,
    "view": view,
    "compare": compare,
    "report": report,
    "inspect": inspect,
    "export": export,
    "push": push,
    "chat": chat,
    "list": listing,
    "completion": completion,
}
"""In the order of `--help`."""
NO_COMMAND = re.compile(r"argument COMMAND: invalid choice: '([^']*)'")
"""How argparse's sentence on a mistyped command begins."""
LONGEST_SENTENCE = 1500
"""Most characters of an error that are shown: it may quote a path of thousands."""


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
    except KeyboardInterrupt as error:
        where = f" {error}" if str(error) else ""
        again = "resume" if getattr(parsed, "into", None) else "start again"
        _stop(130, f"interrupted{where}; rerun the same command to {again}")
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
        wrong = NO_COMMAND.match(message)
        hint = did_you_mean(wrong[1], COMMANDS) if wrong else ""
        super().error(_short(f"{wrong[0]}{hint}{message[wrong.end() :]}" if wrong else message))


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

    for name, command in COMMANDS.items():
        words: str = command.DESCRIPTION
        each = commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
        each.set_defaults(command=command.execute, parser=made)
        command.add_arguments(each)
    return made


def _help(_arguments: Arguments) -> None:
    parser().print_help()


if __name__ == "__main__":
    main()
