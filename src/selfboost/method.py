"""What a method is: one file in methods/, one frozen dataclass, one `iterate` that reads like the paper's algorithm.

A method has the settings it uses and no others; those that several share are in methods/parts/.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from selfboost.data.seeds import Seed
from selfboost.records import Model
from selfboost.verbs import Settings, Verbs

ModelName = Literal["initial", "previous", "seed_sft"]
"""`seed_sft` is the initial model fine-tuned on the seed."""


class Rehearsal(Protocol):
    """What `selfboost check` offers a method, benchmark or part when it rehearses it without models.

    Counts (`setting_types.Count`) are small, answers are made up: each is another, and its last characters that are
    digits are a number of its own. Scores fall from one answer to the next, so that the first of two always wins.
    """

    @property
    def folder(self) -> Path:
        """A folder for stand-in files."""
        ...

    def few(self, count: int) -> int:
        """The small number that stands for `count` prompts, pairs or rows when no `Count` setting gives it."""
        ...

    def seeds(self, count: int) -> list[Seed]:
        """Made-up seeds, all different, that the plan prices like the recipe's own."""
        ...


@runtime_checkable
class Rehearsable(Protocol):
    """A method, benchmark or part of one that has to be modified for a rehearsal."""

    def for_rehearsal(self, rehearsal: Rehearsal) -> Self:
        """A copy with stand-ins for the data it reads, and filters that let made-up answers pass.

        Not needed if it only compares scores, or only drops failed, empty, truncated or repetitive answers.
        """
        ...


@runtime_checkable
class Triable(Protocol):
    """A method that `selfboost try` has to modify, besides making its counts small."""

    def for_trial(self, *, new_prompts: bool) -> Self:
        """A copy whose first iteration has the stages of later ones; without `new_prompts`, on the seed's prompts.

        A trial asks for the latter when the first try made no pair from new prompts.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to make a better model from the current one: subclass it and write `iterate`."""

    once: ClassVar[bool] = False
    """Not iterative: the loop runs a single round."""

    def check(self, recipe: Settings, seeds: Sequence[Seed]) -> None:
        """Check up front what single settings cannot show; raises ValueError with one sentence."""
        del recipe, seeds

    def reads(self, seed: str) -> Mapping[str, str]:
        """Data read besides the seed: path or hub name → use; a plan lists those on the hub. `seed`: the seed's own."""
        del seed
        return {}

    def remarks(self) -> Sequence[str]:
        """Sentences that a plan adds to its stages, about work that depends on results."""
        return ()

    @classmethod
    def suggested(cls) -> Mapping[str, Mapping[str, Any]]:
        """Recipe sections that `selfboost init` writes for it: the loss and training of its paper."""
        return {"loss": {"kind": "dpo"}}

    def fitted(self, recipe: Settings, seed: str, seeds: Sequence[Seed]) -> Mapping[str, Any]:
        """Its own settings that `selfboost init` changes to fit the seed.

        `seed`: its path or hub name; `seeds`: all of it, none where it is on the hub.
        """
        del recipe, seed, seeds
        return {}

    @property
    def scored(self) -> bool:
        """Whether the recipe's scorer decides what it trains on; the results then need another judge."""
        return True

    @abstractmethod
    def iterate(self, run: Verbs) -> Model:
        """Make a candidate from `run.previous`, with the run's verbs."""
