"""Measures a pace: small stages of a run in a temporary folder, each long enough to tell its fixed part from the rest.

Samples, scores and trainings are made by the run's own verbs, so that files, hashes and loading are in the figures.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from selfboost.cluster.here import Here
from selfboost.cluster.processes import Processes
from selfboost.cluster.threads import limit_torch
from selfboost.data.hub_data import is_hub_name
from selfboost.endpoints import endpoints_of
from selfboost.engines import Loading, footprint_of, look_at
from selfboost.engines.checkpoint import choose_device
from selfboost.pace import MeasuredPace, Rate
from selfboost.recipe import Recipe
from selfboost.recipe_parts import scorers_of
from selfboost.records import Answer, Example, Prompt, Sampling
from selfboost.run import Run
from selfboost.scorers import Scorer
from selfboost.setting_types import parts_of
from selfboost.stages import Silent
from selfboost.system import peak_memory, total_memory
from selfboost.train import Demanding, Training, WithFootprint

BUDGET = 5.0
"""Seconds that each of the measured kinds of work may take, about."""
CPU_PARAMETERS = 5e8
"""Most weights of a model that is measured without a GPU: more would take minutes."""
FIRST_STEPS = 8
"""Tokens of the answers by which the time of a decoding step is found first."""
BLOCKS = 4
"""Most batches that are sampled: rows of later ones take the places of rows that end early."""
FEW = 2
"""Texts of the shortest stages, which show the fixed part."""
MOST = 2048
"""Most texts that are read or scored."""
MOST_STEPS = 60
"""Optimiser steps of the measured training, beyond its first pass: steps of few tokens take longer than they seem."""
PASSES = 20.0
"""Most passes of the measured training."""
Result = TypeVar("Result")


def why_not(recipe: Recipe, parameters: int | None) -> str:
    """Why the pace of a recipe cannot be measured here, in words that follow "not measured here:"; empty if it can."""
    if parameters is None:
        return "the model is not on this machine"
    if is_hub_name(recipe.seed.path):
        return "the seed is not on this machine"
    if not isinstance(recipe.engine, Loading) or footprint_of(recipe.engine).batching != "steps":
        return f"the engine {type(recipe.engine).__name__} samples elsewhere"
    trainer = recipe.trainer
    if not isinstance(trainer, WithFootprint) or trainer.footprint().devices != 1:
        return "the training is for several devices"
    if not isinstance(recipe.cluster, Here | Processes):
        return "the recipe samples in several processes"
    try:
        on_gpu = _on_gpu(recipe)
        if isinstance(trainer, Demanding):
            trainer.require(recipe.training)
    except ValueError as error:
        return str(error)
    if not on_gpu and parameters > CPU_PARAMETERS:
        return f"a model of {parameters / 1e9:.2g} billion parameters takes minutes without a GPU"
    return ""


def pace_or_why_not(recipe: Recipe, parameters: int | None) -> MeasuredPace | str:
    """The pace of this machine, or why it is not measured."""
    return why_not(recipe, parameters) or measured_pace(recipe)


def measured_pace(recipe: Recipe) -> MeasuredPace:
    """Measure a recipe's pace; `why_not` must be empty.

    Raises:
        ValueError: the model cannot be opened, sampled from or trained.
    """
    start = time.monotonic()
    limit_torch(recipe.run.threads)
    with TemporaryDirectory(prefix="selfboost-check-") as folder:
        run = Run(_quiet(recipe), Path(folder), Silent())
        with run.cluster:
            found = Probe(run=run, count=itertools.count()).pace()
    beside = recipe.cluster
    processes = beside.number(recipe.engine, recipe.run.threads) if isinstance(beside, Processes) else 1
    return replace(found, seconds=time.monotonic() - start, processes=processes)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The measuring stages of one run."""

    run: Run
    count: Iterator[int]
    """Numbers for the names of stages: none is computed twice."""

    def pace(self) -> MeasuredPace:
        """All rates."""
        recipe = self.run.recipe
        prompts, sampling = [seed.prompt for seed in self.run.seeds], longest_sampling(recipe)
        self._sample(prompts[:1], replace(sampling, max_tokens=min(FIRST_STEPS, sampling.max_tokens), samples=1))
        process = peak_memory()  # what follows is warmed up
        answers, drawn, most = self._sampled(prompts, sampling)
        mean = mean_length(answers, most)
        reading = self._read(answers)
        reads = reading.each * _mean(len(answer.prompt_ids) for answer in answers)  # seconds of an answer's prompt
        training = self._trained(reading)
        machine, memory = _machine(recipe)
        return MeasuredPace(
            machine=machine,
            memory=memory,
            gpu=_on_gpu(recipe),
            sampling=Rate(fixed=drawn.fixed, each=max(drawn.each - reads / mean, 0.1 * drawn.each)),
            reading=reading,
            training=training,
            scoring=[(scorer, self._scored(scorer, answers)) for scorer in plain_scorers(recipe)],
            answer=mean,
            ended=ended_share(answers, most),
            process=process,
            peak=_peak(recipe),
            seconds=0.0,
        )

    def _sampled(self, prompts: Sequence[Prompt], sampling: Sampling) -> tuple[Sequence[Answer], Rate, int]:
        """Answers, seconds by their tokens, and the most tokens that one may have in a run."""
        rows = footprint_of(self.run.engine).rows
        short = replace(sampling, max_tokens=min(FIRST_STEPS, sampling.max_tokens), samples=1)
        fixed, _ = self._sample(prompts[:1], replace(short, max_tokens=1))
        first, answers = self._sample(*_as_many(prompts, rows, short))
        step = max(first - fixed, 1e-4) / max(len(answer.token_ids) for answer in answers)
        steps = BUDGET / step
        batches = max(1, min(BLOCKS, int(steps / sampling.max_tokens)))
        limit = max(short.max_tokens, min(sampling.max_tokens, int(steps / batches)))
        taken, answers = self._sample(*_as_many(prompts, batches * rows, replace(sampling, max_tokens=limit)))
        tokens = sum(len(answer.token_ids) for answer in answers)
        if not tokens:
            raise ValueError("the model answers none of the seed's prompts: their answers are empty or failed")
        rate = Rate(fixed=fixed, each=max(taken - fixed, 1e-6) / tokens)
        context = look_at(self.run.engine, self.run.initial).context_length
        room = context - round(_mean(len(answer.prompt_ids) for answer in answers)) if context else sampling.max_tokens
        return answers, rate, min(sampling.max_tokens, room)

    def _read(self, answers: Sequence[Answer]) -> Rate:
        """Seconds of log-probabilities by tokens of prompt and answer."""
        from selfboost.scorers.likelihood import Likelihood

        return self._scored(Likelihood(policy="initial"), answers)

    def _scored(self, scorer: Scorer, answers: Sequence[Answer]) -> Rate:
        """Seconds of a scorer's verdicts by tokens of prompt and answer."""
        fixed = min(self._score(scorer, answers[:1]), self._score(scorer, answers[:FEW]))  # the first one warms up
        some, taken = answers[:FEW], fixed
        while taken - fixed < BUDGET / 5 and len(some) < min(MOST, len(answers)):
            some = answers[: min(MOST, 8 * len(some))]
            taken = self._score(scorer, some)
        return Rate(fixed=fixed, each=max(taken - fixed, 0.0) / sum(map(_tokens, some)))

    def _trained(self, reading: Rate) -> Rate:
        """Seconds of a training by tokens of prompt and answer, on the seed's own answers."""
        run, training = self.run, self.run.recipe.training
        once = self._train(run.seeds[:1], training, 1.0)
        fixed = min(once, self._train(run.seeds[:1], training, 1.0))
        each = _mean(map(_example_tokens, run.seeds)) * 4 * max(reading.each, 1e-7)  # guessed: three passes and a step
        rows = max(FEW, min(len(run.seeds), int(BUDGET / each)))
        passes = min(PASSES, max(1.0, BUDGET / each / rows), max(1.0, MOST_STEPS * training.batch_size / rows))
        taken = self._train(run.seeds[:rows], training, passes)
        tokens = passes * sum(map(_example_tokens, run.seeds[:rows]))
        return Rate(fixed=fixed, each=max(taken - fixed, 1e-6) / tokens)

    def _train(self, examples: Sequence[Example], training: Training, passes: float) -> float:
        """Seconds of one training."""
        wanted = replace(training, epochs=passes, stop_after=0.0, batch_size=min(training.batch_size, len(examples)))
        return self._timed(lambda name: self.run.finetune(name, examples, wanted, start=self.run.initial))[0]

    def _sample(self, prompts: Sequence[Prompt], sampling: Sampling) -> tuple[float, Sequence[Answer]]:
        return self._timed(lambda name: self.run.sample(name, self.run.initial, prompts, sampling))

    def _score(self, scorer: Scorer, answers: Sequence[Answer]) -> float:
        """Seconds of one scoring."""
        return self._timed(lambda name: self.run.score(name, answers, scorer))[0]

    def _timed(self, work: Callable[[str], Result]) -> tuple[float, Result]:
        start = time.monotonic()
        done = work(f"probe-{next(self.count)}")
        return time.monotonic() - start, done


