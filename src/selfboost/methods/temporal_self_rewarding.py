"""Temporal Self-Rewarding (arXiv 2508.06026): rejected answers from the past, chosen ones from the future.

Anchored rejection: the policy's best of K answers over the worst among them and the initial model's K. DPO on these
makes a temporary future model; future-guided chosen: where its best of K beats the policy's best, it takes that place,
and DPO from the policy again makes the next one. The policy judges all answers, in both phases.

Read in a summary of sections 3.2 to 3.4, not in the paper itself. Not established: the reference of both trainings (the
policy, as their start), sampling settings besides K = 7, and training settings. Left out: fine-tuning the judge (the
paper's EFT), and new prompts for each iteration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from selfboost.disk.sequences import Joined, Selected
from selfboost.method import ModelName
from selfboost.methods.parts.pairing import Filtered, pick, with_verdicts
from selfboost.methods.self_rewarding import SelfRewarding
from selfboost.notes import Note
from selfboost.records import Answer, Model, Pair, Prompt, Sampling, Verdict
from selfboost.verbs import Verbs, Window


@dataclass(frozen=True, kw_only=True)
class FutureGuided(Note):
    """What the future model's answers came to."""

    candidates: int
    """Prompts with a policy's answer over a worse one."""
    by_future: int
    """Those whose chosen answer is now the future model's."""
    kept: int
    """Those that passed the filter."""


class Contest(NamedTuple):
    """Candidate pairs, side by side: the items in a place belong together."""

    prompts: Sequence[Prompt]
    chosen: Sequence[Answer]
    rejected: Sequence[Answer]
    better: Sequence[Verdict]
    worse: Sequence[Verdict]

    def pairs(self, run: Verbs) -> Sequence[Pair]:
        """As pairs."""
        return run.pairs(with_verdicts, *self)


@dataclass(frozen=True, kw_only=True)
class TemporalSelfRewarding(SelfRewarding):
    """A temporary next model's answers over the initial model's, judged by the policy itself."""

    prompts_from: Literal["generator", "seed"] = "seed"
    """Answer the seed's prompts, or write new ones."""
    start: ModelName = "previous"
    """The model that the next policy is trained from."""
    reference: ModelName = "previous"
    """The reference model of the loss."""
    anchor: ModelName = "initial"
    """The past model whose answers are rejected where they are worse than all of the policy's."""
    window: Window = "last"
    """The iterations whose pairs are trained on."""
    samples: Annotated[int, Field(ge=2, le=1000)] = 7
    """K: answers per prompt of each model."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=1.0))
    """How answers are sampled."""

    @classmethod
    def suggested(cls) -> Mapping[str, Mapping[str, Any]]:
        """The paper's loss."""
        return {"loss": {"kind": "dpo"}}

    def iterate(self, run: Verbs) -> Model:
        """Anchor the rejected answers, train the future model, lift the chosen answers, prefer."""
        contests: list[Contest] = []

        def candidates(prompts: Sequence[Prompt]) -> Sequence[Pair]:
            contests.append(self._anchored(run, prompts))
            return contests[-1].pairs(run)

        first = self.gather(run, candidates, self.least_gap)
        start, reference = run.model(self.start), run.model(self.reference)
        future = run.prefer("future", first, start=start, reference=reference)
        lifted, by_future = self._lifted(run, future, _joined(contests))
        kept, _ = self.filter.keep(lifted.pairs(run), self.least_gap)
        run.note(FutureGuided(candidates=len(lifted.prompts), by_future=by_future, kept=len(kept)))
        return self.optimise(run, pick(kept, self.pairs, run.recipe.run.seed + run.iteration))

    def _anchored(self, run: Verbs, prompts: Sequence[Prompt]) -> Contest:
        """The policy's best answer over the worst of its own and the past model's."""
        sampling = replace(self.sampling, samples=self.samples)
        own = run.sample("answers", run.previous, prompts, sampling)
        past = run.sample("anchor-answers", run.model(self.anchor), prompts, sampling)
        answers = Joined((own, past))
        verdicts = Joined((self.scores(run, own), self.scores(run, past, "anchor-")))
        values, n = [verdict.value for verdict in verdicts], self.samples
        found: list[tuple[int, int, int]] = []
        for at in range(len(prompts)):
            own_places, past_places = (range(start + at * n, start + (at + 1) * n) for start in (0, len(own)))
            best, worst = _extremes(values, own_places, past_places)
            if best is not None and worst is not None and best != worst:
                found.append((at, best, worst))
        run.count(Filtered, {"fewer than two scored answers": len(prompts) - len(found)})
        kept, best, worst = (list(map(itemgetter(side), found)) for side in range(3))
        chosen, rejected = (Selected(answers, side) for side in (best, worst))
        better, worse = (Selected(verdicts, side) for side in (best, worst))
        return Contest(Selected(prompts, kept), chosen, rejected, better, worse)

    def _lifted(self, run: Verbs, future: Model, contest: Contest) -> tuple[Contest, int]:
        """The same candidates, the chosen answer the future model's where its best is better; and how often it is."""
        n = self.samples
        answers = run.sample("future-answers", future, contest.prompts, replace(self.sampling, samples=n))
        verdicts = self.scores(run, answers, "future-")
        values = [verdict.value for verdict in verdicts]
        places: list[int] = []  # of the chosen, in the answers before and those of the future, one after another
        for at, verdict in enumerate(contest.better):
            best = _best(values, range(at * n, (at + 1) * n))
            now = None if best is None else values[best]
            lifts = best is not None and now is not None and verdict.value is not None and now > verdict.value
            places.append(len(contest.prompts) + best if best is not None and lifts else at)
        chosen = Selected(Joined((contest.chosen, answers)), places)
        better = Selected(Joined((contest.better, verdicts)), places)
        by_future = sum(place >= len(contest.prompts) for place in places)
        return contest._replace(chosen=chosen, better=better), by_future


def _extremes(values: Sequence[float | None], own: Sequence[int], past: Sequence[int]) -> tuple[int | None, int | None]:
    """Where the policy's best answer is, and the worst of all: a past model's only if it is worse than its own."""
    known = [(value, place) for place in (*own, *past) if (value := values[place]) is not None]
    return _best(values, own), min(known, key=itemgetter(0))[1] if known else None


def _best(values: Sequence[float | None], places: Sequence[int]) -> int | None:
    """Where the greatest value is, the first of equals; None if none is known."""
    known = [(value, place) for place in places if (value := values[place]) is not None]
    return max(known, key=itemgetter(0))[1] if known else None


def _joined(contests: Sequence[Contest]) -> Contest:
    return contests[0] if len(contests) == 1 else Contest(*(Joined(parts) for parts in zip(*contests, strict=True)))
