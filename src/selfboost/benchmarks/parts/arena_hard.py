"""Arena-Hard's arithmetic: verdicts, battles, Bradley–Terry scores, style control, intervals over prompts.

A judge compares a model with the baseline twice per prompt, in both orders. The published programs resample battles as
if they were independent, though a clear win counts as three and both orders concern one prompt: in simulation their
nominal 90 % interval covers the truth 60 % of the time. Here prompts are resampled whole.

Sources: the repository lmarena/arena-hard-auto, v0.1 (utils_math.py, arXiv 2406.11939) and v2.0 (show_result.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from selfboost.benchmarks.parts.logistic import logistic_fit
from selfboost.statistics import LEVEL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Outcome = Literal["A>>B", "A>B", "A=B", "B>A", "B>>A"]
VERDICTS: Mapping[str, Outcome] = {
    "A>>B": "A>>B", "A>B": "A>B", "A=B": "A=B", "B=A": "A=B", "B>A": "B>A", "B>>A": "B>>A",
    "A<<B": "B>>A", "A<B": "B>A", "B<A": "A>B", "B<<A": "A>>B",
}  # fmt: skip
"""What a judge may write between brackets → the verdict."""
PATTERNS = (re.compile(r"\[\[([AB<>=]+)\]\]"), re.compile(r"\[([AB<>=]+)\]"))
"""Double brackets, as the judge is asked; else single ones."""
CLEAR = 3
"""Battles that a clear win (>>) counts as."""
RESAMPLES = 1000


def parse(judgment: str) -> Outcome | None:
    """The last verdict that a judge wrote, upper or lower case; None where there is none."""
    for pattern in PATTERNS:
        if found := pattern.findall(judgment.upper()):
            return VERDICTS.get(found[-1])
    return None


@dataclass(frozen=True, kw_only=True)
class Game:
    """One prompt judged in both orders: the model's share of the points, and how many battles that is."""

    prompt: str
    points: float
    """Battles that the model won, a tie counting half."""
    battles: int


def game(prompt: str, first: str, second: str, *, clear: int = CLEAR) -> Game | None:
    """The two judgments of a prompt; in the first the model is B, in the second it is A.

    None if either has no verdict: the published programs drop the prompt, and the caller counts it.
    """
    sides = [_points(parse(first), "B", clear), _points(parse(second), "A", clear)]
    known = [side for side in sides if side is not None]
    if len(known) < len(sides):
        return None
    return Game(prompt=prompt, points=sum(points for points, _ in known), battles=sum(count for _, count in known))


def _points(verdict: Outcome | None, side: str, clear: int) -> tuple[float, int] | None:
    if verdict is None:
        return None
    if verdict == "A=B":
        return 0.5, 1
    count = clear if ">>" in verdict else 1
    return (float(count) if verdict.startswith(side) else 0.0), count


@dataclass(frozen=True, kw_only=True)
class ArenaScore:
    """Probability in percent that a model beats the baseline, with an interval over prompts."""

    score: float
    low: float
    high: float
    prompts: int


def score_of(games: Sequence[Game], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0) -> ArenaScore:
    """Without style control and with one baseline, the Bradley–Terry score is the share of battles won.

    Prompts are resampled whole, with all their battles.

    Raises:
        ValueError: there are no games.
    """
    import numpy as np

    if not games:
        raise ValueError("there is no prompt with two verdicts")
    points_P, battles_P = (
        np.asarray(each, dtype=float) for each in zip(*((g.points, g.battles) for g in games), strict=True)
    )

    def share(at_P: NDArray[np.intp]) -> float:
        return float(100 * points_P[at_P].sum() / battles_P[at_P].sum())

    low, high = _percentiles(share, len(games), level, resamples, seed)
    return ArenaScore(score=share(np.arange(len(games))), low=float(low), high=float(high), prompts=len(games))


@dataclass(frozen=True, kw_only=True)
class Style:
    """What style control knows of an answer: its tokens, and its headers, list items and bold texts."""

    tokens: int
    headers: int
    lists: int
    bold: int


def style_of(answer: str, tokens: int) -> Style:
    """Counts of markdown outside code blocks."""
    text = re.sub(r"```.*?```", "", answer, flags=re.DOTALL)
    return Style(
        tokens=tokens,
        headers=len(re.findall(r"^#{1,6}\s", text, flags=re.MULTILINE)),
        lists=len(re.findall(r"^\s*(?:\d+\.|[-*+])\s", text, flags=re.MULTILINE)),
        bold=len(re.findall(r"\*\*[^*\n]+\*\*|__[^_\n]+__", text)),
    )


