"""`selfboost list`: what a recipe can name."""

from __future__ import annotations

from selfboost.commands.arguments import Arguments, Parser

DESCRIPTION = "list recipes, methods, losses, engines, trainers, scorers, benchmarks and clusters"


def add_arguments(_parser: Parser) -> None:
    """It has none."""


def execute(_arguments: Arguments) -> None:
    """Print the listing."""
    from selfboost.views.listing import print_listing

    print_listing()
