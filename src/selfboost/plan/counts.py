"""Counts shrunk for a rehearsal, whose rows then lead to those of the true counts.

Counts grow along one straight line, from small values to the true ones. Rows that are sums, multiples and minima of
counts are linear along it as well, so two points give their exact value at its end, and a third, farther away, shows
whether they are linear. Counts multiplied by each other are not covered.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

FEWEST = 24
"""Counts up to this are kept; larger ones stay above it."""
BASES = (FEWEST, 2 * FEWEST, 4 * FEWEST, 8 * FEWEST)
"""Where the smallest of the larger counts may start."""
STEPS = range(10, 1000)
"""In how many steps a line may reach the true counts."""
HUGE = 1_000_000
"""A line to a count above this may have more steps, ..."""
MANY_STEPS = range(1000, 20_000, 10)
"""... so many, ..."""
HUNDREDS = 100
"""... each a multiple of this: the more steps, the farther a rounded share would be off at their end."""
PLACES = (0, 1, 7)
"""The points at which a line is rehearsed: by the last, rounding would add up to more than one."""
GRAINS = (60, 100)
"""Steps are multiples of these, so that rows that are rounded shares of counts are linear too."""
MEASURINGS = 10
"""How often measured prompts are processed for each time that others are."""
OVERHEAD = 100
"""Overhead of a rehearsal, in counts."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The line from small counts to the true ones."""

    starts: Mapping[int, int]
    """True count → its value at the first point."""
    steps: int
    """Point of the true counts; 0: they are rehearsed as they are."""

    @property
    def places(self) -> tuple[int, ...]:
        """The points to rehearse."""
        return PLACES if self.steps else (0,)

    def few(self, count: int, place: int) -> int:
        """A count's value at a point."""
        start = self.starts.get(count, count)
        return start + place * ((count - start) // self.steps) if self.steps else count

    def is_straight(self, rows: Sequence[int]) -> bool:
        """Whether these values at the points lie on a straight line."""
        return not self.steps or rows[-1] - rows[0] == PLACES[-1] * (rows[1] - rows[0])

    def at_end(self, rows: Sequence[int]) -> int:
        """The value at the true counts, given these values at the points, if they are linear."""
        return round(rows[0] + self.steps * (rows[-1] - rows[0]) / PLACES[-1]) if self.steps else rows[0]


TRUE_COUNTS = Line(starts={}, steps=0)
"""No line: the true counts."""


def line_through(
    counts: Iterable[int], measured: Iterable[int], multiples: int, grain: int = 1, *, as_is: bool = True
) -> Line:
    """The cheapest line to rehearse on which no two counts, nor their multiples, change their order.

    `measured`: numbers of measured prompts, which are not compared with other counts. `multiples`: how many times a
    count may add up, as pairs of several iterations do. Steps of all counts are multiples of `grain`. With `as_is` it
    may be the true counts themselves, if they are cheaper to rehearse once.
    """
    known = sorted(set(counts))
    apart = sorted(set(measured) - set(known))
    lines = [TRUE_COUNTS] if as_is else []
    ways = [(steps, steps * grain) for steps in STEPS]
    if known and known[-1] > HUGE:
        ways += [(steps, steps * math.lcm(grain, HUNDREDS)) for steps in MANY_STEPS]
    for base, (steps, whole) in itertools.product(BASES, ways):
        starts = _starts(known, multiples, base, whole) | _starts(apart, multiples, FEWEST, whole)
        lines.append(Line(starts=starts, steps=steps))
    lines.sort(key=lambda line: _effort(line, known) + MEASURINGS * _effort(line, apart))
    return next((line for line in lines if _keeps_order(line, known, multiples)), TRUE_COUNTS)


def _starts(counts: Sequence[int], multiples: int, base: int, whole: int) -> dict[int, int]:
    """In proportion if two successive counts are no more than `multiples` times apart, else closer.

    The distance to the true count is a multiple of `whole`.
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
    """What holds at the first and last points holds between them."""
    small = [line.few(count, line.places[0]) for count in counts]
    pairs = list(itertools.combinations(zip(small, counts, strict=True), 2))
    return not any(
        (a * one[0] - b * other[0]) * (a * one[1] - b * other[1]) < 0
        for times in range(1, multiples + 1)
        for a, b in ((times, 1), (1, times))
        for one, other in pairs
    )
