"""What a judged comparison came to, as a note: the win rate, its bounds where judgments are missing, and who judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from selfboost.notes import Note
from selfboost.statistics import summed


@dataclass(frozen=True, kw_only=True)
class Outcomes(Note, kept_as="judged_comparison"):
    """Judged games against an opponent, and what the missing ones could change."""

    judge: str
    """Model, address and hash of its prompt, or the scorer's models."""
    opponent: str
    games: int
    missing: int
    """Games without a verdict; they are left out of the win rate."""
    win_rate: float | None = None
    """A tie counts half; None if every verdict is missing."""
    lowest: float
    """The win rate if every missing game were a loss."""
    highest: float
    """The win rate if every missing game were a win."""

    @classmethod
    def of(cls, won: Sequence[float | None], *, judge: str, opponent: str) -> Self:
        """From the share that was won in each game."""
        known = [each for each in won if each is not None]
        missing, total = len(won) - len(known), summed(known)
        return cls(
            judge=judge,
            opponent=opponent,
            games=len(won),
            missing=missing,
            win_rate=total / len(known) if known else None,
            lowest=total / len(won) if won else 0.0,
            highest=(total + missing) / len(won) if won else 1.0,
        )

    @property
    def sentence(self) -> str:
        """The note in words."""
        rate = "no verdict" if self.win_rate is None else f"{self.win_rate:.1%} won"
        gaps = f"; {self.missing:,} without a verdict, so [{self.lowest:.1%}, {self.highest:.1%}] is possible"
        return f"{rate} of {self.games:,} games against {self.opponent}{gaps if self.missing else ''} ({self.judge})"
