"""A run's models by their addresses: `RUN@N` is the one that iteration N trained, `RUN@best` the policy.

`RUN@0` is the initial model. A folder whose own name ends like an address is a folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selfboost import store
from selfboost.results import SUMMARY, Iteration, read

BEST = "best"
"""Stands for the iteration that made the policy: the last promoted one, or the initial model."""
TRAININGS = ("finetune", "prefer")


@dataclass(frozen=True, kw_only=True)
class RunModel:
    """A model of a run."""

    root: Path
    entry: Iteration
    path: str
    """Its folder or hub name."""
    card: store.StageCard | None = None
    """The stage that trained it; None for the initial model."""


def parted(address: str) -> tuple[Path, str]:
    """The folder of an address and the iteration that it names, `best` or a number; empty if it names none."""
    folder, _, which = address.rpartition("@")
    if folder and (which == BEST or which.isdecimal()) and not Path(address).exists():
        return Path(folder), which
    return Path(address), ""


def model_at(address: str) -> str:
    """The folder or hub name of a model: of a run, its policy or the model of the iteration that the address names.

    Raises:
        ValueError: the run or the iteration does not exist, or its model is not kept.
    """
    root, which = parted(address)
    return find_model(root, which or BEST).path if which or is_run(root) else address


def is_run(folder: Path) -> bool:
    """Whether a folder holds the results of a run."""
    return (folder / SUMMARY).is_file()


def entry_of(root: Path, which: str) -> Iteration:
    """The results of an iteration, by its number or `best`.

    Raises:
        ValueError: the run or the iteration does not exist.
    """
    entries = {entry.iteration: entry for entry in read(root).iterations}
    if not entries:
        raise ValueError(f"{root}: has measured no model yet")
    if which == BEST:
        return next(e for e in reversed(entries.values()) if e.decision in ("promoted", "initial"))
    if not which.isdecimal() or len(which) > 9 or int(which) not in entries:
        raise ValueError(f"{root}@{which:.20}: no such iteration; allowed: {BEST}, or 0 to {max(entries)}")
    return entries[int(which)]


def find_model(root: Path, which: str = BEST) -> RunModel:
    """The model of an iteration: its candidate, promoted or not.

    Raises:
        ValueError: the run or the iteration does not exist, or its model is not kept.
    """
    entry = entry_of(root, which)
    if entry.decision == "initial":
        place = root / entry.policy
        return RunModel(root=root, entry=entry, path=str(place) if place.is_dir() else entry.policy)
    card = _training_of(root, entry)
    if (
        card is None
        or ".." in Path(card.file).parts
        or not (root / card.file).is_dir()
        or Path(card.file).is_absolute()
    ):
        raise ValueError(f"{root}@{entry.iteration}: the model of this iteration is not in the run's folder")
    return RunModel(root=root, entry=entry, path=str(root / card.file), card=card)


def _training_of(root: Path, entry: Iteration) -> store.StageCard | None:
    """The stage that trained an iteration's candidate: the one that its measurement names."""
    if entry.decision == "promoted":
        return store.read_card((root / entry.policy).parent)
    measured = store.read_card(root / store.STAGES / f"iteration-{entry.iteration}" / "measure-held_out")
    wanted = measured.parts.get("model") if measured else None
    return next((card for card in store.cards(root) if card.verb in TRAININGS and card.made == wanted), None)
