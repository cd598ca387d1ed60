"""`selfboost run`: the whole loop, or the rest of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from selfboost.commands.arguments import (
    Arguments,
    Parser,
    add_recipe,
    add_set,
    add_trust,
    check_folder,
    folder,
    random_seed,
    read_recipe,
)

if TYPE_CHECKING:
    from selfboost.recipe import Recipe

DESCRIPTION = "run a recipe, or resume a stopped run"


def add_arguments(parser: Parser) -> None:
    """The recipe, the run's folder and random seeds."""
    parser.add_argument("--into", type=folder, required=True, metavar="DIR", help="the run's folder")
    words = "run the recipe once with each of these random seeds, in DIR/seed-N"
    parser.add_argument("--seeds", type=random_seed, nargs="+", default=[], metavar="N", help=words)
    add_recipe(parser)
    add_set(parser)
    add_trust(parser)


def execute(arguments: Arguments) -> None:
    """Run, then write the report and print the summary.

    Raises:
        ValueError: the recipe is wrong, or a stage cannot go on.
    """
    from selfboost.data.gold import gold_of_seed
    from selfboost.loop import boost
    from selfboost.plan.outline import BackgroundOutline
    from selfboost.report import write_report
    from selfboost.views.next_steps import print_next_steps
    from selfboost.views.repeats import print_repeats
    from selfboost.views.table import print_summary
    from selfboost.views.terminal import Terminal
    from selfboost.views.time_left import TimeLeft

    chosen = read_recipe(arguments)
    runs = {arguments.into: chosen} if not arguments.seeds else _repeats(chosen, arguments)
    for into, recipe in runs.items():
        check_folder(into)
        with (
            BackgroundOutline(arguments.recipe, arguments.set, arguments.trust) as outline,
            Terminal(time_left=TimeLeft(outline)) as terminal,
        ):
            boost(recipe, into, terminal)
        report = write_report(into, gold_of_seed((recipe.seed.path, recipe.seed.held_out)))
        print_summary(into)
        print(f"Report: {report}")
        print_next_steps(into)
    if len(runs) > 1:
        print_repeats(dict(zip(arguments.seeds, runs, strict=True)))


def _repeats(recipe: Recipe, arguments: Arguments) -> dict[Path, Recipe]:
    """The folder and the recipe of each run seed."""
    from selfboost.views.repeats import FOLDER

    if len(set(arguments.seeds)) < len(arguments.seeds):
        raise ValueError(f"--seeds {' '.join(map(str, arguments.seeds))}: each seed may be given once")
    return {
        arguments.into / FOLDER.format(seed): replace(recipe, run=replace(recipe.run, seed=seed))
        for seed in arguments.seeds
    }