def longest_sampling(recipe: Recipe) -> Sampling:
    """The settings of the longest answers that a recipe's method samples, else of any."""
    found = list(parts_of(recipe, Sampling))
    own = [sampling for where, sampling in found if where.startswith("method.")]
    return max(own or [sampling for _, sampling in found] or [Sampling()], key=lambda each: each.max_tokens)


def plain_scorers(recipe: Recipe) -> list[Scorer]:
    """Scorers of a recipe, its benchmark's among them, that need no model and no server."""
    return [each for each in dict.fromkeys(scorers_of(recipe)) if not each.needs() and not endpoints_of(each)]


def mean_length(answers: Sequence[Answer], most: int) -> float:
    """Mean tokens of answers that may have `most`, from some that were cut earlier.

    As if an answer ended at every token with the same probability, whose estimate counts the cut ones too: tokens over
    endings (the exponential distribution's maximum likelihood under censoring).
    """
    tokens, ended = sum(len(answer.token_ids) for answer in answers), sum(a.finish == "stop" for a in answers)
    if not ended or not tokens:
        return float(most)
    each = tokens / ended
    return each * (1 - math.exp(-most / each)) if ended < len(answers) else tokens / len(answers)


def ended_share(answers: Sequence[Answer], most: int) -> float:
    """Share of answers that end within `most` tokens, from some that were cut earlier; as in `mean_length`."""
    tokens, ended = sum(len(answer.token_ids) for answer in answers), sum(a.finish == "stop" for a in answers)
    if not ended or not tokens:
        return 0.0
    return max(ended / len(answers), 1 - math.exp(-most * ended / tokens))


