"""The cluster of one process: this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from selfboost.cluster import Site, StageBlock, Worker, opened
from selfboost.engines import Engine, release

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Here:
    """This process alone."""

    def start(self, site: Site) -> ThisProcess:
        """Nothing is started."""
        del site
        return ThisProcess()


class ThisProcess:
    """The one worker."""

    def __enter__(self) -> ThisProcess:
        return self

    def __exit__(self, *_: object) -> None: ...

    def results(self, worker: Worker[Item, Result], blocks: Iterable[StageBlock[Item]]) -> Iterator[Result]:
        """The result of each block, in order; the worker is opened for the first block."""
        items = (block.items for block in blocks)
        for first in items:
            with opened(worker) as work:
                rest = chain((first,), items)
                yield from map(work, rest) if worker.at_once == 1 else _in_threads(work, rest, worker.at_once)

    def release(self, engine: Engine) -> Mapping[str, Any]:
        """What the engine says of the model that it let go of."""
        return release(engine)


def _in_threads(work: Callable[[Item], Result], items: Iterable[Item], at_once: int) -> Iterator[Result]:
    """Results in order, so many computed at a time; at most as many more wait for the first of them."""
    waiting = deque[Future[Result]]()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for each in items:
                waiting.append(pool.submit(work, each))
                if len(waiting) == 2 * at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
