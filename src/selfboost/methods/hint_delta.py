"""Hint-δ, the preference part of G-Zero (arXiv 2605.09959): answers given with a hint over those without; no judge.

The policy writes a hint to each seed prompt and answers with and without it. δ, the mean over tokens of
log π(a | q) − log π(a | q, h) for the plain answer a, says how far the hint moves the policy. Pairs of the lower half
of δ are kept: above, hints give answers away. DPO on means over tokens teaches to answer so without the hint.

From the public code (`Chengsong-Huang/G-Zero`). Left out: training the proposer by GRPO, for which there is no verb
(the authors report the same result without it within noise); its own questions, for which the seed's stand;
their filters against echoed prompts and role markers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from selfboost.disk.sequences import Mapped, Selected, sorted_out
from selfboost.method import ModelName, Rehearsal
from selfboost.methods.parts.pairing import FAULTY_ANSWERS, answer_fault, objection, pick, prompts_of
from selfboost.methods.parts.policy_training import OwnAnswers
from selfboost.notes import Counts, Note
from selfboost.records import Answer, Model, Origin, Prompt, Sampling, user_prompt
from selfboost.scorers.likelihood import Likelihood
from selfboost.setting_types import LARGEST, Positive, Several, SeveralOrNone, Share, Text
from selfboost.statistics import repeated_share, summed
from selfboost.templates import check_template
from selfboost.verbs import Sides, Verbs

PROPOSING = """Write a short hint for whoever answers the question below: how to go about it, what to bear in mind and \
what to avoid, but not the answer itself. Write the hint alone.

### Question
{prompt}

### Hint"""
HINTED = """{prompt}

Hint: {hint}"""
WORDS = 4
"""Words of a sequence whose repetition counts."""
DIGITS = 6
"""Of a number in the note."""


@dataclass(frozen=True, kw_only=True)
class HintedPairs(Counts, decided_by="method.lowest, method.highest or the bounds of answers"):
    """What became of the seed's prompts."""

    things: ClassVar[str] = "pairs of hinted and plain answers"
    cures: ClassVar[Mapping[str, str]] = {
        **FAULTY_ANSWERS,
        "no hint": "the policy does not answer as method.proposing asks: change it, or method.hinting",
        "hinted answer cut": "raise method.sampling.max_tokens",
        "hinted answer shorter": "lower method.least_characters",
        "hinted answer longer": "raise method.most_characters",
        "hinted answer much longer": "raise method.longest_ratio",
        "repetitive": "raise method.max_repetition",
        "without a score": "the cards of the stages plain-logps and hinted-logps have the reason",
    }


@dataclass(frozen=True, kw_only=True)
class HintDeltas(Note):
    """How far hints move the policy from its plain answers, in nats per token."""

    mean: float
    positive: float
    """Share of them above 0."""
    low: float
    """Pairs are kept from this δ on."""
    high: float
    """Up to this one."""
    count: int
    """Prompts that have a δ."""


