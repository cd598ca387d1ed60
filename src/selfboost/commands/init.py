"""`selfboost init`: a recipe for the user's own model and seed."""

from __future__ import annotations

from selfboost.commands.arguments import Arguments, Parser, add_trust, folder

DESCRIPTION = "write a recipe that fits your own model, seed and machine"


def add_arguments(parser: Parser) -> None:
    """Model, seed and method."""
    parser.add_argument("folder", type=folder, metavar="DIR", help="folder to write recipe.toml to")
    parser.add_argument("--model", required=True, help="a transformers folder or hub name, or 'embedded'")
    words = "prompts with answers: JSONL, JSON, CSV, Parquet, a folder, a hub data set, or 'embedded'"
    parser.add_argument("--seed", required=True, help=words)
    words = "which columns of the seed hold what, such as prompt=question,response=answer; else recognised"
    parser.add_argument("--columns", default="", metavar="USE=COLUMN,...", help=words)
    parser.add_argument("--method", default="synpo", metavar="NAME", help="see 'selfboost list'; default: synpo")
    words = "a reward model, folder or hub name, that rates the results"
    parser.add_argument("--judge", default="", metavar="REWARD_MODEL", help=words)
    parser.add_argument("--full", action="store_true", help="write every setting, not only those that matter first")
    add_trust(parser)


def execute(arguments: Arguments) -> None:
    """Write the recipe; print what was read and the commands that come next.

    Raises:
        ValueError: the model, the seed, its columns or the method cannot be used, or a recipe exists.
    """
    from selfboost.data.columns import RECOGNISE, columns_from
    from selfboost.new_recipe import RecipeRequest, write_new_recipe
    from selfboost.new_recipe.text import show_new_recipe

    wanted = RecipeRequest(
        model=arguments.model,
        seed=arguments.seed,
        method=arguments.method,
        columns=columns_from(arguments.columns) if arguments.columns else RECOGNISE,
        judge=arguments.judge,
    )
    written = write_new_recipe(arguments.folder, wanted, arguments.trust, full=arguments.full)
    show_new_recipe(written, wanted, arguments.trust)
