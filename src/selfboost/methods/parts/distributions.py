"""How log-probabilities move in an iteration, kept as stages: the diagnostics of DNPO's paper (arXiv 2502.05400).

Of preference pairs under the policy before and after its training, and of the new policy's own samples: how far it has
moved from the policy before it, or whether self-play has stalled. Leaves out the plots, which the report draws.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from selfboost.measures import Estimated
from selfboost.methods.parts.pairing import pick
from selfboost.notes import Note
from selfboost.records import Answer, Example, Model, Pair, Sampling
from selfboost.scorers.likelihood import Likelihood
from selfboost.setting_types import CountOrNone, Tokens
from selfboost.statistics import mean_interval, ratio_interval, wasserstein, wasserstein_by_chance
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
    distance_of_generated: float | None = None
    """Wasserstein-1 of nats per token, each policy on its own answers to the same prompts."""
    distance_of_generated_by_chance: float | None = None
    """The value that 95 % of identical policies stay below."""
    distance_of_gold: float | None = None
    """The same distance, both policies on the gold answers."""


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
        )

    def _of_samples(self, run: Verbs, before: Model, after: Model, found: Movement) -> Movement:
        """`found` with the divergence of the new policy from the old one and the distances of what both find likely."""
        seeds = self.drawn_seeds(run)
        own, new = self._own(run, after, seeds, "samples", "samples-after")
        name = INITIAL if before.fingerprint == run.initial.fingerprint else "before-samples"
        _, earlier = self._own(run, before, seeds, name, f"{name}-logps")
        by_answer, by_token = divergence(own, logps(run, "samples-before", own, before), new)
        gold = [seed.answer for seed in seeds]
        gold_logps = logps(run, "gold-before", gold, before), logps(run, "gold-after", gold, after)
        generated, of_gold = _both(earlier, new), _both(*gold_logps)
        return replace(
            found,
            kl_to_previous=by_answer,
            kl_per_token=by_token,
            distance_of_generated=wasserstein(*generated) if generated else None,
            distance_of_generated_by_chance=wasserstein_by_chance(*generated) if generated else None,
            distance_of_gold=wasserstein(*of_gold) if of_gold else None,
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


def _both(one: Logps, other: Logps) -> tuple[list[float], list[float]] | None:
    """The values of the prompts that have both."""
    known = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return ([a for a, _ in known], [b for _, b in known]) if known else None


def _mean(values: Logps) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
