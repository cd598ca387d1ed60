"""Sequences whose items are read or made when they are asked for, so that no stage is in memory as a whole.

They are made of each other and of plain sequences; all are read in order most of the time, and quickest then.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from typing import Any, TypeVar, cast, overload

Item = TypeVar("Item")
Source = TypeVar("Source")


class Lazy(Sequence[Item]):
    """A sequence that knows how to make its items. A slice is a list; equal is any sequence with equal items."""

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    @abstractmethod
    def each(self, places: Sequence[int]) -> Iterator[Item]:
        """The items at these places, from 0 on; quickest in ascending order."""
        ...

    def __iter__(self) -> Iterator[Item]:
        return self.each(range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        others = cast("Sequence[object]", other)
        return len(self) == len(others) and all(mine == its for mine, its in zip(self, others, strict=True))

    def __reduce__(self) -> tuple[type[list[Item]], tuple[list[Item]]]:
        """Another process receives a list: a function that makes items need not be known there."""
        return list, (list(self),)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> list[Item]: ...
    def __getitem__(self, place: int | slice) -> Item | list[Item]:
        every = range(len(self))
        return list(self.each(every[place])) if isinstance(place, slice) else next(self.each([every[place]]))


def items_at(source: Sequence[Item], places: Sequence[int]) -> Iterator[Item]:
    """The items of any sequence at these places."""
    return source.each(places) if isinstance(source, Lazy) else map(source.__getitem__, places)


class Mapped(Lazy[Item]):
    """A function of each item, or of the items in the same place of several sequences of the same length."""

    def __init__(self, function: Callable[..., Item], *sources: Sequence[Any]) -> None:
        self._function, self._sources = function, sources
        assert len({len(source) for source in sources}) == 1, "all sources must have the same length"

    def __len__(self) -> int:
        return len(self._sources[0])

    def each(self, places: Sequence[int]) -> Iterator[Item]:
        return map(self._function, *(items_at(source, places) for source in self._sources))


class Spread(Lazy[Item]):
    """Equally many items of each item of a sequence."""

    def __init__(self, function: Callable[[Source], Sequence[Item]], count: int, source: Sequence[Source]) -> None:
        self._function, self._count, self._source = cast("Callable[[Any], Sequence[Item]]", function), count, source

    def __len__(self) -> int:
        return len(self._source) * self._count

    def each(self, places: Sequence[int]) -> Iterator[Item]:
        def owner(place: int) -> int:
            return place // self._count

        owners = array("q", (at for at, _ in groupby(places, owner)))
        for source, (_, group) in zip(items_at(self._source, owners), groupby(places, owner), strict=True):
            made = self._function(source)
            yield from (made[place % self._count] for place in group)


class Selected(Lazy[Item]):
    """The items of a sequence at some places."""

    def __init__(self, source: Sequence[Item], places: Sequence[int]) -> None:
        self._source = source
        self._places = places if isinstance(places, range) else array("q", places)

    def __len__(self) -> int:
        return len(self._places)

    def each(self, places: Sequence[int]) -> Iterator[Item]:
        everything = places == range(len(self))
        return items_at(self._source, self._places if everything else array("q", map(self._places.__getitem__, places)))


class Joined(Lazy[Item]):
    """One sequence after another."""

    def __init__(self, parts: Sequence[Sequence[Item]]) -> None:
        self.parts = tuple(parts)
        self._ends = list(accumulate(map(len, self.parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def each(self, places: Sequence[int]) -> Iterator[Item]:
        for at, group in groupby(places, lambda place: bisect_right(self._ends, place)):
            start = self._ends[at] - len(self.parts[at])
            yield from items_at(self.parts[at], array("q", (place - start for place in group)))


def alternating(one: Sequence[Item], other: Sequence[Item]) -> Sequence[Item]:
    """The items of two sequences of the same length in turn."""

    def both(first: Item, second: Item) -> tuple[Item, Item]:
        return first, second

    return Spread(tuple[Item, Item], 2, Mapped(both, one, other))


def taken_apart(items: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item]]:
    """The two sequences whose items alternate in one."""
    return Selected(items, range(0, len(items), 2)), Selected(items, range(1, len(items), 2))


def sorted_out(reasons: Iterable[str]) -> tuple[Sequence[int], Counter[str]]:
    """The places of the empty ones among the reasons to drop something, and counts of all, those kept included."""
    kept = array("q")
    counts = Counter[str]()
    for place, reason in enumerate(reasons):
        counts[reason or "kept"] += 1
        if not reason:
            kept.append(place)
    return kept, counts
