"""A comparison that may stop early: a betting test, valid at every look (Waudby-Smith & Ramdas 2024, arXiv 2010.09686).

A judge that is asked prompt after prompt costs money. Testing after every prompt with an ordinary test finds a
difference far more often than its level allows. Here the evidence is the wealth of a gambler who bets on the sign of
the difference: if there is no difference the wealth is a nonnegative martingale, and the chance that it ever exceeds
1/α is at most α (Ville 1939), however often one looks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

BETS = tuple(step / 20 for step in range(1, 20))
"""Shares of the wealth that the mixture's gamblers bet, equally weighted: the test need not know the size of a gain."""

State = Literal["better", "worse", "open"]


@dataclass(kw_only=True)
class SequentialTest:
    """Whether the mean of differences in [−1, 1] is above or below 0, decided as soon as the evidence allows.

    Each direction is tested at half of `alpha`, so that the chance of any wrong verdict is at most `alpha`.
    """

    alpha: float = 0.05
    """Largest probability of a verdict when there is no difference."""
    count: int = 0
    """Differences seen."""
    verdict: State = "open"
    """Stays what it first became: `better`, `worse`; `open` before."""
    _up: list[float] = field(default_factory=lambda: [0.0] * len(BETS))
    _down: list[float] = field(default_factory=lambda: [0.0] * len(BETS))

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha = {self.alpha}: must lie between 0 and 1")

    def add(self, differences: Iterable[float]) -> State:
        """Take further differences in order; returns the verdict so far.

        Raises:
            ValueError: a difference lies outside [−1, 1], where the guarantee does not hold.
        """
        for difference in differences:
            if not -1 <= difference <= 1:
                raise ValueError(f"a difference of {difference}: a sequential test needs values in [-1, 1]")
            self.count += 1
            self._up = [wealth + math.log1p(bet * difference) for wealth, bet in zip(self._up, BETS, strict=True)]
            self._down = [wealth + math.log1p(-bet * difference) for wealth, bet in zip(self._down, BETS, strict=True)]
            if self.verdict == "open":
                self.verdict = self._look()
        return self.verdict

    @property
    def evidence(self) -> tuple[float, float]:
        """Natural logarithm of the wealth of the two mixtures: for better, for worse."""
        return _log_mean(self._up), _log_mean(self._down)

    def _look(self) -> State:
        better, worse = self.evidence
        enough = math.log(2 / self.alpha)
        return "better" if better >= enough else "worse" if worse >= enough else "open"


def _log_mean(logs: Sequence[float]) -> float:
    """Logarithm of the mean of exponentials."""
    most = max(logs)
    return most + math.log(sum(math.exp(each - most) for each in logs) / len(logs))