@dataclass(frozen=True, kw_only=True)
class HintDelta(OwnAnswers):
    """The policy's answers with its own hints over those without, where the hint moves it little; no judge."""

    start: ModelName = "previous"
    """The model that the policy is trained from."""
    reference: ModelName = "previous"
    """The reference model of the loss."""
    proposing: Text = PROPOSING
    """The request for a hint, with the field {prompt}."""
    hinted: Text = HINTED
    """The last user message with its hint, with the fields {prompt} and {hint}."""
    hinting: Sampling = field(default_factory=lambda: Sampling(temperature=1.0, max_tokens=512))
    """How hints are sampled."""
    lowest: Share = 0.0
    """Pairs below this quantile of δ are dropped."""
    highest: Share = 0.5
    """Pairs above this quantile of δ are dropped."""
    least_characters: SeveralOrNone = 100
    """Shortest hinted answer."""
    most_characters: Several = 10_000
    """Longest hinted answer."""
    longest_ratio: Positive = 2.5
    """Greatest length of a hinted answer, as a multiple of the plain one's."""
    max_repetition: Share = 0.5
    """Highest share of repeated sequences of four words in a hinted answer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_template("proposing", self.proposing, {"prompt"})
        check_template("hinted", self.hinted, {"prompt", "hint"})
        if self.hinting.samples != 1:
            raise ValueError(f"hinting.samples = {self.hinting.samples}: must be 1, one hint to each prompt")
        if self.lowest >= self.highest:
            raise ValueError(f"lowest = {self.lowest}: must be below highest = {self.highest}")
        if self.least_characters > self.most_characters:
            raise ValueError(f"least_characters = {self.least_characters}: exceeds most_characters")

    @classmethod
    def suggested(cls) -> Mapping[str, Mapping[str, Any]]:
        """The public code's loss."""
        return {"loss": {"kind": "dpo", "beta": 2.0, "log_probability": "mean"}}

    def for_rehearsal(self, rehearsal: Rehearsal) -> Self:
        """Every pair passes."""
        del rehearsal
        bounds = {
            "least_characters": 0,
            "most_characters": sys.maxsize,
            "longest_ratio": LARGEST,
            "max_repetition": 1.0,
        }
        return replace(self, lowest=0.0, highest=1.0, **bounds)

    @property
    def scored(self) -> bool:
        """Never: the answer that saw the hint is chosen."""
        return False

    def iterate(self, run: Verbs) -> Model:
        """Hint, answer with and without, measure δ, prefer."""
        asked = prompts_of(run.seeds)
        hints = run.sample("hints", run.previous, Mapped(self._request, asked), self.hinting)
        found, counts = sorted_out("no hint" if answer_fault(hint) else "" for hint in hints)
        prompts = Selected(asked, found)
        plain = run.sample("answers", run.previous, prompts, self.sampling)
        asked_with = Mapped(self._with_hint, prompts, Selected(hints, found))
        hinted = run.sample("hinted-answers", run.previous, asked_with, self.sampling)
        kept, reasons = sorted_out(self._objections(run, plain, hinted))
        run.count(HintedPairs, {**reasons, "no hint": counts["no hint"]})
        sides = (Selected(items, kept) for items in (prompts, hinted, plain))
        return self.optimise(run, pick(run.pairs(Sides, *sides), self.pairs, run.recipe.run.seed + run.iteration))

    def _objections(self, run: Verbs, plain: Sequence[Answer], hinted: Sequence[Answer]) -> Sequence[str]:
        """Why each pair is dropped; empty if it is kept. δ is measured where both answers can be sides of a pair."""
        reasons = [objection(better, worse) for better, worse in zip(hinted, plain, strict=True)]
        usable = [place for place, reason in enumerate(reasons) if not reason]
        deltas = _deltas(run, Selected(plain, usable), Selected(hinted, usable))
        known = [delta for delta in deltas if delta is not None]
        low, high = _quantiles(known, self.lowest, self.highest)
        if known:
            run.note(_noted(known, low, high))
        for place, delta in zip(usable, deltas, strict=True):
            if delta is None:
                reasons[place] = "without a score"
            elif not low <= delta <= high:
                reasons[place] = "δ outside the quantiles"
            else:
                reasons[place] = self._quality(hinted[place], plain[place])
        return reasons

    def _quality(self, hinted: Answer, plain: Answer) -> str:
        """Why a hinted answer is not learned; empty if it is."""
        length = len(hinted.text)
        faults = {
            "hinted answer cut at the token limit": hinted.finish == "length",
            "hinted answer shorter than allowed": length < self.least_characters,
            "hinted answer longer than allowed": length > self.most_characters,
            "hinted answer much longer than the plain one": length > self.longest_ratio * len(plain.text),
            "repetitive": repeated_share(hinted.text.split(), WORDS) > self.max_repetition,
        }
        return next((fault for fault, found in faults.items() if found), "")

    def _request(self, prompt: Prompt) -> Prompt:
        origin = Origin(source="hint", iteration=prompt.origin.iteration, parent=prompt.id)
        return user_prompt(self.proposing.format(prompt=prompt.conversation), origin)

    def _with_hint(self, prompt: Prompt, hint: Answer) -> Prompt:
        """The same conversation, its last message with the hint."""
        *before, last = prompt.messages
        content = self.hinted.format(prompt=last.content, hint=hint.text.strip())
        origin = Origin(source="hinted", iteration=prompt.origin.iteration, parent=hint.id)
        return Prompt(messages=(*before, replace(last, content=content)), origin=origin, prefix=prompt.prefix)


def _deltas(run: Verbs, plain: Sequence[Answer], hinted: Sequence[Answer]) -> list[float | None]:
    """δ of each plain answer: its mean log-probability as it was asked for less that with the hint."""

    def as_hinted(answer: Answer, other: Answer) -> Answer:
        return replace(answer, prompt=other.prompt, prompt_ids=other.prompt_ids)

    scorer = Likelihood(policy="previous", over="mean")
    without = run.score("plain-logps", plain, scorer)
    with_hint = run.score("hinted-logps", Mapped(as_hinted, plain, hinted), scorer)
    return [
        None if one.value is None or other.value is None else one.value - other.value
        for one, other in zip(without, with_hint, strict=True)
    ]


def _quantiles(values: Sequence[float], low: float, high: float) -> tuple[float, float]:
    """Two quantiles, between values by interpolation; without values, no bounds."""
    import numpy as np

    if not values:
        return 0.0, 0.0
    found = np.quantile(values, [low, high])
    return float(found[0]), float(found[1])


def _noted(deltas: Sequence[float], low: float, high: float) -> HintDeltas:
    return HintDeltas(
        mean=round(summed(deltas) / len(deltas), DIGITS),
        positive=round(sum(delta > 0 for delta in deltas) / len(deltas), DIGITS),
        low=round(low, DIGITS),
        high=round(high, DIGITS),
        count=len(deltas),
    )
