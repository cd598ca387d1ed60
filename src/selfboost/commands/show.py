"""`selfboost show`: a run's results so far."""

from __future__ import annotations

import json

from selfboost.commands.arguments import Arguments, Parser, add_json, add_run_folder, check_folder

DESCRIPTION = "show a run's results so far"


def add_arguments(parser: Parser) -> None:
    """The run."""
    add_run_folder(parser)
    add_json(parser)


def execute(arguments: Arguments) -> None:
    """Print one run's summary, or that of all its seeds.

    Raises:
        ValueError: there is no run in the folder.
    """
    from selfboost.views import repeats
    from selfboost.views.summary import as_json, summary
    from selfboost.views.table import print_summary

    check_folder(arguments.folder)
    if seeds := repeats.repeats(arguments.folder):
        if arguments.json:
            print(json.dumps(repeats.as_json(seeds), indent=1))
        else:
            repeats.print_repeats(seeds)
    elif arguments.json:
        print(json.dumps(as_json(summary(arguments.folder)), indent=1))
    else:
        print_summary(arguments.folder)
