"""`selfboost completion`: what a shell completes after `selfboost`."""

from __future__ import annotations

from selfboost.commands.arguments import Arguments, Parser

DESCRIPTION = "print the completion script for a shell"


def add_arguments(parser: Parser) -> None:
    """The shell."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish")


def execute(arguments: Arguments) -> None:
    """Print the script."""
    from selfboost.views.shell_completion import completion

    print(completion(arguments.parser, arguments.shell), end="")
