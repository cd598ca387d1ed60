"""Samples the answers of a sampling stage block by block, so that a killed stage resumes where it was.

Every draw has its own seed, from the run's seed, the stage and the prompt: it does not depend on the other draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice

from selfboost.blocks.limits import ANY, FaultLimits
from selfboost.cluster import Crew, StageBlock
from selfboost.engines import Engine, Generation, Request, Sampler, Tokenizer, blocks_at_once
from selfboost.records import Answer, Model, Prompt, Sampling, content_hash
from selfboost.stages import OpenStage
from selfboost.store.faults import CUT, FAILED, reason_note

Wanted = tuple[Prompt, int]
"""A prompt and the sample's index."""


@dataclass(frozen=True, kw_only=True)
class AnswerSampler:
    """The work of a sampling stage: a model answers the prompts of a block."""

    engine: Engine
    model: Model
    sampling: Sampling
    salt: str
    """Tells the draws of this stage from those of others."""

    @property
    def at_once(self) -> int:
        """As many blocks as the engine takes."""
        return blocks_at_once(self.engine)

    @contextmanager
    def open(self) -> Generator[Callable[[Sequence[Wanted]], list[Answer]]]:
        """Open the model; gives the function from a block of prompts to their answers."""
        with self.engine.open(self.model) as sampler:
            yield partial(self._answers, sampler)

    def _answers(self, sampler: Sampler, wanted: Sequence[Wanted]) -> list[Answer]:
        requests = [self._request(sampler.tokenizer, prompt, index) for prompt, index in wanted]
        generations = dict(sampler.sample(requests))
        assert len(generations) == len(wanted), "an engine must yield every request once"
        return [
            _answer(sampler.tokenizer, self.model, prompt, index, requests[i], generations[i])
            for i, (prompt, index) in enumerate(wanted)
        ]

    def _request(self, tokenizer: Tokenizer, prompt: Prompt, index: int) -> Request:
        ids = tokenizer.prompt_ids(prompt.messages, prompt.prefix)
        seed = int(content_hash([self.salt, prompt.id, index])[:15], 16)
        return Request(prompt_ids=ids, sampling=self.sampling, seed=seed)


def draw_answers(
    stage: OpenStage,
    name: str,
    crew: Crew,
    worker: AnswerSampler,
    prompts: Sequence[Prompt],
    limits: FaultLimits = ANY,
) -> None:
    """Sample every prompt `sampling.samples` times into the stage and seal it.

    Blocks are made as workers take them, and a block's answers are held until they are written.

    Raises:
        ValueError: so many answers failed or were cut that the others are not worth making.
    """
    samples, size = worker.sampling.samples, worker.engine.block_size

    expected = ((prompt.id, index) for prompt in prompts for index in range(samples))
    made, total = _Tally(), len(prompts) * samples
    for answer in stage.resumed(Answer, lambda answer: (answer.prompt.id, answer.index) == next(expected)):
        made.add(answer)
    done, tokens = made.answers, 0
    # A resumed stage starts at the beginning of a block, so that the same batches give the same bits.
    start = done // size * size if done < total else total
    for answers in crew.results(worker, _blocks(name, prompts, samples, size, start)):
        tokens += sum(len(answer.token_ids) for answer in answers)
        fresh = answers[max(0, done - start) :]
        stage.append(fresh)
        for answer in fresh:
            made.add(answer)
        start += len(answers)
        stage.progress(start, total, tokens)
        if start < total:
            limits.check_so_far(name, made.notes, made.answers)
    stage.finish(tokens=made.tokens, notes=made.notes)


def _blocks(
    name: str, prompts: Sequence[Prompt], samples: int, size: int, start: int
) -> Iterator[StageBlock[Sequence[Wanted]]]:
    """The blocks from the `start`-th answer on, each made when it is asked for."""
    first, skipped = divmod(start, samples)
    wanted = ((prompt, index) for prompt in islice(prompts, first, None) for index in range(samples))
    wanted = islice(wanted, skipped, None)
    while items := list(islice(wanted, size)):
        end = start + len(items)
        where = f"prompts {start // samples + 1:,} to {(end - 1) // samples + 1:,} of {len(prompts):,}"
        yield StageBlock(name=f"{name}, {where}", items=items)
        start = end


def _answer(
    tokenizer: Tokenizer, model: Model, prompt: Prompt, number: int, request: Request, generation: Generation
) -> Answer:
    text = tokenizer.text(generation.token_ids)
    for stop in request.sampling.stop:
        text = text.partition(stop)[0]
    return Answer(
        prompt=prompt,
        text=text,
        prompt_ids=request.prompt_ids,
        token_ids=generation.token_ids,
        logps=generation.logps,
        finish=generation.finish,
        reason=generation.reason,
        model=model.fingerprint,
        model_name=model.name,
        sampling=request.sampling,
        seed=request.seed,
        index=number,
    )


class _Tally:
    """Counts of a stage's answers and of everything that went wrong in them: nothing is silent."""

    def __init__(self) -> None:
        self.answers, self.tokens = 0, 0
        self.faults, self._reasons = Counter[str](), Counter[str]()

    @property
    def notes(self) -> Mapping[str, int | str]:
        """What the stage's card says of them."""
        return {name: count for name, count in self.faults.items() if count} | dict(reason_note(self._reasons))

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        ids, prompt_ids, counts = answer.token_ids, answer.prompt_ids, self.faults
        self.answers += 1
        self.tokens += len(ids)
        counts[FAILED] += answer.finish == "failed"
        counts[CUT] += answer.finish == "length"
        counts["empty"] += answer.finish != "failed" and not answer.text.strip()
        counts["doubled begin token"] += len(prompt_ids) > 1 and prompt_ids[0] == prompt_ids[1]
        counts["doubled end token"] += answer.finish == "stop" and len(ids) > 1 and ids[-1] == ids[-2]
        if answer.finish == "failed":
            self._reasons[answer.reason] += 1
