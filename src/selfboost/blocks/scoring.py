"""Scores the answers of a scoring stage block by block, so that a killed stage resumes with the same bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

from selfboost.blocks.limits import ANY, FaultLimits
from selfboost.cluster import Crew, StageBlock
from selfboost.cluster.here import ThisProcess
from selfboost.engines import Engine, release
from selfboost.engines.kept_models import models_kept_open
from selfboost.records import Answer, Model, Verdict
from selfboost.scorers import Paying, Scorer, Workplace, pairwise, scored
from selfboost.scorers.blocks import block_ends
from selfboost.stages import OpenStage
from selfboost.store.faults import UNSCORED, reason_note
from selfboost.train import Trainer


@dataclass(frozen=True, kw_only=True)
class AnswerScorer:
    """The work of a scoring stage: a scorer judges the answers of a block."""

    scorer: Scorer
    models: Mapping[str, Model]
    trainer: Trainer
    engine: Engine
    """The run's: it lets go of the device before the scorer's models take it."""
    workplace: Workplace = field(default_factory=Workplace)
    """For a scorer that pays for its verdicts, which stays in the run's own process."""
    at_once: int = 1

    @contextmanager
    def open(self) -> Generator[Callable[[Sequence[Answer]], list[Verdict]]]:
        """Gives the function from a block of answers to its verdicts; models are opened by the first block."""
        if self.models:
            release(self.engine)
        with models_kept_open():
            yield self._verdicts

    def _verdicts(self, answers: Sequence[Answer]) -> list[Verdict]:
        return list(scored(self.scorer, answers, self.models, self.trainer, self.workplace))


def score_answers(
    stage: OpenStage,
    name: str,
    crew: Crew,
    worker: AnswerScorer,
    answers: Sequence[Answer],
    workplace: Workplace,
    limits: FaultLimits = ANY,
) -> None:
    """Score the answers into the stage, from the start of the last stored block on, and seal it.

    Verdicts that an earlier attempt stored beyond that block are computed again, and kept as they were.

    Raises:
        ValueError: so many have no score that the others are not worth making.
    """
    expected = (answer.id for answer in answers)
    earlier = stage.resumed(Verdict, lambda verdict: verdict.answer == next(expected))
    done, reasons = len(earlier), Counter(verdict.reason for verdict in earlier if verdict.value is None)
    ends = block_ends(answers, whole_prompts=pairwise(worker.scorer))
    start = max((end for end in ends if end <= done), default=0)
    if isinstance(worker.scorer, Paying):  # it only waits for a server, and counts what it spends
        crew, worker = ThisProcess(), replace(worker, workplace=workplace)
    read, tokens = islice(answers, start, None), 0
    for verdicts in crew.results(worker, _blocks(name, answers, ends, start)):
        fresh = verdicts[max(0, done - start) :]
        stage.append(fresh)
        reasons.update(verdict.reason for verdict in fresh if verdict.value is None)
        start += len(verdicts)
        tokens += sum(len(answer.token_ids) for answer in islice(read, len(verdicts)))
        stage.progress(start, len(answers), tokens)
        if start < len(answers):
            limits.check_so_far(name, _notes(reasons), start)
    stage.finish(tokens=sum(len(a.token_ids) for a in answers), notes=_notes(reasons))


def _notes(reasons: Counter[str]) -> Mapping[str, int | str]:
    return {UNSCORED: reasons.total(), **reason_note(reasons)}


def _blocks(
    name: str, answers: Sequence[Answer], ends: Sequence[int], start: int
) -> Iterator[StageBlock[Sequence[Answer]]]:
    for end in ends:
        if end > start:
            where = f"answers {start + 1:,} to {end:,} of {len(answers):,}"
            yield StageBlock(name=f"{name}, {where}", items=answers[start:end])
            start = end
