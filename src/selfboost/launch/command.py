"""The arguments of the command `launch`, and what it prints."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path

MOST = 100_000
"""GPUs, machines or hours that can be asked for."""


def count(text: str) -> int:
    """A number of GPUs, machines or hours, from 1.

    Raises:
        ArgumentTypeError: it is not such a number.
    """
    if not text.isdecimal() or len(text) > len(str(MOST)) or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r:.40}: must be a whole number from 1 to {MOST:,}")
    return int(text)


def add_launch_arguments(launch: argparse.ArgumentParser, folder: Callable[[str], Path]) -> None:
    """Add the command's arguments; `folder` reads a path."""
    launch.add_argument("kind", choices=("slurm", "k8s", "ray"), metavar="CLUSTER", help="slurm, k8s or ray")
    launch.add_argument("recipe", metavar="RECIPE", help="a .toml file or the name of a shipped recipe")
    launch.add_argument("--into", type=folder, required=True, metavar="DIR", help="the run's folder, on a shared disk")
    launch.add_argument("--nodes", type=count, default=1, metavar="N", help="machines; default: 1")
    launch.add_argument("--gpus", type=count, default=8, metavar="G", help="GPUs of each machine; default: 8")
    launch.add_argument("--hours", type=count, default=24, metavar="H", help="Slurm: time until it is requeued; 24")
    launch.add_argument("--ray", action="store_true", help="Slurm: start Ray on all nodes and sample through it")
    words = "Kubernetes: the container's image; default: selfboost:latest"
    launch.add_argument("--image", default="selfboost:latest", metavar="IMAGE", help=words)
    words = "Kubernetes: persistent volume claim, mounted at /work; default: selfboost"
    launch.add_argument("--claim", default="selfboost", metavar="NAME", help=words)
    launch.add_argument("--name", default="", metavar="NAME", help="the job's name; default: the recipe's")
    launch.add_argument("--to", type=folder, metavar="FILE", help="the file to write; default: NAME.sbatch, .yaml, .sh")
    launch.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def write_and_explain(arguments: argparse.Namespace, file: Path) -> None:
    """Write what was asked for, for a recipe's file, and print the next commands.

    Raises:
        ValueError: a name, a path or a number cannot be used, or the file exists; in one sentence.
    """
    from selfboost.launch import Launch, submit_command, write_launch

    names = ("kind", "recipe", "into", "name", "nodes", "gpus", "hours", "image", "claim", "ray", "trust")
    given = {name: getattr(arguments, name) for name in names}
    launch = Launch(**given, file=file, settings=arguments.set)
    path = write_launch(launch, arguments.to, overwrite=arguments.overwrite)
    total, machines = launch.nodes * launch.gpus, "machine" if launch.nodes == 1 else "machines"
    print(f"Wrote {path}: {total} GPUs on {launch.nodes} {machines}. Nothing is submitted.\n\nNext:")
    print(f"  selfboost check {shlex.quote(arguments.recipe)} --gpus {total}   # its cost")
    print(f"  {submit_command(launch, path)}")
    print("A job that is preempted or killed resumes when it runs again.")
