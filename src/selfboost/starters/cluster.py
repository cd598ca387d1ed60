"""Starter: another cluster, which rests between blocks on a machine that others use too.

A cluster computes the blocks of a stage and gives their results back in order; what they are is not its affair. This
one is built around another. docs/guides/cluster.md says more.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from selfboost import Engine
from selfboost.cluster import Cluster, Crew, Site, StageBlock, Worker
from selfboost.cluster.here import Here
from selfboost.setting_types import NotNegative

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Starter:
    """Rests before each block."""

    inner: Cluster = field(default_factory=Here)
    """The cluster that computes."""
    rest: NotNegative = 0.0
    """Seconds of rest."""

    def start(self, site: Site) -> Crew:
        """The inner cluster's workers, given blocks more slowly."""
        return Resting(self.inner.start(site), self.rest)


class Resting:
    """A started cluster."""

    def __init__(self, crew: Crew, rest: float) -> None:
        self._crew, self._rest = crew, rest

    def __enter__(self) -> object:
        return self._crew.__enter__()

    def __exit__(self, *error: object) -> None:
        self._crew.__exit__(*error)

    def results(self, worker: Worker[Item, Result], blocks: Iterable[StageBlock[Item]]) -> Iterator[Result]:
        """The result of each block, in order."""
        return self._crew.results(worker, self._slowly(blocks))

    def release(self, engine: Engine) -> Mapping[str, Any]:
        """As the inner cluster."""
        return self._crew.release(engine)

    def _slowly(self, blocks: Iterable[StageBlock[Item]]) -> Iterator[StageBlock[Item]]:
        for block in blocks:
            time.sleep(self._rest)
            yield block
