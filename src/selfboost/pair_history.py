"""The pairs of a run's iterations: those that a training sees, and the stages that store them already."""

from __future__ import annotations

from collections.abc import Sequence

from selfboost.disk.sequences import Joined
from selfboost.records import Pair
from selfboost.stages import OpenStage
from selfboost.store import Earlier
from selfboost.verbs import Window


class PairHistory:
    """Each iteration's pairs. Once a training has stored them they are read from its stage, and not stored again."""

    def __init__(self) -> None:
        self._pairs: dict[int, Sequence[Pair]] = {}
        self._stored: dict[int, Earlier] = {}

    def windowed(self, iteration: int, pairs: Sequence[Pair], window: Window) -> Sequence[Pair]:
        """An iteration's pairs, and those of earlier iterations within the window."""
        self._pairs[iteration] = pairs
        self._stored.pop(iteration, None)
        length = {"last": 1, "last_two": 2, "all": iteration + 1}[window]
        parts = [self._pairs[t] for t in sorted(self._pairs) if t > iteration - length]
        return Joined(parts) if len(parts) > 1 else pairs

    def stored_before(self, iteration: int, pairs: Sequence[Pair]) -> tuple[Earlier, ...]:
        """The stages of earlier iterations that store the first parts of these pairs, in order, each stage whole."""
        stages = {id(self._pairs[t]): stage for t, stage in self._stored.items() if t < iteration}
        found: list[Earlier] = []
        for part in pairs.parts if isinstance(pairs, Joined) else (pairs,):
            if id(part) not in stages:
                break
            found.append(stages[id(part)])
        return tuple(found)

    def remember(self, iteration: int, stage: OpenStage, own: Sequence[object]) -> None:
        """Note that a stage stores this iteration's pairs, if its own records are those."""
        card = stage.card
        if card is not None and own is self._pairs.get(iteration) and card.own_rows == len(own):
            self._stored[iteration] = Earlier(name=card.name, fingerprint=card.fingerprint, rows=len(own))
            self._pairs[iteration] = stage.own_rows(Pair)


def without_first(records: Sequence[object], parts: int) -> Sequence[object]:
    """Records without those of the first parts that they are joined of."""
    if not (parts and isinstance(records, Joined)):
        return records
    rest = records.parts[parts:]
    return rest[0] if len(rest) == 1 else Joined(rest)
