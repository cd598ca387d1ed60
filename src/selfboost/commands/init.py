"""`selfboost init`: a recipe for the user's own model and seed."""

from __future__ import annotations

import shlex

from selfboost.commands.arguments import Arguments, Parser, add_trust, folder

DESCRIPTION = "write a complete, commented recipe for your own model and seed"


def add_arguments(parser: Parser) -> None:
    """Model, seed and method."""
    parser.add_argument("folder", type=folder, metavar="DIR", help="folder to write recipe.toml to")
    parser.add_argument("--model", required=True, help="a transformers folder or hub name, or 'embedded'")
    parser.add_argument("--seed", required=True, help="JSONL or Parquet of prompts with answers, or 'embedded'")
    parser.add_argument("--method", default="synpo", metavar="NAME", help="see 'selfboost list'; default: synpo")
    add_trust(parser)


def execute(arguments: Arguments) -> None:
    """Write the recipe and print the commands that come next."""
    from selfboost.new_recipe import write_new_recipe

    trust = arguments.trust
    path = write_new_recipe(arguments.folder, arguments.model, arguments.seed, arguments.method, trust)
    print(f"Wrote {path} with every setting explained.\n\nNext:")
    written, more = shlex.quote(str(path)), "".join(f" --trust {name}" for name in trust)
    print(f"  selfboost check {written}{more}")
    print(f"  selfboost run {written} --into {shlex.quote(str(path.parent / 'out'))}{more}")
