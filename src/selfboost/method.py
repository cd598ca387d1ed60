"""What a method is: one file in methods/, one frozen dataclass, one `iterate` that reads like the paper's algorithm.

The named options every method has are here, so that a run's record always says which start model, which reference and
which data window an iteration used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from selfboost.data.seeds import Seed
from selfboost.records import Model
from selfboost.verbs import Settings, Verbs, Window

ModelName = Literal["initial", "previous", "seed_sft"]
"""`seed_sft` is the initial model fine-tuned on the seed."""


class Rehearsal(Protocol):
    """What `selfboost check` offers to a method, benchmark or part that it goes through without models.

    Counts (`setting_types.Count`) are small, answers are made up: each is another, and its last characters that are
    digits are a number of its own. Scores fall from one answer to the next, so that the first of two always wins.
    """

    @property
    def folder(self) -> Path:
        """For files that stand in for others."""
        ...

    def few(self, count: int) -> int:
        """How many stand for so many prompts, pairs or rows that are known from elsewhere than a `Count`."""
        ...

    def seeds(self, count: int) -> list[Seed]:
        """Made-up seeds, each another, that are priced like the recipe's own."""
        ...


@runtime_checkable
class Rehearsable(Protocol):
    """A method, benchmark or part of one that wants to be another when it is rehearsed."""

    def for_rehearsal(self, rehearsal: Rehearsal) -> Self:
        """The same with stand-ins for what it reads, and filters that let made-up answers pass.

        Not needed by what only compares scores, or sorts out answers that failed, are empty, cut or repetitive.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to make a better model from the current one: subclass it and write `iterate`."""

    once: ClassVar[bool] = False
    """There are no iterations in it: the loop goes one round."""
    start: ModelName = "previous"
    """The model that preference optimisation starts from."""
    reference: ModelName = "previous"
    """The reference model of losses that need one."""
    window: Window = "last"
    """The iterations whose pairs are trained on."""

    def check(self, recipe: Settings, seeds: Sequence[Seed]) -> None:
        """What can be found wrong without work, beyond single settings; raises ValueError with one sentence."""
        del recipe, seeds

    def reads(self, seed: str) -> Mapping[str, str]:
        """Data that is read beside the seed: path or hub name → use; a plan names the hub's. `seed`: the seed's own."""
        del seed
        return {}

    def remarks(self) -> Sequence[str]:
        """What a plan of its run says beside the stages, in sentences: work that depends on what comes out."""
        return ()

    @classmethod
    def suggested(cls) -> Mapping[str, Mapping[str, Any]]:
        """Sections of the recipe that `selfboost init` writes for it: its paper's loss, its paper's training."""
        return {"loss": {"kind": "dpo"}}

    def fitted(self, recipe: Settings, seed: str) -> Mapping[str, Any]:
        """Settings of its own that `selfboost init` changes so that they fit the seed, a path or hub name.

        Raises:
            ValueError: the seed cannot be read.
        """
        del recipe, seed
        return {}

    @abstractmethod
    def iterate(self, run: Verbs) -> Model:
        """Make a candidate from `run.previous`, with the run's verbs."""
