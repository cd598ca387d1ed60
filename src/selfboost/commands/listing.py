"""`selfboost list`: what a recipe can name."""

from __future__ import annotations

import json

from selfboost.commands.arguments import Arguments, Parser

DESCRIPTION = "list recipes, methods, losses, engines, trainers, scorers, benchmarks and clusters"


def add_arguments(parser: Parser) -> None:
    """The schema instead."""
    words = "print a JSON schema of recipes instead, for an editor that completes and checks TOML by one"
    parser.add_argument("--schema", action="store_true", help=words)


def execute(arguments: Arguments) -> None:
    """Print the listing or the schema."""
    from selfboost.views.listing import print_listing
    from selfboost.views.recipe_schema import recipe_schema

    if arguments.schema:
        print(json.dumps(recipe_schema(), indent=1, ensure_ascii=False))
    else:
        print_listing()
