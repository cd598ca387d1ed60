"""What a benchmark is: a component that rates a model with the run's verbs. The components are in benchmarks/."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from selfboost.records import Example, Model, Rated
from selfboost.verbs import Verbs


class Benchmark(Protocol):
    """A component that rates a model with the run's own verbs, so that it is stored and resumed like everything."""

    def rate(self, run: Verbs, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        """One record per prompt: measure name → values of its samples."""
        ...