def style_features(model: Style, baseline: Style) -> tuple[float, float, float, float]:
    """Length (a − b)/(a + b); of each kind of markdown, its density per token, (a − b)/(a + b + 1)."""
    length = (model.tokens - baseline.tokens) / max(model.tokens + baseline.tokens, 1)

    def density(name: str) -> float:
        one, other = (getattr(style, name) / (style.tokens + 1) for style in (model, baseline))
        return (one - other) / (one + other + 1)

    return length, density("headers"), density("lists"), density("bold")


def controlled_scores(
    games: Mapping[str, Sequence[Game]],
    features: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    level: float = LEVEL,
    style: Literal["equal", "average"] = "equal",
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, ArenaScore]:
    """Scores of several models with style controlled: one Bradley–Terry fit with style features and no penalty.

    `features`: model → prompt → features of its answer against the baseline's (`style_features`). `style`: the score is
    that of an answer in the baseline's style, or, as published, in the average style of the table. It depends on the
    other models in the table, which share the style coefficients. Prompts are resampled whole, for all models at once.

    Raises:
        ValueError: a model has no games, or a game lacks features.
    """
    import numpy as np

    names = list(games)
    rows = [(at, game) for at, name in enumerate(names) for game in games[name]]
    matrix_RF = _matrix(names, rows, features, style)
    points_R, battles_R = np.asarray([(game.points, game.battles) for _, game in rows], dtype=float).T
    prompts = sorted({game.prompt for _, game in rows})
    rows_of = [np.asarray([at for at, (_, g) in enumerate(rows) if g.prompt == prompt]) for prompt in prompts]

    def chances(at_P: NDArray[np.intp]) -> Array:
        at_R = np.concatenate([rows_of[int(at)] for at in at_P])
        weights_F = bradley_terry(matrix_RF[at_R], points_R[at_R], battles_R[at_R])
        return 100 / (1 + np.exp(-weights_F[: len(names)]))

    low_M, high_M = _percentiles(chances, len(prompts), level, resamples, seed)
    found_M = chances(np.arange(len(prompts)))
    return {
        name: ArenaScore(
            score=float(found_M[at]), low=float(low_M[at]), high=float(high_M[at]), prompts=len(games[name])
        )
        for at, name in enumerate(names)
    }


def _matrix(
    names: Sequence[str],
    rows: Sequence[tuple[int, Game]],
    features: Mapping[str, Mapping[str, Sequence[float]]],
    style: Literal["equal", "average"],
) -> Array:
    """One column per model, and the style features, each divided by its standard deviation over the table."""
    import numpy as np

    playing = {at for at, _ in rows}
    if idle := next((name for at, name in enumerate(names) if at not in playing), None):
        raise ValueError(f"{idle}: there is no prompt with two verdicts")
    if lacking := next(
        (f"{names[at]}, prompt {g.prompt}" for at, g in rows if g.prompt not in features[names[at]]), ""
    ):
        raise ValueError(f"{lacking}: no style features")
    style_RF = np.asarray([features[names[at]][game.prompt] for at, game in rows], dtype=float)
    centre_F = style_RF.mean(axis=0) if style == "average" else np.zeros(style_RF.shape[1])
    spread_F = style_RF.std(axis=0)
    style_RF = (style_RF - centre_F) / np.where(spread_F > 0, spread_F, 1)
    return np.concatenate([np.eye(len(names))[[at for at, _ in rows]], style_RF], axis=1)


def bradley_terry(features_RF: Array, points_R: Array, battles_R: Array) -> Array:
    """Weights that maximise the likelihood of `points` won of `battles`, in log-odds.

    The published scores are in units of 400/ln 10 of it.
    """
    return logistic_fit(features_RF, points_R, battles_R)


def _percentiles(
    compute: Callable[[NDArray[np.intp]], float | Array], prompts: int, level: float, resamples: int, seed: int
) -> tuple[Array, Array]:
    """Ends of the bootstrap interval of one figure, or of several at once, with prompts resampled whole."""
    import numpy as np

    generator = np.random.default_rng(seed)
    drawn = [compute(generator.integers(prompts, size=prompts)) for _ in range(resamples)]
    low, high = np.quantile(np.asarray(drawn), ((1 - level) / 2, (1 + level) / 2), axis=0)
    return low, high
