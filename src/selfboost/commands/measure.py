"""`selfboost measure`: any model by any benchmark."""

from __future__ import annotations

from pathlib import Path

from selfboost.commands.arguments import Arguments, Parser, add_json, add_set, add_trust, folder

DESCRIPTION = "measure any model by any benchmark, or count a benchmark's judgments"


def add_arguments(parser: Parser) -> None:
    """Model, benchmark, and where results go."""
    parser.add_argument("model", nargs="?", default="", metavar="MODEL", help="a transformers folder or hub name")
    parser.add_argument("--benchmark", required=True, metavar="NAME", help="see 'selfboost list'")
    words = "task files (JSONL, YAML) or names that the harness knows"
    parser.add_argument("--tasks", nargs="+", default=[], metavar="FILE", help=words)
    parser.add_argument("--seed", default="", metavar="DATA", help="prompts, for a benchmark without its own")
    parser.add_argument("--against", default="", metavar="OTHER", help="another model, for paired differences")
    parser.add_argument("--recipe", default="", metavar="RECIPE", help="take benchmark and engine settings from it")
    parser.add_argument("--into", type=folder, metavar="DIR", help="keep the stages here, to resume from")
    parser.add_argument("--to", type=folder, metavar="FILE", help="store the result as JSON, for 'compare'")
    words = "judgments to count instead (JSONL, gzip too): generator_2 and preference in each row"
    parser.add_argument("--judgments", type=Path, metavar="FILE", help=words)
    add_json(parser)
    add_set(parser)
    add_trust(parser)


def execute(arguments: Arguments) -> None:
    """Measure and print.

    Raises:
        ValueError: the model, the benchmark or its data cannot be used.
    """
    from selfboost.measuring.request import MeasureRequest
    from selfboost.views.judged import count_and_print
    from selfboost.views.measured import measure_and_print

    if arguments.judgments is not None:
        count_and_print(arguments)
        return
    request = MeasureRequest(
        model=arguments.model,
        benchmark=arguments.benchmark,
        recipe=arguments.recipe,
        settings=tuple(arguments.set),
        tasks=tuple(arguments.tasks),
        seed=arguments.seed,
        against=arguments.against,
        trust=tuple(arguments.trust),
    )
    measure_and_print(request, arguments.into, arguments.to, json=arguments.json)
