"""AlpacaEval 2's length-controlled win rate: the win rate if both outputs were equally long (arXiv 2404.04475).

One logistic regression per generator, without an intercept, on three features of an instruction: how much longer the
baseline's output is, how difficult the instruction is, and a constant. The win rate is predicted with the length term
at zero. Beside the generator's judgments, the fit sees those of two outputs whose length was gamed, with little weight.

The authors look difficulty up by row number; here it is looked up by the instruction's text, so that a shuffled or
shortened file can't take the difficulty of another instruction. They choose a small L1 penalty by cross-validation;
here the likelihood is maximised without one, which moves the result by at most 0.12 points of 100.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from selfboost.benchmarks.parts.logistic import logistic_fit
from selfboost.statistics import LEVEL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

INSTRUCTIONS = 805
"""Instructions of AlpacaEval; a length-controlled win rate of fewer is another measure."""
GAMED_WEIGHT = 0.2
"""Weight of all gamed outputs together, relative to the same number of judgments."""
GAMED_BASELINES = 2
"""How many gamed outputs of each instruction the official table holds."""
RESAMPLES = 1000
"""Bootstrap samples of instructions, each with a fit of its own."""


@dataclass(frozen=True, kw_only=True)
class LengthControlled:
    """A length-controlled win rate in percent, with its interval over instructions."""

    win_rate: float
    low: float
    high: float
    weights: tuple[float, float, float]
    """Of length, difficulty and the constant, as the authors publish them."""


@dataclass(frozen=True, kw_only=True)
class OfficialTables:
    """What the fit needs besides the judgments: the authors' data, which a user supplies."""

    difficulty: Mapping[str, float]
    """Instruction → difficulty."""
    gamed: Sequence[tuple[float, float, float]]
    """Of each gamed output: the chance that it wins, the standardised difference of length, the difficulty."""


def read_official(instructions: Sequence[str], gamed: str | Path, difficulty: str | Path) -> OfficialTables:
    """The official tables df_gamed.csv and instruction_difficulty.csv, joined to the instructions in official order.

    Raises:
        ValueError: a file can't be read, lacks a column, or does not cover all instructions.
    """
    if len(set(instructions)) != INSTRUCTIONS:
        raise ValueError(
            f"{len(set(instructions))} different instructions: a length-controlled win rate needs all {INSTRUCTIONS} "
            "of AlpacaEval, in their official order"
        )
    values = {int(float(row[0])): float(row[-1]) for row in _table(difficulty, 2)}
    if missing := [at for at in range(INSTRUCTIONS) if at not in values]:
        raise ValueError(f"{difficulty}: no difficulty for instruction {missing[0]} (and {len(missing) - 1} others)")
    rows = [_gamed(row, gamed) for row in _named_rows(gamed)]
    if len(rows) != GAMED_BASELINES * INSTRUCTIONS:
        raise ValueError(f"{gamed}: {len(rows)} rows; the official table has {GAMED_BASELINES * INSTRUCTIONS}")
    return OfficialTables(difficulty={text: values[at] for at, text in enumerate(instructions)}, gamed=rows)


def length_controlled(
    instructions: Sequence[str],
    chances: Sequence[float],
    lengths: Sequence[int],
    baseline_lengths: Sequence[int],
    tables: OfficialTables,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> LengthControlled:
    """Of one generator: its chances to win and the lengths of both outputs, in characters, per instruction.

    The interval is a bootstrap over instructions that refits in every resample; the standard error that AlpacaEval
    prints is the spread of fitted values, no sampling error.

    Raises:
        ValueError: an instruction has no difficulty, or some of the official instructions are missing.
    """
    import numpy as np

    _check_instructions(instructions, tables)
    difference = np.asarray(baseline_lengths, dtype=float) - np.asarray(lengths, dtype=float)
    spread = float(difference.std(ddof=1))
    length_N = np.tanh(difference / spread) if spread else np.zeros_like(difference)
    difficulty_N = np.asarray([tables.difficulty[text] for text in instructions])
    wins_N = np.asarray(chances, dtype=float)
    gamed_G3 = np.asarray(tables.gamed, dtype=float)
    weights = fit(wins_N, length_N, difficulty_N, gamed_G3)
    generator, found = np.random.default_rng(seed), list[float]()
    for _ in range(resamples):
        at_N = generator.integers(len(wins_N), size=len(wins_N))
        refit = fit(wins_N[at_N], length_N[at_N], difficulty_N[at_N], gamed_G3, start=weights)
        found.append(predicted(refit, difficulty_N[at_N]))
    low, high = np.quantile(found, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return LengthControlled(
        win_rate=predicted(weights, difficulty_N),
        low=float(low),
        high=float(high),
        weights=(float(weights[0]), float(weights[1]), float(weights[2])),
    )


def _check_instructions(instructions: Sequence[str], tables: OfficialTables) -> None:
    unknown = [text for text in instructions if text not in tables.difficulty]
    if unknown or len(set(instructions)) != len(tables.difficulty):
        raise ValueError(
            f"{len(set(instructions))} instructions, {len(unknown)} of them unknown: a length-controlled win rate "
            f"needs the {len(tables.difficulty)} official ones, each once"
        )


def predicted(weights: Sequence[float] | Vector, difficulty_N: Vector) -> float:
    """The win rate in percent at equal length: weights of length, difficulty and the constant."""
    import numpy as np

    return float(100 * (1 / (1 + np.exp(-(weights[1] * difficulty_N + weights[2])))).mean())


def fit(
    wins_N: Vector, length_N: Vector, difficulty_N: Vector, gamed_G3: Vector, start: Vector | None = None
) -> Vector:
    """Weights of length, difficulty and the constant that maximise the weighted likelihood of soft wins.

    `length_N` is the tanh of the standardised difference of length; the gamed rows bring win, standardised difference
    and difficulty, and no constant.
    """
    import numpy as np

    features_RF = np.concatenate(
        [
            np.stack([length_N, difficulty_N, np.ones_like(length_N)], axis=1),
            np.stack([np.tanh(gamed_G3[:, 1]), gamed_G3[:, 2], np.zeros(len(gamed_G3))], axis=1),
        ]
    )
    wins_R = np.concatenate([wins_N, gamed_G3[:, 0]])
    weight_R = np.concatenate([np.ones(len(wins_N)), np.full(len(gamed_G3), GAMED_WEIGHT / GAMED_BASELINES)])
    return logistic_fit(features_RF, weight_R * wins_R, weight_R, start)


def _gamed(row: Mapping[str, str], path: str | Path) -> tuple[float, float, float]:
    try:
        preference = float(row["preference"])
        chance = 0.5 if preference == 0 else preference - 1
        return chance, float(row["std_delta_len"]), float(row["instruction_difficulty"])
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: a row needs numbers in preference, std_delta_len and instruction_difficulty ({error})"
        ) from error


def _named_rows(path: str | Path) -> list[dict[str, str]]:
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error


def _table(path: str | Path, columns: int) -> list[list[str]]:
    """Rows of a CSV file under its heading: the first column is the instruction's number."""
    rows = [list(row.values()) for row in _named_rows(path)]
    try:
        for row in rows:
            if len(row) < columns:
                raise ValueError("too few columns")
            _ = float(row[0]), float(row[-1])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: rows need an instruction's number and its difficulty ({error})") from error
    return rows
