"""`selfboost push`: an export, sent to the Hugging Face hub."""

from __future__ import annotations

from selfboost.commands.arguments import Arguments, Parser, add_iteration, add_run_folder, check_folder

DESCRIPTION = "send a run's model with its card, or its pairs, to the Hugging Face hub"
MEGA = 10**6


def add_arguments(parser: Parser) -> None:
    """The run, what to send, and where to."""
    add_run_folder(parser)
    parser.add_argument("--to", required=True, metavar="OWNER/NAME", help="the repository; made where there is none")
    add_iteration(parser)
    parser.add_argument("--adapter", action="store_true", help="instead of the model: its LoRA adapter alone")
    parser.add_argument("--pairs", action="store_true", help="instead of the model: the run's pairs, as a data set")
    parser.add_argument("--public", action="store_true", help="for everyone to see; private if left out")
    words = "send nothing, ask nobody: print what would go"
    parser.add_argument("--dry-run", action="store_true", help=words)


def execute(arguments: Arguments) -> None:
    """Send, and print where to; or print what would be sent.

    Raises:
        ValueError: there is no such run or model, two things are asked for, or the hub refuses.
    """
    from selfboost.face import push_run

    check_folder(arguments.folder)
    if arguments.adapter and arguments.pairs:
        raise ValueError("--adapter --pairs: give one of them, each goes to a repository of its own")
    what = "adapter" if arguments.adapter else "pairs" if arguments.pairs else "model"
    places = (arguments.folder, arguments.to, what, arguments.iteration)
    sent = push_run(*places, public=arguments.public, dry_run=arguments.dry_run)
    if sent.commit:
        print(f"Sent the {what} of {arguments.folder} to {sent.place}: {sent.commit}")
        return
    print(f"Would go to {sent.place}, as one commit:")
    for name, size in sent.files.items():
        print(f"  {size / MEGA:>10,.3f} MB  {name}")
    total = sum(sent.files.values()) / MEGA
    print(f"  {total:>10,.3f} MB  {len(sent.files)} files; README.md names the recipe's paths")
