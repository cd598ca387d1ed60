"""Counts made small for a rehearsal, so that what it finds leads to the rows of the true counts.

Counts grow along one straight line, from small ones to the true ones. Rows that are sums, multiples and least ones
of counts are straight along it as well, so two places give them at its end, exactly, and a third, farther off, shows
whether they are straight. Leaves out counts that are multiplied by each other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

FEWEST = 24
"""Counts up to this stay as they are; larger ones stay above it."""
BASES = (FEWEST, 2 * FEWEST, 4 * FEWEST, 8 * FEWEST)
"""Where the smallest of the larger counts may begin."""
STEPS = range(10, 1000)
"""In how many steps a line may lead to the true counts."""
PLACES = (0, 1, 7)
"""Where a line is looked at: what is rounded from place to place adds up to more than one by the last."""
GRAINS = (60, 100)
"""Steps that are multiples of these: rows that are rounded shares of counts are straight then too."""
MEASURINGS = 10
"""How often prompts that are measured on are gone through, for once that others are."""
OVERHEAD = 100
"""What a rehearsal takes beside its counts, in counts."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The way from small counts to the true ones."""

    starts: Mapping[int, int]
    """True count → what stands for it at the first place."""
    steps: int
    """Place of the true counts; 0: they are looked at themselves."""

    @property
    def places(self) -> tuple[int, ...]:
        """Where to look."""
        return PLACES if self.steps else (0,)

    def few(self, count: int, place: int) -> int:
        """What stands for a count at a place."""
        start = self.starts.get(count, count)
        return start + place * ((count - start) // self.steps) if self.steps else count

    def is_straight(self, rows: Sequence[int]) -> bool:
        """Whether what has these values at the places grows by the same from step to step."""
        return not self.steps or rows[-1] - rows[0] == PLACES[-1] * (rows[1] - rows[0])

    def at_end(self, rows: Sequence[int]) -> int:
        """The value at the true counts of what has these values at the places, if it is straight."""
        return round(rows[0] + self.steps * (rows[-1] - rows[0]) / PLACES[-1]) if self.steps else rows[0]


TRUE_COUNTS = Line(starts={}, steps=0)
"""No line: the counts as they are."""


def line_through(counts: Iterable[int], measured: Iterable[int], multiples: int, grain: int = 1) -> Line:
    """The line with the least to rehearse on which the order of no two counts, nor of their multiples, changes.

    `measured`: numbers of prompts that are measured on, which are not compared with other counts. `multiples`: how many
    times a count may come together, as pairs of several iterations do. Steps of all counts are multiples of `grain`.
    """
    known = sorted(set(counts))
    apart = sorted(set(measured) - set(known))
    lines = [TRUE_COUNTS]
    for base, steps in itertools.product(BASES, STEPS):
        starts = _starts(known, multiples, base, steps * grain) | _starts(apart, multiples, FEWEST, steps * grain)
        lines.append(Line(starts=starts, steps=steps))
    lines.sort(key=lambda line: _effort(line, known) + MEASURINGS * _effort(line, apart))
    return next(line for line in lines if _keeps_order(line, known, multiples))


def _starts(counts: Sequence[int], multiples: int, base: int, whole: int) -> dict[int, int]:
    """In proportion where two counts that follow each other are no more than `multiples` times apart, else nearer.

    What is left to the true count is a multiple of `whole`.
    """
    starts: dict[int, int] = {}
    before, small = 1, 0
    for count in counts:
        wanted = max(base, math.ceil(small * min(count / before, multiples + 1)))
        if count > max(FEWEST, wanted):
            starts[count] = min(count, wanted + (count - wanted) % whole)
        before, small = count, starts.get(count, count)
    return starts


def _effort(line: Line, counts: Iterable[int]) -> int:
    return sum(OVERHEAD + sum(line.few(count, place) for count in counts) for place in line.places)


def _keeps_order(line: Line, counts: Sequence[int], multiples: int) -> bool:
    """What is so at the first and the last place is so between them."""
    small = [line.few(count, line.places[0]) for count in counts]
    pairs = list(itertools.combinations(zip(small, counts, strict=True), 2))
    return not any(
        (a * one[0] - b * other[0]) * (a * one[1] - b * other[1]) < 0
        for times in range(1, multiples + 1)
        for a, b in ((times, 1), (1, times))
        for one, other in pairs
    )
