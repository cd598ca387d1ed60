"""`selfboost compare`: two runs or stored measurements, paired by item."""

from __future__ import annotations

import json

from selfboost.commands.arguments import Arguments, Parser, add_json, folder

DESCRIPTION = "compare two runs or two stored measurements, item by item"


def add_arguments(parser: Parser) -> None:
    """The two."""
    parser.add_argument("first", type=folder, metavar="A", help="a run's folder, DIR@N, or a file of measure --to")
    words = "another; differences are its values minus the first's"
    parser.add_argument("second", type=folder, metavar="B", help=words)
    add_json(parser)


def execute(arguments: Arguments) -> None:
    """Print the differences.

    Raises:
        ValueError: one of them cannot be read, or they share no items.
    """
    from selfboost.views.comparison import as_json, compare, print_comparison

    if arguments.json:
        print(json.dumps(as_json(compare(arguments.first, arguments.second)), indent=1))
    else:
        print_comparison(arguments.first, arguments.second)
