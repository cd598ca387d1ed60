"""A reference model's last hidden states at the tokens of rejected answers, in a file of the run's cache.

Noise needs them in every step; with the file, the reference runs once over each answer and no second model is held. It
is memory-mapped: a step reads what it needs. It is removed when the training ends.

Shapes: S answer tokens of all items, D hidden size, N answer tokens of a micro-batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from selfboost.disk.files import open_new, open_to_change
from selfboost.records import content_hash
from selfboost.system import make_room
from selfboost.train.devices.parallel import World
from selfboost.train.packs.batches import micro_batches
from selfboost.train.packs.rows import Item, hash_items

NAME = "reference-states"
BLOCK = 1024
"""Items packed together."""
PACK_TOKENS = 4096
"""Most tokens run at once. Not a setting: another number would round the states differently."""
Compute = Callable[[Sequence[Item]], Sequence[Tensor]]
"""Items of one row each → the states that each answer's tokens are predicted from."""


@dataclass(frozen=True)
class ReferenceStates:
    """Where the states of each item's rejected answer lie."""

    states_SD: Tensor
    places: dict[str, slice]

    def of(self, items: Sequence[Item], device: torch.device) -> Tensor:
        """States of a micro-batch's rejected answers, end to end, (N, D)."""
        return torch.cat([self.states_SD[self.places[item.id]] for item in items]).to(device)


@dataclass(frozen=True)
class StatesFile:
    """The file of one training."""

    into: Path
    identity: str
    """Hash of what determines the states."""

    @property
    def _file(self) -> Path:
        return self.into / f"{NAME}-{self.identity[:8]}.bin"

    @property
    def _mark(self) -> Path:
        """Marks the file as complete."""
        return self._file.with_suffix(".complete")

    def open(self, items: Sequence[Item], like: Tensor, world: World, compute: Compute) -> ReferenceStates:
        """The states of all items, computed if missing; `like` (…, D) has their number type.

        Raises:
            ValueError: the disk is full.
        """
        places, end = dict[str, slice](), 0
        for item in items:
            length = len(item.rows[1].token_ids)
            places[item.id] = slice(end, end + length)
            end += length
        shape = (end, like.shape[-1])
        complete = self._mark.exists() and self._file.exists()
        if world.conducts and not complete:
            self._make_room(shape[0] * shape[1] * like.element_size())
        if not all(world.gather(complete)):
            self._fill(places, items, world, compute)
        mapped = torch.from_file(str(self._file), shared=True, size=shape[0] * shape[1], dtype=like.dtype)
        return ReferenceStates(mapped.view(shape), places)

    def _make_room(self, size: int) -> None:
        self.into.mkdir(exist_ok=True)
        try:
            with open_new(self._file) as file:
                make_room(file, size)
        except OSError as error:
            self._file.unlink(missing_ok=True)
            raise ValueError(
                f"noise on the reference keeps its hidden states, {size / 2**30:.1f} GB in {self.into}: "
                f"{error.strerror or error}"
            ) from error

    def _fill(self, places: dict[str, slice], items: Sequence[Item], world: World, compute: Compute) -> None:
        """Each process writes its share; all finish before any maps the file, since they may be on several machines."""
        with open_to_change(self._file) as file:
            for start in range(0, len(items), BLOCK):
                rejected = [replace(item, rows=item.rows[1:]) for item in items[start : start + BLOCK]]
                for pack, counts in world.share(micro_batches(rejected, PACK_TOKENS, at_least=world.size)):
                    states = compute(pack)
                    for item, states_TD in zip(pack, states, strict=True) if counts else ():
                        written = states_TD.contiguous().to("cpu").view(torch.uint8).numpy()
                        file.seek(places[item.id].start * written.shape[1])
                        file.write(written.tobytes())
            file.flush()
            os.fsync(file.fileno())
        world.gather(None)  # all have written
        if world.conducts:
            self._mark.touch()

    @staticmethod
    def remove_from(folder: Path) -> None:
        """Remove the states that trainings left in a folder."""
        for path in folder.glob(f"{NAME}-*"):
            path.unlink(missing_ok=True)


def states_file(into: Path, items: Sequence[Item], *others: object) -> StatesFile:
    """The file of items and a reference; `others`: whatever else changes the states."""
    return StatesFile(into, content_hash([*others, hash_items(items)]))
