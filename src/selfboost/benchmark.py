"""What a benchmark is: a component that rates a model with the run's verbs. The components are in benchmarks/."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from selfboost.measures import Declared
from selfboost.records import Example, Model, Rated
from selfboost.verbs import Verbs


class Benchmark(Protocol):
    """A component that rates a model with the run's verbs, so that its work is stored and resumed like any other."""

    @property
    def measures(self) -> Declared:
        """The measures that `rate` returns, by name: title, unit and direction of each. A property, not a setting."""
        ...

    def rate(self, run: Verbs, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        """One record per prompt: the name of each declared measure → values of its samples."""
        ...


@runtime_checkable
class OwnItems(Protocol):
    """A benchmark that brings its own items, such as a public test's questions, and is given none of the seed's.

    `rate` returns one record per item: by which `Rated.prompt` names it in every run, so that models can be compared
    on it. A measure that an item has no part in has no values there. `split` is `all` outside a run.
    """

    @property
    def own_items(self) -> bool: ...


GOLD = "gold"
"""An opponent that is no model: the answers that the data have."""


@runtime_checkable
class Opposed(Protocol):
    """A benchmark that rates a model against another one, its `opponent`."""

    @property
    def opponent(self) -> str:
        """A name that `Verbs.model` takes: `initial`, `previous`, or a folder or hub name; or `gold`."""
        ...


def check_rated(benchmark: Benchmark, rated: Sequence[Rated]) -> None:
    """Raise ValueError if a benchmark rated measures other than those it declares."""
    found, declared = list(rated[0].values), list(benchmark.measures)
    if set(found) != set(declared):
        kind = type(benchmark).__name__
        raise ValueError(f"benchmark.kind: {kind} rated {', '.join(found)}, but declares {', '.join(declared)}")
