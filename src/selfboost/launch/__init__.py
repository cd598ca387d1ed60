"""Writes the file by which a cluster runs a recipe, and runs it again when it is preempted: Slurm, Kubernetes, Ray.

Nothing is submitted. Whatever a user gives is quoted for the shell or written as JSON, which YAML reads.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

from selfboost.disk.files import write_atomically

ENDINGS: Mapping[str, str] = {"slurm": "sbatch", "k8s": "yaml", "ray": "sh"}
"""Kind of cluster → ending of the file."""
SUBMIT: Mapping[str, str] = {
    "slurm": "sbatch {file}",
    "k8s": "kubectl apply -f {file}",
    "ray": "RAY_ADDRESS=http://HEAD:8265 bash {file}",
}
"""Kind of cluster → the command that submits the file."""
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,46}[a-z0-9])?")
"""What Slurm, Kubernetes and Ray all accept as a name, and room for what they append."""
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
WORK = PurePosixPath("/work")
"""Where Kubernetes mounts the volume."""
RECIPE_IN_POD = "/etc/selfboost/recipe.toml"
RESTARTS = 20
"""Failures after which a Kubernetes job is given up; preemptions are not counted."""
LARGEST_RECIPE = 500_000
"""Bytes of a recipe in a Kubernetes object, which may have a megabyte in all."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
PLACE = re.compile(r"@([A-Z_]+)@")


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What is to run, and where."""

    kind: str
    recipe: str
    """A recipe's file, or the name of a shipped one."""
    file: Path
    """The recipe's file."""
    into: Path
    name: str = ""
    """Name of the job; empty for the recipe's."""
    nodes: int = 1
    gpus: int = 8
    """GPUs of each node."""
    hours: int = 24
    """Slurm's time limit, after which the job is requeued."""
    image: str = "selfboost:latest"
    """Kubernetes' container image."""
    claim: str = "selfboost"
    """Kubernetes' persistent volume claim."""
    ray: bool = False
    """Whether Slurm starts Ray on all nodes."""
    settings: Sequence[str] = ()
    trust: Sequence[str] = ()

    @property
    def job(self) -> str:
        """The job's name."""
        return self.name or re.sub(r"[^a-z0-9]+", "-", self.file.stem.lower()).strip("-")[:48].rstrip("-") or "run"


def write_launch(launch: Launch, to: Path | None, *, overwrite: bool = False) -> Path:
    """Write the file for a cluster and return its path; an existing one is replaced only with `overwrite`.

    Raises:
        ValueError: a name, a path or a number cannot be used, or the file exists; in one sentence.
    """
    _check(launch)
    path = to or Path(f"{launch.job}.{ENDINGS[launch.kind]}")
    if CONTROL.search(str(path)):
        raise ValueError(f"--to {str(path)!r}: has a line break or another control character")
    if path.exists() and not overwrite:
        raise ValueError(f"{path}: already exists; add --overwrite to replace it, or choose another file with --to")
    text = {"slurm": _slurm, "k8s": _k8s, "ray": _ray}[launch.kind](launch, path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
    return path


def submit_command(launch: Launch, path: Path) -> str:
    """The command that submits a file."""
    return SUBMIT[launch.kind].format(file=shlex.quote(str(path)))


def _check(launch: Launch) -> None:
    for option, value, allowed in (
        ("--name", launch.job, NAME),
        ("--claim", launch.claim, NAME),
        ("--image", launch.image, IMAGE),
    ):
        if not allowed.fullmatch(value):
            rule = "an image such as registry/selfboost:0.1" if allowed is IMAGE else "1 to 48 of a-z, 0-9 and hyphens"
            raise ValueError(f"{option} {value!r}: must be {rule}")
    for what, text in (("RECIPE", launch.recipe), ("--into", str(launch.into))):
        if CONTROL.search(text):
            raise ValueError(f"{what} {text!r}: has a line break or another control character")
    for setting in (*launch.settings, *launch.trust):
        if "\0" in setting:
            raise ValueError(f"--set {setting!r}: has a null character")
    if launch.ray and launch.kind != "slurm":
        raise ValueError(f"--ray: only Slurm's file starts Ray, not that of {launch.kind!r}")


def _arguments(launch: Launch, recipe: str, into: str) -> list[str]:
    """The words after `selfboost`."""
    words = ["run", recipe, "--into", into]
    words += [word for setting in launch.settings for word in ("--set", setting)]
    return [*words, *(word for name in launch.trust for word in ("--trust", name))]


def _here(launch: Launch) -> list[str]:
    """The same on machines that share this one's disk."""
    recipe = str(launch.file.absolute()) if launch.recipe != launch.file.stem else launch.recipe
    return _arguments(launch, recipe, str(launch.into.absolute()))


def _filled(template: str, values: Mapping[str, str]) -> str:
    """A template with its places filled in one pass: what a value holds is not looked at again."""
    text = (files("selfboost") / "launch" / "templates" / template).read_text(encoding="utf-8")
    return PLACE.sub(lambda found: values[found[1]], text)


def _numbers(launch: Launch, file: str) -> dict[str, str]:
    """Values that need no quotes."""
    return {
        "NAME": launch.job,
        "NODES": str(launch.nodes),
        "GPUS": str(launch.gpus),
        "HOURS": str(launch.hours),
        "FILE": shlex.quote(file),
    }


def _slurm(launch: Launch, file: str) -> str:
    numbers = _numbers(launch, file)
    return _filled(
        "slurm.sh",
        numbers
        | {
            "INTO": shlex.quote(str(launch.into.absolute())),
            "ARGUMENTS": shlex.join(_here(launch)),
            "RAY": _filled("slurm_ray.sh", numbers) if launch.ray else "",
        },
    )


def _ray(launch: Launch, file: str) -> str:
    words = [*_here(launch), "--set", "cluster.kind=ray", "--set", "cluster.address=auto"]
    return _filled("ray.sh", _numbers(launch, file) | {"ARGUMENTS": shlex.join(words)})


def _k8s(launch: Launch, file: str) -> str:
    shipped = launch.recipe == launch.file.stem
    recipe = launch.file.read_text(encoding="utf-8-sig")
    if len(recipe.encode()) > LARGEST_RECIPE:
        raise ValueError(f"{launch.file}: is larger than {LARGEST_RECIPE:,} bytes, too large for a ConfigMap")
    words = _arguments(launch, launch.recipe if shipped else RECIPE_IN_POD, _in_volume(launch.into))
    return _filled(
        "k8s.yaml",
        _numbers(launch, file)
        | {
            "MODES": " (ReadWriteMany: several nodes use it)" if launch.nodes > 1 else "",
            "RECIPE_TEXT": json.dumps(recipe),
            "RESTARTS": str(RESTARTS * launch.nodes),
            "IMAGE": json.dumps(launch.image),
            "CLAIM": json.dumps(launch.claim),
            "COMMAND": json.dumps(_pod_command(launch, words)),
        },
    )


def _in_volume(into: Path) -> str:
    """The run's folder as the pod sees it."""
    path = WORK / into.as_posix()
    if ".." in path.parts or not path.is_relative_to(WORK) or path == WORK:
        raise ValueError(f"--into {into}: must be a folder on the volume, such as runs/mine or {WORK}/runs/mine")
    return str(path)


def _pod_command(launch: Launch, words: Sequence[str]) -> list[str]:
    """One process, or torchrun's on each of several pods, the first of which the others meet at."""
    if launch.nodes == 1:
        return ["python", "-m", "selfboost", *words]
    script = _filled("pod.sh", _numbers(launch, "")).strip()
    return ["sh", "-c", script, "selfboost", *words]
