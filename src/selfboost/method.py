"""What a method is: one file in methods/, one frozen dataclass, one `iterate` that reads like the paper's algorithm.

A method has the settings it uses and no others; those that several share are in methods/parts/.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from selfboost.data.seeds import Seed
from selfboost.records import Model
from selfboost.verbs import Settings, Verbs

ModelName = Literal["initial", "previous", "seed_sft"]
"""`seed_sft` is the initial model fine-tuned on the seed."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to make a better model from the current one: subclass it and write `iterate`."""

    once: ClassVar[bool] = False
    """There are no iterations in it: the loop goes one round."""

    def check(self, recipe: Settings, seeds: Sequence[Seed]) -> None:
        """What can be found wrong without work, beyond single settings; raises ValueError with one sentence."""
        del recipe, seeds

    @abstractmethod
    def iterate(self, run: Verbs) -> Model:
        """Make a candidate from `run.previous`, with the run's verbs."""