def _quiet(recipe: Recipe) -> Recipe:
    """The recipe in one process that shows nothing to others, saves nothing on its way and has no limits on faults."""
    trainer: Any = recipe.trainer
    without = {"trackers": (), "checkpoint_seconds": 0.0, "checkpoint_steps": 0}
    changes = {name: value for name, value in without.items() if hasattr(trainer, name)}
    run = replace(recipe.run, max_failed=1.0, max_cut=1.0)
    return replace(recipe, run=run, cluster=Here(), trainer=replace(trainer, **changes))


def _as_many(prompts: Sequence[Prompt], rows: int, sampling: Sampling) -> tuple[Sequence[Prompt], Sampling]:
    """Prompts and settings that give about so many answers."""
    some = prompts[:rows]
    return some, replace(sampling, samples=math.ceil(rows / len(some)))


def _tokens(answer: Answer) -> int:
    return len(answer.prompt_ids) + len(answer.token_ids)


def _example_tokens(example: Example) -> int:
    return len(example.prompt_ids) + len(example.answer.token_ids)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _on_gpu(recipe: Recipe) -> bool:
    return choose_device(getattr(recipe.engine, "device", "auto")).type == "cuda"


def _peak(recipe: Recipe) -> int:
    import torch

    return int(torch.cuda.max_memory_allocated()) if _on_gpu(recipe) else peak_memory()


def _machine(recipe: Recipe) -> tuple[str, int]:
    """Name and bytes of what works: the GPU, or this machine's cores."""
    import torch

    if _on_gpu(recipe):
        return torch.cuda.get_device_name(0), int(torch.cuda.mem_get_info(0)[1])
    cores = torch.get_num_threads()
    return f"{cores} CPU core{'s' * (cores > 1)}", total_memory()
