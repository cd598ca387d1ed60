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
    from selfboost.export.push import PushRequest, exported, files_of, push

    check_folder(arguments.folder)
    if arguments.adapter and arguments.pairs:
        raise ValueError("--adapter --pairs: give one of them, each goes to a repository of its own")
    request = PushRequest(
        root=arguments.folder,
        to=arguments.to,
        what="adapter" if arguments.adapter else "pairs" if arguments.pairs else "model",
        iteration=arguments.iteration,
        public=arguments.public,
    )
    if not arguments.dry_run:
        print(f"Sent the {request.what} of {arguments.folder} to {request.place}: {push(request)}")
        return
    with exported(request) as folder:
        sizes = files_of(folder)
        print(f"Would go to {request.place}, as one commit:")
        for name, size in sizes.items():
            print(f"  {size / MEGA:>10,.3f} MB  {name}")
        print(f"  {sum(sizes.values()) / MEGA:>10,.3f} MB  {len(sizes)} files; README.md names the recipe's paths")
