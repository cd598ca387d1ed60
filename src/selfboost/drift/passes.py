"""Figures that need the models: divergence from the initial model, entropy, perplexity of gold, the training's scorer.

Each pass is a stage of the run, over a few held-out prompts (`run.drift`), by the trainer's log-probabilities.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from selfboost.measures import Estimated
from selfboost.records import Answer, Example, Model, Sampling, Verdict
from selfboost.scorers import pairwise
from selfboost.scorers.contexts import same_ids
from selfboost.scorers.likelihood import Likelihood
from selfboost.scorers.verdicts import reasoned_verdicts
from selfboost.setting_types import PathOrName, Score
from selfboost.statistics import mean_interval, ratio_interval, summed
from selfboost.train import Trainer
from selfboost.verbs import Verbs

FOLDER = "drift"
"""Folder of these stages inside the iteration's."""
LEAST = 2
"""Fewest answers that a figure is computed from."""
MOST_LOG = 50.0
"""Log-ratios of a token beyond this count as this: exp would overflow."""
PASSES_FIGURES = (
    "entropy",
    "entropy_ratio",
    "kl",
    "kl_k3",
    "gold_perplexity",
    "gold_ratio",
    "gold_shift",
    "train_scorer",
)
"""Names of all figures of this module."""
Values = Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class TokenDivergence:
    """KL(policy ‖ reference) of an answer drawn from the policy, by the estimator k3 token by token, summed, in nats.

    k3 = r - 1 - log r with r = p_reference / p_policy, never negative; unbiased for the divergence of the next token
    (Schulman 2020, Approximating KL divergence).
    """

    policy: PathOrName = "previous"
    """The model that drew the answers."""
    reference: PathOrName = "initial"
    """The model it is compared with."""
    threshold: Score = 0.0
    """Not used: this chooses no pairs."""

    def needs(self) -> Mapping[str, str]:
        """The two models."""
        return {"policy": self.policy, "reference": self.reference}

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """One value per answer; None, with a reason, if a model cannot read it."""
        sequences, reasons = same_ids(answers, models.values())
        own, others = trainer.logps(models["policy"], sequences), trainer.logps(models["reference"], sequences)
        values = (summed(map(k3, new, old)) for new, old in zip(own, others, strict=True))
        yield from reasoned_verdicts(answers, f"divergence({self.policy}/{self.reference})", reasons, values)


def k3(new: float, old: float) -> float:
    """The estimator for one token (or sequence) drawn from the new model, from its two log-probabilities."""
    log_ratio = min(old - new, MOST_LOG)
    return math.expm1(log_ratio) - log_ratio


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Results of a model's stages, one value per drawn prompt."""

    samples: Sequence[Answer]
    """At temperature 1."""
    gold: Sequence[Answer]
    gold_logps: Values
    """Summed log-probability of each gold answer."""
    k1: Values = ()
    """log p_policy - log p_initial of each sample; empty for the initial model itself."""
    k3: Values = ()
    """The estimator k3 of each sample."""
    train_scores: Values = ()
    """The training's scorer on the samples, and on the initial model's; empty if it may not be asked."""
    first_train_scores: Values = ()
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    """Figures that were not asked for, with reasons."""


def run_passes(run: Verbs, model: Model, first: Passes | None, train_scorer: str) -> Passes:
    """The stages of one model; `first` are the initial model's, None for itself.

    `train_scorer` says why the recipe's scorer may not be asked; empty if it may.
    """
    with run.inside(FOLDER):
        drawn = drawn_examples(run)
        gold = [example.answer for example in drawn]
        sampling = Sampling(temperature=1.0, max_tokens=run.recipe.run.drift.max_tokens)
        samples = run.sample("samples", model, [example.prompt for example in drawn], sampling)
        # One stage for both: opening a model takes longer than reading a few answers.
        own = _values(run.score("logps", [*gold, *samples], Likelihood(policy=model.name), policy=model))
        gold_logps, new = own[: len(gold)], own[len(gold) :]
        if first is None:
            return Passes(samples=samples, gold=gold, gold_logps=gold_logps)
        both = [] if train_scorer else [*samples, *first.samples]  # in one stage, which opens the scorer's models once
        scores = _values(run.score("train-scores", both)) if both else []
        return Passes(
            samples=samples,
            gold=gold,
            gold_logps=gold_logps,
            k1=_gaps(new, _values(run.score("initial-logps", samples, Likelihood(policy="initial")))),
            k3=_values(run.score("divergence-k3", samples, TokenDivergence(policy=model.name), policy=model)),
            train_scores=scores[: len(samples)],
            first_train_scores=scores[len(samples) :],
            missing={"train_scorer": train_scorer} if train_scorer else {},
        )


