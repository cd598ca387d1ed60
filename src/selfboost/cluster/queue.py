"""The blocks of a stage on their way through workers that may be lost: which comes next, and which results are due."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from selfboost.cluster import StageBlock

Item = TypeVar("Item")
Result = TypeVar("Result")


class BlockQueue(Generic[Item, Result]):
    """Hands out blocks in order, lost ones first, and gives their results back in order."""

    def __init__(self, blocks: Iterable[StageBlock[Item]], *, ahead: int, attempts: int) -> None:
        self._source = enumerate(blocks)
        self._ahead, self._attempts = ahead, attempts
        self._held: dict[int, StageBlock[Item]] = {}
        """Blocks without a result: with a worker, or waiting for one."""
        self._waiting = deque[int]()
        self._lost = Counter[int]()
        self._results: dict[int, Result] = {}
        self._due = 0
        self._fill()

    def _fill(self) -> None:
        """Take blocks from the source until `ahead` are on their way."""
        while len(self._held) + len(self._results) < self._ahead and (found := next(self._source, None)):
            number, self._held[number] = found
            self._waiting.append(number)

    @property
    def finished(self) -> bool:
        """Whether every block's result was given back."""
        return not self._held and not self._results

    @property
    def several(self) -> bool:
        """Whether more than one block waits for a worker."""
        return len(self._waiting) > 1

    @property
    def suspected(self) -> bool:
        """Whether the next block has ended a worker, and should have one to itself."""
        return bool(self._waiting) and self._lost[self._waiting[0]] > 0

    def take(self) -> tuple[int, Item, bool] | None:
        """The next block: its number, its items, whether it is suspected; None where all were handed out."""
        if not self._waiting:
            return None
        suspected, number = self.suspected, self._waiting.popleft()
        return number, self._held[number].items, suspected

    def done(self, number: int, result: Result) -> None:
        """Keep a block's result until it is due."""
        del self._held[number]
        self._results[number] = result

    def lost(self, number: int, why: str) -> None:
        """Put a block back whose worker was lost.

        Raises:
            ValueError: it has ended too many workers.
        """
        self._lost[number] += 1
        if self._lost[number] >= self._attempts:
            raise ValueError(
                f"{self._held[number].name}: ended {self._lost[number]} workers, the last by: {why}; look at these "
                "prompts and at the memory of the workers, then rerun the same command to resume"
            )
        self._waiting.appendleft(number)

    def due(self) -> Iterator[Result]:
        """Results that are next in order, each given back once; more blocks are then taken."""
        while self._due in self._results:
            yield self._results.pop(self._due)
            self._due += 1
            self._fill()
