"""`selfboost init`: a recipe for the user's own model and seed."""

from __future__ import annotations

import shlex

from selfboost.commands.arguments import Arguments, Parser, add_trust, folder

DESCRIPTION = "write a recipe that fits your own model, seed and machine"


def add_arguments(parser: Parser) -> None:
    """Model, seed and method."""
    parser.add_argument("folder", type=folder, metavar="DIR", help="folder to write recipe.toml to")
    parser.add_argument("--model", required=True, help="a transformers folder or hub name, or 'embedded'")
    parser.add_argument("--seed", required=True, help="JSONL or Parquet of prompts with answers, or 'embedded'")
    parser.add_argument("--method", default="synpo", metavar="NAME", help="see 'selfboost list'; default: synpo")
    parser.add_argument("--full", action="store_true", help="write every setting, not only those that matter first")
    add_trust(parser)


def execute(arguments: Arguments) -> None:
    """Write the recipe and print the commands that come next."""
    from selfboost.new_recipe import write_new_recipe

    trust = arguments.trust
    written = write_new_recipe(
        arguments.folder, arguments.model, arguments.seed, arguments.method, trust, full=arguments.full
    )
    print(f"Wrote {written.path}, fitted to the model, the seed and this machine.")
    for warning in written.warnings:
        print(f"Warning: {warning}.")
    path, more = shlex.quote(str(written.path)), "".join(f" --trust {name}" for name in trust)
    print(f"\nNext:\n  selfboost check {path}{more}\n  selfboost try {path}{more}")
    print(f"  selfboost run {path} --into {shlex.quote(str(written.path.parent / 'out'))}{more}")