def drawn_examples(run: Verbs) -> list[Example]:
    """Held-out examples at random, the same in every iteration of a run."""
    count = min(run.recipe.run.drift.prompts, len(run.held_out))
    chosen = random.Random(f"{FOLDER} {run.recipe.run.seed}").sample(range(len(run.held_out)), count)
    return [run.held_out[i] for i in sorted(chosen)]


def why_not_scored(scorer: object, reporting: object, used: bool) -> str:
    """Why the training's scorer is not compared with the benchmark's; empty if it is."""
    if not used:
        return "the method does not use the recipe's scorer"
    if pairwise(scorer):
        return "the recipe's scorer compares answers and rates no single one"
    return "one scorer chooses the pairs and reports" if scorer == reporting else ""


def pass_figures(found: Passes | None, first: Passes | None, seed: int) -> tuple[dict[str, Estimated], dict[str, str]]:
    """Figures by name, and reasons for those that are absent; `first` are the initial model's, None for itself."""
    if found is None:
        return {}, dict.fromkeys(
            PASSES_FIGURES, "it needs stages of its own: run.drift.prompts above 0, and no model beside the policy"
        )
    figures: dict[str, Estimated | None] = {"entropy": entropy(found.samples, seed)}
    if first is not None:
        figures |= {"kl": per_token(found.samples, found.k1, seed), "kl_k3": per_token(found.samples, found.k3, seed)}
    figures |= _gold(found, first, seed)
    if first is not None and not found.missing:
        figures["train_scorer"] = shift(found.train_scores, found.first_train_scores, seed)
    known = {name: figure for name, figure in figures.items() if figure is not None}
    missing = dict.fromkeys(PASSES_FIGURES, "too few answers have log-probabilities or scores")
    return known, {**missing, **found.missing}


def entropy(samples: Sequence[Answer], seed: int = 0) -> Estimated | None:
    """Entropy per token in nats: minus the mean log-probability of the model's own samples at temperature 1."""
    known = [answer for answer in samples if answer.logps]
    return per_token(known, [-summed(answer.logps) for answer in known], seed)


def per_token(answers: Sequence[Answer], sums: Values, seed: int = 0) -> Estimated | None:
    """Sum over all answers divided by their number of tokens, with its interval; None where too few have a value."""
    pairs = zip(answers, sums, strict=True)
    rows = [(total, float(len(a.token_ids))) for a, total in pairs if total is not None and a.token_ids]
    if len(rows) < LEAST:
        return None
    return Estimated.of(ratio_interval([total for total, _ in rows], [count for _, count in rows], seed=seed))


def shift(new: Values, old: Values, seed: int = 0) -> Estimated | None:
    """Mean paired difference new - old with its interval; None where too few prompts have both."""
    known = [gap for gap in _gaps(new, old) if gap is not None]
    return Estimated.of(mean_interval(known, seed=seed)) if len(known) >= LEAST else None


def _gaps(new: Values, old: Values) -> list[float | None]:
    """new - old where there are both."""
    return [None if n is None or o is None else n - o for n, o in zip(new, old, strict=True)]


def _gold(found: Passes, first: Passes | None, seed: int) -> dict[str, Estimated | None]:
    """Perplexity of the gold answers, its ratio to the initial model's, and the paired shift per token."""
    own = per_token(found.gold, found.gold_logps, seed)
    if own is None:
        return {"gold_perplexity": None}
    figures: dict[str, Estimated | None] = {"gold_perplexity": _exp_minus(own)}
    if first is not None:
        moved = per_token(found.gold, _gaps(found.gold_logps, first.gold_logps), seed)
        figures |= {"gold_shift": moved, "gold_ratio": moved and _exp_minus(moved)}
    return figures


def _exp_minus(found: Estimated) -> Estimated:
    """exp(-x) of a value and its interval, whose ends change places."""
    assert found.value is not None, "an estimate that was computed has a value"
    ends = [None if end is None else math.exp(-end) for end in (found.high, found.low)]
    return Estimated(value=math.exp(-found.value), low=ends[0], high=ends[1])


def _values(found: Sequence[Verdict]) -> list[float | None]:
    return [verdict.value for verdict in found]
