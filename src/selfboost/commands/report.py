"""`selfboost report`: the page of a run."""

from __future__ import annotations

from selfboost.commands.arguments import Arguments, Parser, add_gold, add_run_folder, check_folder

DESCRIPTION = "write DIR/report.html, one self-contained page"


def add_arguments(parser: Parser) -> None:
    """The run, and good answers to its held-out prompts."""
    add_run_folder(parser)
    add_gold(parser)


def execute(arguments: Arguments) -> None:
    """Write the page and print its path.

    Raises:
        ValueError: there is no run in the folder, or a file of good answers cannot be read.
    """
    from selfboost.data.gold import gold_answers
    from selfboost.report import write_report

    check_folder(arguments.folder)
    print(write_report(arguments.folder, gold_answers(arguments.gold)))
