"""Samples the answers of a sampling stage in chunks, so that a killed stage resumes where it was.

Every draw has its own seed, from the run's seed, the stage and the prompt: it does not depend on the other draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from selfboost.engines import Engine, Generation, Request, Sampler, Tokenizer
from selfboost.records import Answer, Model, Prompt, Sampling, content_hash
from selfboost.stages import OpenStage

Wanted = tuple[Prompt, int, Request]
"""A prompt, the sample's index, and the request made of them."""


def draw_answers(
    stage: OpenStage, name: str, engine: Engine, model: Model, prompts: Sequence[Prompt], sampling: Sampling, seed: int
) -> None:
    """Sample every prompt `sampling.samples` times into the stage and seal it."""
    done = len(stage.rows_so_far(Answer))
    tokens = 0
    with engine.open(model) as sampler:
        wanted = _requests(sampler.tokenizer, prompts, sampling, f"{seed}/{name}")
        # A resumed stage starts at the beginning of a chunk, so that the same batches give the same bits.
        for start in range(done // sampler.chunk * sampler.chunk, len(wanted), sampler.chunk):
            answers = _chunk(sampler, model, wanted[start : start + sampler.chunk])
            tokens += sum(len(answer.token_ids) for answer in answers)
            stage.append(answers[max(0, done - start) :])
            stage.progress(min(start + sampler.chunk, len(wanted)), len(wanted), tokens)
    answers = stage.rows_so_far(Answer)
    stage.finish(tokens=sum(len(answer.token_ids) for answer in answers), notes=faults(answers))


def _requests(tokenizer: Tokenizer, prompts: Sequence[Prompt], sampling: Sampling, salt: str) -> list[Wanted]:
    wanted: list[Wanted] = []
    for prompt in prompts:
        ids = tokenizer.prompt_ids(prompt.messages, prompt.prefix)
        for index in range(sampling.samples):
            seed = int(content_hash([salt, prompt.id, index])[:15], 16)
            wanted.append((prompt, index, Request(prompt_ids=ids, sampling=sampling, seed=seed)))
    return wanted


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


def faults(answers: Sequence[Answer]) -> dict[str, int]:
    """Counts of everything that went wrong in sampled answers: nothing is silent."""
    counts = Counter[str]()
    for answer in answers:
        ids, prompt_ids = answer.token_ids, answer.prompt_ids
        counts["failed"] += answer.finish == "failed"
        counts["cut at the token limit"] += answer.finish == "length"
        counts["empty"] += answer.finish != "failed" and not answer.text.strip()
        counts["doubled begin token"] += len(prompt_ids) > 1 and prompt_ids[0] == prompt_ids[1]
        counts["doubled end token"] += answer.finish == "stop" and len(ids) > 1 and ids[-1] == ids[-2]
    return {name: count for name, count in counts.items() if count}
