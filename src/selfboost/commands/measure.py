"""`selfboost measure`: any model by any benchmark."""

from __future__ import annotations

import json
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
    from selfboost.face.models import measure
    from selfboost.views.judged import count_and_print
    from selfboost.views.measured import as_json, print_measured
    from selfboost.views.terminal import Terminal

    if arguments.judgments is not None:
        count_and_print(arguments)
        return
    names = ("model", "benchmark", "recipe", "tasks", "seed", "against", "into", "to", "trust")
    given = {name: getattr(arguments, name) for name in names}
    with Terminal() as terminal:
        found = measure(**given, settings=arguments.set, listener=terminal)
    if arguments.json:
        print(json.dumps(as_json(found), indent=1))
    else:
        print_measured(found)
