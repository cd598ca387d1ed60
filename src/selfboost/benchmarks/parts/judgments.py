"""Judgments of a public pairwise evaluation, and the win rates that AlpacaEval prints for them.

A judgment is AlpacaEval's `preference`: 1 if the baseline's output is better, 2 if the generator's is, anything between
as a probability, 1.5 or 0 for a draw. Definitions of win rate, standard error and discrete win rate: the repository
tatsu-lab/alpaca_eval, metrics/winrate.py and metrics/glm_winrate.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfboost.data.rows import rows_of
from selfboost.statistics import summed


@dataclass(frozen=True, kw_only=True)
class WinRate:
    """What AlpacaEval's leaderboard shows of one generator, in percent."""

    win_rate: float
    """Mean of the probabilities that the generator's output is better."""
    standard_error: float
    """Of that mean, over instructions; 0 for a single one."""
    discrete_win_rate: float
    """Wins, and half of the draws."""
    n: int
    """Instructions that were judged."""
    missing: int = 0
    """Instructions whose judgment is missing; they are left out of the figures above."""
    low: float
    """The win rate if every missing judgment were a loss."""
    high: float
    """The win rate if every missing judgment were a win."""


def read_judgments(path: str | Path) -> dict[str, list[float | None]]:
    """Generator → the probability that it wins, per instruction in file order; None where the judgment is missing.

    Rows have `generator_2` and `preference`; `generator_1` is the baseline, which must be the same in all rows.

    Raises:
        ValueError: the file can't be read, a row lacks a column, or a preference is no judgment.
    """
    found: dict[str, list[float | None]] = {}
    baselines: dict[str, str] = {}
    for where, row in rows_of(path):
        name = row.get("generator_2")
        if not isinstance(name, str) or "preference" not in row:
            raise ValueError(f"{where}: a judgment has `generator_2` (a name) and `preference`")
        baselines.setdefault(str(row.get("generator_1", "")), where)
        found.setdefault(name, []).append(chance(row["preference"], where))
    if len(baselines) > 1:
        (first, _), (other, there) = list(baselines.items())[:2]
        raise ValueError(f"{there}: the baseline is {other!r}, above it is {first!r}; a win rate needs one baseline")
    if not found:
        raise ValueError(f"{path}: holds no judgments")
    return found


def chance(preference: Any, where: str) -> float | None:
    """The probability that the generator wins, from a preference.

    Raises:
        ValueError: it is neither missing, nor 0, nor a number between 1 and 2.
    """
    if preference is None or (isinstance(preference, float) and math.isnan(preference)):
        return None
    if isinstance(preference, int | float) and not isinstance(preference, bool):
        if preference == 0:
            return 0.5
        if 1 <= preference <= 2:
            return float(preference) - 1
    raise ValueError(f"{where}: preference = {preference!r}: must be a number between 1 and 2, 0 for a draw, or null")


def win_rate_of(chances: Sequence[float | None]) -> WinRate:
    """The leaderboard's figures.

    Raises:
        ValueError: every judgment is missing.
    """
    known = [each for each in chances if each is not None]
    if not known:
        raise ValueError("every judgment is missing")
    mean, missing = summed(known) / len(known), len(chances) - len(known)
    spread = math.sqrt(summed((each - mean) ** 2 for each in known) / max(len(known) - 1, 1) / len(known))
    discrete = summed(float(each > 0.5) + 0.5 * (each == 0.5) for each in known) / len(known)
    return WinRate(
        win_rate=100 * mean,
        standard_error=100 * spread,
        discrete_win_rate=100 * discrete,
        n=len(known),
        missing=missing,
        low=100 * summed(known) / len(chances),
        high=100 * (summed(known) + missing) / len(chances),
    )


def win_rates(judgments: Mapping[str, Iterable[float | None]]) -> dict[str, WinRate]:
    """Generator → figures, the best first."""
    found = {name: win_rate_of(list(chances)) for name, chances in judgments.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1].win_rate))
