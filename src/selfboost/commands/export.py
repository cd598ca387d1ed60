"""`selfboost export`: a run's model, adapter, pairs or records, for use elsewhere."""

from __future__ import annotations

from selfboost.commands.arguments import Arguments, Parser, add_iteration, add_run_folder, check_folder, folder

DESCRIPTION = "export a run's model with its card, its pairs, or all records as Parquet"


def add_arguments(parser: Parser) -> None:
    """The run, what to export, and where to."""
    add_run_folder(parser)
    words = "the new folder; default: the run's with -model, -adapter, -pairs, -parquet or -gguf appended"
    parser.add_argument("--to", type=folder, metavar="FOLDER", help=words)
    add_iteration(parser)
    words = "instead of the model: "
    parser.add_argument("--adapter", action="store_true", help=f"{words}its LoRA adapter alone")
    parser.add_argument("--pairs", action="store_true", help=f"{words}the run's preference pairs as a data set")
    parser.add_argument("--parquet", action="store_true", help=f"{words}the records of all stages as Parquet")
    more = "a GGUF file, by llama.cpp's convert_hf_to_gguf.py, or a command with {path} and {gguf} in it"
    parser.add_argument("--gguf", default="", metavar="CONVERTER", help=f"{words}{more}")
    more = (
        "with --gguf, compare the file's samples with the model's by llama-server, or a command with {gguf} and {port}"
    )
    parser.add_argument("--llama-server", default="", metavar="SERVER", help=more)
    more = "let --gguf and --llama-server start this program (command:PROGRAM); may be repeated"
    parser.add_argument("--trust", action="append", default=[], metavar="NAME", help=more)


def execute(arguments: Arguments) -> None:
    """Export, and print where to.

    Raises:
        ValueError: there is no such run or model, the folder exists, two things are asked for, or a program of the
            user's fails.
    """
    from selfboost.export import ExportRequest, What, export

    check_folder(arguments.folder)
    kinds: tuple[What, ...] = ("adapter", "pairs", "parquet")
    asked: list[What] = [kind for kind in kinds if getattr(arguments, kind)]
    if len(asked) + bool(arguments.gguf) > 1:
        named = " --".join([*asked, *(["gguf"] if arguments.gguf else [])])
        raise ValueError(f"--{named}: give one of them, each exports to a folder of its own")
    if arguments.gguf:
        _export_gguf(arguments)
        return
    if arguments.llama_server:
        raise ValueError("--llama-server: compares a GGUF file with its model; give --gguf, the converter, too")
    what: What = asked[0] if asked else "model"
    request = ExportRequest(root=arguments.folder, to=arguments.to, what=what, iteration=arguments.iteration)
    words = "records" if what == "parquet" else what
    print(f"Exported the {words} of {arguments.folder} to {export(request)}")


def _export_gguf(arguments: Arguments) -> None:
    from selfboost.export.gguf import GgufRequest, export_gguf
    from selfboost.trust import trusting

    made = export_gguf(
        GgufRequest(
            root=arguments.folder,
            convert=arguments.gguf,
            server=arguments.llama_server,
            to=arguments.to,
            iteration=arguments.iteration,
            trust=trusting(arguments.trust),
        )
    )
    print(f"Exported the model of {arguments.folder} to {made.file}\n{made.sentence}")
