"""`selfboost launch`: the file by which a cluster runs a recipe."""

from __future__ import annotations

import shlex

from selfboost.commands.arguments import Arguments, Parser, add_recipe, add_set, add_trust, count, folder, read_recipe

DESCRIPTION = "write the file by which a cluster runs a recipe; submit nothing"


def add_arguments(parser: Parser) -> None:
    """The cluster, its size, and the recipe."""
    parser.add_argument("kind", choices=("slurm", "k8s", "ray"), metavar="CLUSTER", help="slurm, k8s or ray")
    add_recipe(parser)
    parser.add_argument("--into", type=folder, required=True, metavar="DIR", help="the run's folder, on a shared disk")
    parser.add_argument("--nodes", type=count, default=1, metavar="N", help="machines; default: 1")
    parser.add_argument("--gpus", type=count, default=8, metavar="G", help="GPUs of each machine; default: 8")
    parser.add_argument("--hours", type=count, default=24, metavar="H", help="Slurm: time until it is requeued; 24")
    parser.add_argument("--ray", action="store_true", help="Slurm: start Ray on all nodes and sample through it")
    words = "Kubernetes: the container's image; default: selfboost:latest"
    parser.add_argument("--image", default="selfboost:latest", metavar="IMAGE", help=words)
    words = "Kubernetes: persistent volume claim, mounted at /work; default: selfboost"
    parser.add_argument("--claim", default="selfboost", metavar="NAME", help=words)
    parser.add_argument("--name", default="", metavar="NAME", help="the job's name; default: the recipe's")
    parser.add_argument("--to", type=folder, metavar="FILE", help="the file to write; default: NAME.sbatch, .yaml, .sh")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    add_set(parser)
    add_trust(parser)


def execute(arguments: Arguments) -> None:
    """Write what was asked for and print the next commands.

    Raises:
        ValueError: the recipe is wrong, a name, a path or a number cannot be used, or the file exists.
    """
    from selfboost import recipe
    from selfboost.launch import Launch, submit_command, write_launch

    read_recipe(arguments)  # a recipe that a cluster would refuse is refused here
    names = ("kind", "recipe", "into", "name", "nodes", "gpus", "hours", "image", "claim", "ray", "trust")
    given = {name: getattr(arguments, name) for name in names}
    launch = Launch(**given, file=recipe.find(arguments.recipe), settings=arguments.set)
    path = write_launch(launch, arguments.to, overwrite=arguments.overwrite)
    total, machines = launch.nodes * launch.gpus, "machine" if launch.nodes == 1 else "machines"
    print(f"Wrote {path}: {total} GPUs on {launch.nodes} {machines}. Nothing is submitted.\n\nNext:")
    print(f"  selfboost check {shlex.quote(arguments.recipe)} --gpus {total}   # its cost")
    print(f"  {submit_command(launch, path)}")
    print("A job that is preempted or killed resumes when it runs again.")
