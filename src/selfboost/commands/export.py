"""`selfboost export`: a run's model, adapter, pairs or records, for use elsewhere."""

from __future__ import annotations

from selfboost.commands.arguments import Arguments, Parser, add_iteration, add_run_folder, check_folder, folder

DESCRIPTION = "export a run's model with its card, its pairs, or all records as Parquet"


def add_arguments(parser: Parser) -> None:
    """The run, what to export, and where to."""
    add_run_folder(parser)
    words = "the new folder; default: the run's with -model, -adapter, -pairs or -parquet appended"
    parser.add_argument("--to", type=folder, metavar="FOLDER", help=words)
    add_iteration(parser)
    words = "instead of the model: "
    parser.add_argument("--adapter", action="store_true", help=f"{words}its LoRA adapter alone")
    parser.add_argument("--pairs", action="store_true", help=f"{words}the run's preference pairs as a data set")
    parser.add_argument("--parquet", action="store_true", help=f"{words}the records of all stages as Parquet")


def execute(arguments: Arguments) -> None:
    """Export, and print where to.

    Raises:
        ValueError: there is no such run or model, the folder exists, or two things are asked for.
    """
    from selfboost.export import ExportRequest, What, export

    check_folder(arguments.folder)
    kinds: tuple[What, ...] = ("adapter", "pairs", "parquet")
    asked: list[What] = [kind for kind in kinds if getattr(arguments, kind)]
    if len(asked) > 1:
        raise ValueError(f"--{' --'.join(asked)}: give one of them, each exports to a folder of its own")
    what: What = asked[0] if asked else "model"
    request = ExportRequest(root=arguments.folder, to=arguments.to, what=what, iteration=arguments.iteration)
    words = "records" if what == "parquet" else what
    print(f"Exported the {words} of {arguments.folder} to {export(request)}")
