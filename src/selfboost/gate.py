"""The gate: whether a candidate becomes the policy, and why, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selfboost.drift.passes import Passes, per_token
from selfboost.measures import Measure, gain_of, mean_of
from selfboost.records import Rated
from selfboost.settings import Gate


def decide(gate: Gate, measure: Measure, new: Sequence[Rated], old: Sequence[Rated], seed: int) -> tuple[bool, str]:
    """Whether the candidate becomes the policy, and why, from a paired test on the validation prompts.

    `measure` is the gate's: its direction says which end of the gain's interval must clear the bar.
    """
    gain = gain_of(new, old, gate.measure, seed)
    test = f"validation {gate.measure} {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] against the incumbent"
    if gate.rule == "always":
        return True, f"{test}; the rule is to promote always"
    worst, best = sorted((measure.sign * gain.low, measure.sign * gain.high))
    above, below = ("above", "below") if measure.sign > 0 else ("below", "above")
    if gate.rule == "better":
        return worst > 0, f"{test}; promoted only if the interval is {above} 0"
    margin = f"{-measure.sign * gate.margin}"
    return best > -gate.margin, f"{test}; refused only if the interval is {below} {margin}"


def worsened(guards: Mapping[str, Measure], new: Sequence[Rated], old: Sequence[Rated], seed: int) -> str:
    """Which guards got worse on the validation prompts, in a clause; empty if none did."""
    found = [fall for name, measure in guards.items() if (fall := _fall(name, measure, new, old, seed))]
    return f"the guard {' and the guard '.join(found)} got worse" if found else ""


def _fall(
    name: str, measure: Measure, new: Sequence[Rated], old: Sequence[Rated], seed: int, margin: float = 0.0
) -> str:
    """A measure and its gain, where the whole interval lies on the worse side by more than the margin; else empty."""
    gain = gain_of(new, old, name, seed)
    if max(measure.sign * gain.low, measure.sign * gain.high) >= -margin:
        return ""
    return f"{name} {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


class BestSoFar:
    """Of the policies that have stood, the best on the validation prompts by each measure that the gate minds.

    Each candidate is compared with the policy before it. Falls that are too small for that test, one after another,
    would add up to a collapse; so a candidate must not be worse than the best policy either.
    """

    def __init__(self, gate: Gate, measures: Mapping[str, Measure]) -> None:
        self._margins = dict.fromkeys(gate.guards, 0.0)
        if gate.rule == "not_worse":
            self._margins.setdefault(gate.measure, gate.margin)
        self._measures = {name: measures[name] for name in self._margins}
        self._best: dict[str, tuple[str, Sequence[Rated]]] = {}

    def stands(self, policy: str, ratings: Sequence[Rated]) -> None:
        """A policy stands, with these ratings on the validation prompts."""
        for name, measure in self._measures.items():
            best = self._best.get(name)
            if best is None or measure.sign * (mean_of(ratings, name) - mean_of(best[1], name)) > 0:
                self._best[name] = (policy, ratings)

    def objection(self, new: Sequence[Rated], incumbent: str, seed: int) -> str:
        """By which measures a candidate is worse than the best policy, in a clause; empty if by none.

        Where that is the incumbent, nothing is said: the candidate is compared with it anyway.
        """
        found: list[str] = []
        for name, (policy, ratings) in self._best.items():
            if policy == incumbent:
                continue
            if fall := _fall(name, self._measures[name], new, ratings, seed, self._margins[name]):
                found.append(f"{fall} against {policy}")
        return f"it is worse than the best policy so far: {' and '.join(found)}" if found else ""


def too_far(gate: Gate, passes: Passes | None, seed: int) -> str:
    """Why a candidate has moved too far from the initial model, in a clause; empty if it has not, or nothing is bound.

    The divergence is the drift panel's `kl`: by the estimator k1, in nats per token. A candidate without one (too few
    answers) is not held back.
    """
    if not gate.largest_divergence or passes is None:
        return ""
    found = per_token(passes.samples, passes.k1, seed)
    if found is None or found.value is None or found.value <= gate.largest_divergence:
        return ""
    return (
        f"its KL divergence to the initial model is {found.value:.2f} nats per token, above "
        f"gate.largest_divergence = {gate.largest_divergence:g}"
    )
