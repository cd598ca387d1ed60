"""`selfboost check`: a recipe's errors and its plan, before any cost."""

from __future__ import annotations

from selfboost.commands.arguments import Arguments, Parser, add_recipe, add_set, add_trust, count, read_recipe

DESCRIPTION = "check a recipe without running it, and print its plan"


def add_arguments(parser: Parser) -> None:
    """The recipe, and the machine to price it on."""
    parser.add_argument("--gpus", type=count, default=0, metavar="N", help="price it on N GPUs, all held throughout")
    words = "of this kind (H100, A100-80GB, RTX4090 ...; 'cpu' measures this one); refused if it does not fit"
    parser.add_argument("--gpu-kind", default="", metavar="KIND", help=words)
    parser.add_argument("--stages", action="store_true", help="list every stage, not only the kinds of stages")
    words = "do not measure the model's speed on this machine"
    parser.add_argument("--no-probe", action="store_true", help=words)
    add_recipe(parser)
    add_set(parser)
    add_trust(parser)


def execute(arguments: Arguments) -> None:
    """Print the plan.

    Raises:
        ValueError: the recipe is wrong, or does not fit the machine that was asked for.
    """
    from selfboost.face.before import check
    from selfboost.plan.text import show_plan

    priced, recipe = arguments.gpus or arguments.gpu_kind, read_recipe(arguments)
    found = check(recipe, gpus=arguments.gpus, gpu_kind=arguments.gpu_kind, probe=not arguments.no_probe)
    show_plan(found, every_stage=arguments.stages)
    if found.misfits and priced:
        raise ValueError(f"on {found.fleet.gpus} x {found.fleet.hardware.name}: {'; '.join(found.misfits)}")
