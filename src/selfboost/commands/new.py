"""`selfboost new`: a starter for a component of the user's own."""

from __future__ import annotations

import shlex
from pathlib import Path

from selfboost import plugins
from selfboost.commands.arguments import Arguments, Parser, folder

DESCRIPTION = "write a starter for a component of your own, and a recipe that runs it"


def add_arguments(parser: Parser) -> None:
    """Kind and name of the component."""
    parser.add_argument("kind", choices=tuple(plugins.FOLDERS), metavar="KIND", help=", ".join(plugins.FOLDERS))
    parser.add_argument("name", metavar="NAME", help="its name: writes NAME.py and NAME.toml")
    parser.add_argument(
        "--to", type=folder, default=Path(), metavar="DIR", help="folder to write to; default: this one"
    )


def execute(arguments: Arguments) -> None:
    """Write both files and print the command that runs them."""
    from selfboost.new_component import write_new_component

    code, recipe = write_new_component(arguments.kind, arguments.name, arguments.to)
    print(f"Wrote {code}, a working {arguments.kind} to build on.")
    print(f"Wrote {recipe}, a small recipe that runs it.\n\nNext:")
    into, name = Path("runs") / arguments.name, arguments.name
    print(f"  selfboost run {shlex.quote(str(recipe))} --into {shlex.quote(str(into))} --trust {name}")
