"""What each figure is, when it is alarming and why then, and the sentence that says so.

Most levels are relative to the initial model, measured in the same run: what is healthy depends on the task. They are
chosen so that chance alone does not reach them with a hundred answers, and so that collapses that were published do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from selfboost.drift import Drift
from selfboost.measures import SCORE, SHARE, Estimated

NATS, TOKENS, TIMES, POINTS = "nats per token", "tokens", "times", "points"
Rule = Literal["", "above", "below", "rise", "either way", "shift", "length", "scorers"]
"""Against the level: the value itself; its rise over the initial model's; a ratio above it or below 1 / it; the far
end of its interval. `length` and `scorers` look at two figures at once."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A figure of the panel."""

    title: str
    """Its name in plain words."""
    unit: str = SCORE
    """As in `measures.Measure`."""
    rule: Rule = ""
    """When it is alarming; empty: never by itself."""
    level: float = 0.0
    means: str = ""
    """What it means if it is, in a clause."""
    reason: str = ""
    """Why this level: a source, or an argument."""


WATCHED: Mapping[str, Watched] = {
    "length_p10": Watched(title="length, 10 % are shorter", unit=TOKENS),
    "length_median": Watched(title="length, median", unit=TOKENS),
    "length_p90": Watched(title="length, 10 % are longer", unit=TOKENS),
    "length_ratio": Watched(
        title="mean length over the initial model's",
        unit=TIMES,
        rule="either way",
        level=1.5,
        means="answers have changed in length",
        reason="DPO has doubled lengths for no quality (arXiv 2403.19159); this is half of that",
    ),
    "unended": Watched(
        title="answers without an end token",
        unit=SHARE,
        rule="rise",
        level=0.1,
        means="answers no longer end",
        reason="one answer in ten that used to end; far outside chance for a hundred answers",
    ),
    "distinct_1": Watched(title="distinct-1", unit=SHARE),
    "distinct_2": Watched(title="distinct-2", unit=SHARE),
    "distinct_1_ratio": Watched(
        title="distinct-1 over the initial model's",
        unit=TIMES,
        rule="below",
        level=0.6,
        means="answers share more of their words",
        reason="at equal counts of tokens, draws of one model differ by a few percent; learning to be right costs a "
        "policy some of its variety, up to a quarter in the demo",
    ),
    "distinct_2_ratio": Watched(
        title="distinct-2 over the initial model's",
        unit=TIMES,
        rule="below",
        level=0.6,
        means="answers share more of their phrases",
        reason="as for distinct-1",
    ),
    "repeated": Watched(
        title="repeated 4-grams",
        unit=SHARE,
        rule="rise",
        level=0.1,
        means="answers repeat themselves",
        reason="a tenth of the text that was not repeated before; healthy models differ by a few points",
    ),
    "repeated_half": Watched(
        title="answers that are over half repeated",
        unit=SHARE,
        rule="rise",
        level=0.05,
        means="some answers are loops",
        reason="SynPO's filter drops every such answer (arXiv 2410.06961): one in twenty is no accident",
    ),
    "compression": Watched(title="compressed size (zlib)", unit=SHARE),
    "compression_ratio": Watched(
        title="compressed size over the initial model's",
        unit=TIMES,
        rule="below",
        level=0.6,
        means="answers have become alike",
        reason="chat models compress to 34 to 38 %, one text for all prompts to less than 1 %",
    ),
    "self_bleu": Watched(title="self-BLEU", unit=POINTS),
    "self_bleu_rise": Watched(
        title="self-BLEU above the initial model's",
        unit=POINTS,
        rule="above",
        level=15.0,
        means="answers to different prompts have become alike",
        reason="chat models lie between 6 and 11, a collapsed one at 100: three times that spread",
    ),
    "near_duplicates": Watched(
        title="near-duplicates among answers to different prompts",
        unit=SHARE,
        rule="rise",
        level=0.1,
        means="different prompts get the same answer",
        reason="one prompt in ten that used to have an answer of its own",
    ),
    "refusals": Watched(
        title="refusals (English)",
        unit=SHARE,
        rule="rise",
        level=0.05,
        means="the model declines more often",
        reason="the held-out prompts have gold answers, so a refusal is a loss; one in twenty is beyond chance",
    ),
    "unchanged": Watched(title="answers equal to one of the initial model's", unit=SHARE),
    "chosen_logp": Watched(title="log-probability of chosen answers at the end of training", unit=NATS),
    "rejected_logp": Watched(title="log-probability of rejected answers at the end of training", unit=NATS),
    "chosen_change": Watched(
        title="change of the chosen answers' log-probability in training",
        unit=NATS,
        rule="below",
        level=-0.5,
        means="training makes its own chosen answers less likely",
        reason="half of training.collapse_bound's default; each token has lost 40 % of its probability",
    ),
    "entropy": Watched(title="entropy", unit=NATS),
    "entropy_ratio": Watched(
        title="entropy over the initial model's",
        unit=TIMES,
        rule="below",
        level=0.35,
        means="the policy hardly varies its answers any more",
        reason="what is sampled next can then teach little; training on right answers alone halves it",
    ),
    "kl": Watched(
        title="KL to the initial model, estimator k1",
        unit=NATS,
        rule="above",
        level=1.0,
        means="the policy has left the initial model far behind",
        reason="tokens a third as likely under the initial model; scorers are over-optimised from there on "
        "(arXiv 2210.10760 measures it in the square root of the KL)",
    ),
    "kl_k3": Watched(title="KL to the initial model, estimator k3", unit=NATS),
    "gold_perplexity": Watched(title="perplexity of the gold answers"),
    "gold_ratio": Watched(
        title="perplexity of gold over the initial model's",
        unit=TIMES,
        rule="above",
        level=1.5,
        means="gold answers have become less likely",
        reason="gold is what the answers should be like; 0.4 nats per token are lost",
    ),
    "gold_shift": Watched(title="shift of the gold answers' log-probability, paired", unit=NATS),
    "win_rate": Watched(title="win rate against the initial model", unit=SHARE),
    "equal_length_win_rate": Watched(
        title="win rate among answers of equal length",
        unit=SHARE,
        rule="length",
        level=0.5,
        means="it wins only where it is longer or shorter",
        reason="overall the interval lies above 50 %, among equally long answers the value does not",
    ),
    "length_correlation": Watched(
        title="correlation of score and length, within prompts",
        rule="above",
        level=0.5,
        means="the scorer pays for length",
        reason="length then explains a quarter of the differences in score (arXiv 2310.03716 finds that and more)",
    ),
    "train_scorer": Watched(
        title="gain by the training's scorer",
        rule="scorers",
        means="the scorer used in training sees a gain, the held-out one a loss",
        reason="over-optimisation (arXiv 2210.10760); both intervals exclude 0",
    ),
}
"""Every figure, in the order in which it is shown."""


