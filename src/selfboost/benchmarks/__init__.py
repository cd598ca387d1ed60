"""Benchmarks: what rates a model. A file here is a benchmark when it defines the class of its own name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from selfboost.records import Example, Model, Rated

if TYPE_CHECKING:
    from selfboost.run import Run


class Benchmark(Protocol):
    """A component that rates a model with the run's own verbs, so that it is stored and resumed like everything."""

    def rate(self, run: Run, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        """One record per prompt: measure name → values of its samples."""
        ...
