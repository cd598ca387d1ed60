"""How log-probabilities move in an iteration, kept as stages: the diagnostics of DNPO's paper (arXiv 2502.05400).

Of preference pairs under the policy before and after its training, and of the new policy's own samples: whether, and
how far, it has moved from the policy before it. Leaves out the plots, which the report draws.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from selfboost.drift.passes import k3
from selfboost.measures import Estimated
from selfboost.methods.parts.pairing import pick
from selfboost.notes import Note
from selfboost.records import Answer, Example, Model, Pair, Sampling
from selfboost.scorers.likelihood import Likelihood
from selfboost.setting_types import CountOrNone, Tokens
from selfboost.statistics import mean_interval, ratio_interval
from selfboost.verbs import Verbs

FOLDER = "distributions"
"""Folder of these stages inside the iteration's; the name of the note and of what a run remembers."""
INITIAL = "prepare/initial-samples"
"""The initial model's own samples; their log-probabilities are the stage `prepare/initial-samples-logps`."""
SIDES = ("chosen", "rejected")
Logps = list[float | None]
"""Mean log-probability per token of each answer, in nats; None if an answer has none."""


@dataclass(frozen=True, kw_only=True)
class Movement(Note, kept_as=FOLDER):
    """Results of an iteration's log-probability stages; None where they were not kept or have no value."""

    beta: float | None = None
    """Factor of the rewards."""
    chosen_shift: float | None = None
    """Mean change of the log-probability, in nats per token; so is the next one."""
    rejected_shift: float | None = None
    chosen_reward: float | None = None
    """Mean of β·(change of the summed log-probability); so is the next one."""
    rejected_reward: float | None = None
    reward_margin: float | None = None
    """Mean of chosen minus rejected, over pairs that have both."""
    kl_to_previous: Estimated | None = None
    """KL(new policy ‖ the one before it), estimated on the new one's samples, in nats per answer."""
    kl_per_token: Estimated | None = None
    """The same in nats per token."""
    moved: Estimated | None = None
    """KL(new policy ‖ the one before it) in nats per answer, by the estimator k3: precise where it is small."""
    moved_by_chance: Estimated | None = None
    """The same between two computations of the new policy's log-probabilities, the sampler's and the trainer's."""
    gold_shift: Estimated | None = None
    """Mean paired change of the gold answers' log-probability, in nats per token."""
    margin_shift: Estimated | None = None
    """Mean paired change of chosen minus rejected, in nats per token."""

    @property
    def moves(self) -> bool | None:
        """Whether the policy has moved: `moved` lies above what rounding explains. None where that is unknown."""
        if self.moved is None or self.moved.low is None:
            return None
        chance = self.moved_by_chance.high if self.moved_by_chance else None
        return self.moved.low > (chance or 0.0)

    @property
    def most_changed(self) -> float | None:
        """The largest change of any mean score between 0 and 1 that `moved` leaves possible: sqrt(KL / 2) (Pinsker)."""
        high = self.moved.high if self.moved else None
        return None if high is None else min(1.0, math.sqrt(max(high, 0.0) / 2))