def alarms(panel: Drift, first: Drift, held_out_gain: Estimated, sign: int) -> dict[str, str]:
    """Name → sentence, for the figures beyond their level; `first` is the initial model's panel.

    `held_out_gain` is the gain by the measure that decides, which `sign` turns into an improvement.
    """
    fired: dict[str, str] = {}
    for name, watched in WATCHED.items():
        value, before = panel.value(name), first.value(name)
        if value is None or not watched.rule:
            continue
        if _fires(name, watched, panel, before, _better(held_out_gain, sign)):
            fired[name] = _sentence(watched, value, before)
    return fired


def _better(gain: Estimated, sign: int) -> tuple[float, float] | None:
    """The interval of a gain as an improvement."""
    if gain.low is None or gain.high is None or not sign:
        return None
    low, high = sorted((sign * gain.low, sign * gain.high))
    return low, high


def _fires(name: str, watched: Watched, panel: Drift, before: float | None, better: tuple[float, float] | None) -> bool:
    found, level = panel.figures[name], watched.level
    value = found.value
    assert value is not None, "an absent figure is not asked"
    match watched.rule:
        case "above":
            return value > level
        case "below":
            return value < level
        case "rise":
            return before is not None and value - before > level
        case "either way":
            return not 1 / level <= value <= level
        case "length":
            overall = panel.figures.get("win_rate", Estimated()).low
            return overall is not None and overall > level >= value
        case "scorers":
            return found.low is not None and found.low > 0 and better is not None and better[1] < 0
        case _:
            raise AssertionError(watched.rule)


def _sentence(watched: Watched, value: float, before: float | None) -> str:
    against = f", {shown(before, watched.unit)} for the initial model" if watched.rule == "rise" and before else ""
    words = f"{watched.means}: {watched.title} {shown(value, watched.unit)}{against}"
    return f"{words} (alarm {alarm_level(watched)})" if alarm_level(watched) else words


def alarm_level(watched: Watched) -> str:
    """When a figure fires, in words; empty where it never does or the condition is in `reason`."""
    level = shown(watched.level, watched.unit)
    match watched.rule:
        case "rise":
            rise = f"{100 * watched.level:g} points" if watched.unit == SHARE else level
            return f"{rise} above the initial model's"
        case "either way":
            return f"above {level} or below {shown(1 / watched.level, watched.unit)}"
        case "above" | "below":
            return f"{watched.rule} {level}"
        case "length":
            return f"not above {level}, where it is overall"
        case _:
            return ""


def shown(value: float, unit: str) -> str:
    """A figure with its unit."""
    if unit == SHARE:
        return f"{100 * value:.1f} %"
    if unit == TIMES:
        return f"{value:.2f} times"
    return f"{value:.3g}" if unit == SCORE else f"{value:.3g} {unit}"
