"""Clusters: where blocks are computed. A file here is a cluster when it defines the class of its own name.

A stage is cut into blocks by place, never by the number of workers, and its results come back in the order of its
blocks: a cluster changes how fast a stage is made, not what is in it. The process that asks for results is the only
one that writes to a run's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from selfboost.engines import Engine
from selfboost.system import give_back_freed_memory

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class StageBlock(Generic[Item]):
    """A part of a stage that one worker computes at a time."""

    name: str
    """The stage and which part of it, for messages: `iteration-1/drafts, answers 65 to 128`."""
    items: Item


class Worker(Protocol[Item_contra, Result_co]):
    """What is done with the blocks of a stage: a frozen dataclass that can be pickled."""

    @property
    def at_once(self) -> int:
        """How many blocks one opened worker takes at a time, each in a thread of its own."""
        ...

    def open(self) -> AbstractContextManager[Callable[[Item_contra], Result_co]]:
        """Open its models; gives the function that computes the result of a block's items."""
        ...


@dataclass(frozen=True, kw_only=True)
class Site:
    """What workers need to know of the run."""

    root: Path
    """The run's folder, which all workers must see."""
    models: tuple[str, ...] = ()
    """Folders of models that all workers must see."""
    engine: Engine
    threads: int = 0
    """PyTorch's CPU threads (0: its default)."""
    day: date
    """The day that chat templates show."""


class Crew(Protocol):
    """A started cluster. As a context manager it refuses what cannot work as it is entered, and ends its workers."""

    def __enter__(self) -> object: ...
    def __exit__(self, *_: object) -> None: ...

    def results(self, worker: Worker[Item, Result], blocks: Iterable[StageBlock[Item]]) -> Iterator[Result]:
        """The result of each block, in order; blocks are taken as workers become free, a few ahead of the results."""
        ...

    def release(self, engine: Engine) -> Mapping[str, Any]:
        """Give the devices back before a training: ends what holds a model on them; facts for the training's notes."""
        ...


class Cluster(Protocol):
    """A component that computes blocks. No setting of one enters a fingerprint."""

    def start(self, site: Site) -> Crew:
        """The cluster's workers, none of which need be started before the first block or `__enter__`."""
        ...


@contextmanager
def opened(worker: Worker[Item, Result]) -> Generator[Callable[[Item], Result]]:
    """A worker's function, callable from any thread; what opening sets in the context is seen by its calls alone."""
    context, manager = copy_context(), worker.open()
    work = context.run(manager.__enter__)
    try:
        yield lambda items: context.copy().run(work, items)
    finally:
        context.run(manager.__exit__, None, None, None)
        give_back_freed_memory()
