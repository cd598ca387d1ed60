"""`selfboost chat`: talk to a model, or to two side by side."""

from __future__ import annotations

from selfboost.commands.arguments import Arguments, Parser

DESCRIPTION = "talk to a model, or to two side by side"


def add_arguments(parser: Parser) -> None:
    """The models, and how they answer."""
    words = "a transformers folder or hub name, a run's folder, or DIR@N for its iteration N"
    parser.add_argument("model", metavar="MODEL", help=words)
    parser.add_argument("--beside", default="", metavar="OTHER", help="another model, which answers too; DIR@0")
    parser.add_argument("--temperature", type=float, default=0.7, metavar="T", help="0 is greedy; default: 0.7")
    words = "longest answer; default: 512"
    parser.add_argument("--max-tokens", type=int, default=512, metavar="N", help=words)


def execute(arguments: Arguments) -> None:
    """Answer until the input ends.

    Raises:
        ValueError: a model cannot be opened, or a number is out of bounds.
    """
    from selfboost.records import Sampling
    from selfboost.views.conversation import chat

    sampling = Sampling(temperature=arguments.temperature, max_tokens=arguments.max_tokens)
    chat([arguments.model, *([arguments.beside] if arguments.beside else [])], sampling)