@dataclass(frozen=True, kw_only=True)
class Distributions:
    """How much is measured of an iteration's log-probability changes; nothing of it is trained on."""

    pairs: CountOrNone = 500
    """Pairs of the iteration, at random, whose log-probabilities are kept; 0 = none."""
    prompts: CountOrNone = 200
    """Seed prompts, the same in every iteration, that the new policy answers once at temperature 1; 0 = none."""
    max_tokens: Tokens = 256
    """Token limit of these answers; the divergence is that of answers truncated there."""

    def record(
        self,
        run: Verbs,
        before: Model,
        after: Model,
        pairs: Sequence[Pair],
        beta: float,
        reference: Model | None = None,
    ) -> None:
        """Keep the iteration's log-probabilities and write their results as the note `Movement`.

        `before` is the policy that the iteration began with; `reference` the model that `after` was trained against
        with `beta`, on `pairs`; `before` unless given.
        """
        found = Movement()
        with run.inside(FOLDER):
            if self.pairs and pairs:
                found = self._of_pairs(run, reference or before, after, pairs, beta)
            if self.prompts:
                found = self._of_samples(run, before, after, found)
        if found != Movement():
            run.note(found)

    def _of_pairs(self, run: Verbs, reference: Model, after: Model, pairs: Sequence[Pair], beta: float) -> Movement:
        """Both sides under policy and reference: how far apart they are, and DPO's implicit rewards β·(lp − ref)."""
        drawn = pick(pairs, self.pairs, run.recipe.run.seed + run.iteration)
        shifts, rewards = dict[str, Logps](), dict[str, Logps]()
        for side in SIDES:
            answers = [reply(pair, side) for pair in drawn]
            old = logps(run, f"{side}-before", answers, reference)
            new = logps(run, f"{side}-after", answers, after)
            shifts[side] = [None if o is None or n is None else n - o for o, n in zip(old, new, strict=True)]
            rewards[side] = [
                None if change is None else reward(beta, answer, change)
                for answer, change in zip(answers, shifts[side], strict=True)
            ]
        both = zip(rewards["chosen"], rewards["rejected"], strict=True)
        return Movement(
            beta=beta,
            chosen_shift=_mean(shifts["chosen"]),
            rejected_shift=_mean(shifts["rejected"]),
            chosen_reward=_mean(rewards["chosen"]),
            rejected_reward=_mean(rewards["rejected"]),
            reward_margin=_mean([None if c is None or r is None else c - r for c, r in both]),
            margin_shift=_shift(shifts["chosen"], shifts["rejected"]),
        )

    def _of_samples(self, run: Verbs, before: Model, after: Model, found: Movement) -> Movement:
        """`found` with the divergence of the new policy from the old one, and the shift of the gold answers."""
        seeds = self.drawn_seeds(run)
        own, new = self._own(run, after, seeds, "samples", "samples-after")
        name = INITIAL if before.fingerprint == run.initial.fingerprint else "before-samples"
        self._own(run, before, seeds, name, f"{name}-logps")  # what the report draws beside the new policy's
        old = logps(run, "samples-before", own, before)
        by_answer, by_token = divergence(own, old, new)
        gold = [seed.answer for seed in seeds]
        gold_logps = logps(run, "gold-before", gold, before), logps(run, "gold-after", gold, after)
        return replace(
            found,
            kl_to_previous=by_answer,
            kl_per_token=by_token,
            moved=movement(own, old, new),
            moved_by_chance=movement(own, sampled_logps(own), new),
            gold_shift=_shift(gold_logps[1], gold_logps[0]),
        )

    def drawn_seeds(self, run: Verbs) -> list[Example]:
        """The seeds whose prompts are answered, the same in every iteration of a run."""
        count = min(self.prompts, len(run.seeds))
        chosen = random.Random(f"{FOLDER} {run.recipe.run.seed}").sample(range(len(run.seeds)), count)
        return [run.seeds[i] for i in sorted(chosen)]

    def _own(
        self, run: Verbs, model: Model, seeds: Sequence[Example], name: str, scored: str
    ) -> tuple[list[Answer], Logps]:
        """A model's own samples and their log-probabilities under itself, made on first use."""
        known: dict[str, Any] = run.memory.setdefault(FOLDER, {})
        if model.fingerprint not in known:
            sampling = Sampling(temperature=1.0, max_tokens=self.max_tokens)  # the divergence is of the model itself
            answers = run.sample(name, model, [seed.prompt for seed in seeds], sampling)
            known[model.fingerprint] = answers, logps(run, scored, answers, model)
        return known[model.fingerprint]


def logps(run: Verbs, name: str, answers: Sequence[Answer], model: Model) -> Logps:
    """Mean log-probability per token of each answer under a model, kept as a stage."""
    scorer = Likelihood(policy=model.name, over="mean")
    return [verdict.value for verdict in run.score(name, answers, scorer, policy=model)]


def reply(pair: Pair, side: str) -> Answer:
    """A side of a pair as an answer to the pair's prompt, whatever request it was written for."""
    answer = pair.chosen if side == "chosen" else pair.rejected
    return replace(answer, prompt=pair.prompt, prompt_ids=pair.prompt_ids)


def reward(beta: float, answer: Answer, change: float) -> float:
    """DPO's implicit reward of an answer whose log-probability per token changed by `change`."""
    return beta * len(answer.token_ids) * change


def divergence(samples: Sequence[Answer], old: Logps, new: Logps) -> tuple[Estimated, Estimated] | tuple[None, None]:
    """KL(new ‖ old) as the mean of log p_new − log p_old over samples of the new model, per answer and per token.

    `old` and `new` are the samples' mean log-probabilities per token under the two models. In nats, with 95 %
    intervals; None where no sample has both.
    """
    rows = [
        (len(answer.token_ids) * (n - o), float(len(answer.token_ids)))
        for answer, o, n in zip(samples, old, new, strict=True)
        if o is not None and n is not None
    ]
    if not rows:
        return None, None
    ratios, counts = [ratio for ratio, _ in rows], [count for _, count in rows]
    return Estimated.of(mean_interval(ratios)), Estimated.of(ratio_interval(ratios, counts))


def movement(samples: Sequence[Answer], old: Logps, new: Logps) -> Estimated | None:
    """KL(new ‖ old) in nats per answer by the estimator k3, with its 95 % interval; arguments as in `divergence`.

    k3 = r - 1 - log r with r = p_old / p_new of the whole answer (Schulman 2020, Approximating KL divergence). It is
    never negative and, near 0, about half the square of the log-ratio: it sees a movement that in `divergence`, whose
    terms have both signs, drowns in their spread.
    """
    values = [
        k3(n * len(answer.token_ids), o * len(answer.token_ids))
        for answer, o, n in zip(samples, old, new, strict=True)
        if o is not None and n is not None
    ]
    return Estimated.of(mean_interval(values)) if values else None


def sampled_logps(samples: Sequence[Answer]) -> Logps:
    """The mean log-probability per token that the sampler itself stored with each answer."""
    return [sum(answer.logps) / len(answer.logps) if answer.logps else None for answer in samples]


def _shift(new: Logps, old: Logps) -> Estimated | None:
    """Mean paired difference new - old with its interval; None where nothing has both."""
    known = [n - o for n, o in zip(new, old, strict=True) if n is not None and o is not None]
    return Estimated.of(mean_interval(known)) if known else None


def _mean(values: Logps) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
