"""`selfboost view`: the live page of runs, on this machine."""

from __future__ import annotations

import argparse

from selfboost.commands.arguments import Arguments, Parser, add_gold, check_folder, folder

DESCRIPTION = "open a live page of runs, finished or growing, on this machine"
PORT = 8421
HIGHEST = 65535


def add_arguments(parser: Parser) -> None:
    """The runs, and where they are shown."""
    parser.add_argument("folders", nargs="+", type=folder, metavar="DIR", help="a run's folder, or one that holds runs")
    words = f"on 127.0.0.1; {PORT} if left out, 0 for any that is free"
    parser.add_argument("--port", type=_port, default=PORT, metavar="PORT", help=words)
    add_gold(parser)


def execute(arguments: Arguments) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        ValueError: a folder holds no run, the port is taken, or the extra is not installed.
    """
    from selfboost.live.serving import serve

    for each in arguments.folders:
        check_folder(each)
    serve(arguments.folders, arguments.port, arguments.gold, check_folder, lambda url: print(_opened(url), flush=True))


def _opened(url: str) -> str:
    return f"{url}  (Ctrl-C ends)"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) <= HIGHEST):
        raise argparse.ArgumentTypeError(f"{text!r:.40}: must be a whole number from 0 to {HIGHEST}")
    return int(text)
