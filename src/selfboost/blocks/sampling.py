"""Samples the answers of a sampling stage in chunks, so that a killed stage resumes where it was.

Every draw has its own seed, from the run's seed, the stage and the prompt: it does not depend on the other draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from selfboost.engines import Engine, Generation, Request, Sampler, Tokenizer
from selfboost.records import Answer, Model, Prompt, Sampling, content_hash
from selfboost.stages import OpenStage

Wanted = tuple[Prompt, int, Request]
"""A prompt, the sample's index, and the request made of them."""


def draw_answers(
    stage: OpenStage, name: str, engine: Engine, model: Model, prompts: Sequence[Prompt], sampling: Sampling, seed: int
) -> None:
    """Sample every prompt `sampling.samples` times into the stage and seal it.

    Requests are made, and answers held, one chunk at a time.
    """

    def fits(i: int, answer: Answer) -> bool:
        number, index = divmod(i, sampling.samples)
        return (answer.prompt.id, answer.index) == (prompts[number].id, index)

    made, total = _Tally(), len(prompts) * sampling.samples
    for answer in stage.resumed(Answer, fits):
        made.add(answer)
    done, tokens = made.answers, 0
    with engine.open(model) as sampler:
        # A resumed stage starts at the beginning of a chunk, so that the same batches give the same bits.
        start = done // sampler.chunk * sampler.chunk
        requests = _requests(sampler.tokenizer, prompts, sampling, f"{seed}/{name}", start)
        while wanted := list(islice(requests, sampler.chunk)):
            answers = _chunk(sampler, model, wanted)
            tokens += sum(len(answer.token_ids) for answer in answers)
            fresh = answers[max(0, done - start) :]
            stage.append(fresh)
            for answer in fresh:
                made.add(answer)
            start += len(wanted)
            stage.progress(start, total, tokens)
    stage.finish(tokens=made.tokens, notes={name: count for name, count in made.faults.items() if count})


def _requests(
    tokenizer: Tokenizer, prompts: Sequence[Prompt], sampling: Sampling, salt: str, start: int
) -> Iterator[Wanted]:
    """The requests from the `start`-th on, each made when it is asked for."""
    first, skipped = divmod(start, sampling.samples)
    for prompt in islice(prompts, first, None):
        ids = tokenizer.prompt_ids(prompt.messages, prompt.prefix)
        for index in range(skipped, sampling.samples):
            seed = int(content_hash([salt, prompt.id, index])[:15], 16)
            yield prompt, index, Request(prompt_ids=ids, sampling=sampling, seed=seed)
        skipped = 0


def _chunk(sampler: Sampler, model: Model, wanted: Sequence[Wanted]) -> list[Answer]:
    generations = dict(sampler.sample([request for _, _, request in wanted]))
    assert len(generations) == len(wanted), "an engine must yield every request once"
    return [
        _answer(sampler.tokenizer, model, prompt, number, request, generations[i])
        for i, (prompt, number, request) in enumerate(wanted)
    ]


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
        self.faults = Counter[str]()

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        ids, prompt_ids, counts = answer.token_ids, answer.prompt_ids, self.faults
        self.answers += 1
        self.tokens += len(ids)
        counts["failed"] += answer.finish == "failed"
        counts["cut at the token limit"] += answer.finish == "length"
        counts["empty"] += answer.finish != "failed" and not answer.text.strip()
        counts["doubled begin token"] += len(prompt_ids) > 1 and prompt_ids[0] == prompt_ids[1]
        counts["doubled end token"] += answer.finish == "stop" and len(ids) > 1 and ids[-1] == ids[-2]
