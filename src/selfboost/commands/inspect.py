"""`selfboost inspect`: where one pair comes from."""

from __future__ import annotations

from selfboost.commands.arguments import Arguments, Parser, add_run_folder, check_folder

DESCRIPTION = "show one preference pair: its origin, scores and tokens"


def add_arguments(parser: Parser) -> None:
    """The run and the pair."""
    add_run_folder(parser)
    parser.add_argument("what", choices=["pair"], help="what to show")
    parser.add_argument("id", metavar="ID", help="the pair's id, or its beginning")


def execute(arguments: Arguments) -> None:
    """Print the pair.

    Raises:
        ValueError: there is no such run or pair.
    """
    from selfboost.views.pair_view import print_pair

    check_folder(arguments.folder)
    print_pair(arguments.folder, arguments.id)
