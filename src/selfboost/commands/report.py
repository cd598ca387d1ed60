"""`selfboost report`: the page of a run."""

from __future__ import annotations

from selfboost.commands.arguments import Arguments, Parser, add_run_folder, check_folder

DESCRIPTION = "write DIR/report.html, one self-contained page"


def add_arguments(parser: Parser) -> None:
    """The run."""
    add_run_folder(parser)


def execute(arguments: Arguments) -> None:
    """Write the page and print its path.

    Raises:
        ValueError: there is no run in the folder.
    """
    from selfboost.report import write_report

    check_folder(arguments.folder)
    print(write_report(arguments.folder))
