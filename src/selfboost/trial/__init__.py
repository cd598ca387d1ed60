"""A trial: one iteration of a recipe on a few prompts, to see its answers, pairs and faults before paying for a run.

Models, engine, scorer and trainer are the recipe's own. Trainings are short, so what their models write shows faults,
not quality.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from selfboost import results, store
from selfboost.cluster.threads import limit_torch
from selfboost.data.seed_data import load_seed_data
from selfboost.disk.files import write_atomically
from selfboost.disk.locks import lock
from selfboost.engines.run_day import on_day, today
from selfboost.extras import frame
from selfboost.method import Triable
from selfboost.plan.model_size import model_size
from selfboost.recipe import Recipe
from selfboost.recipe_text import recipe_text
from selfboost.records import Answer, Verdict
from selfboost.stages import Listener
from selfboost.store.cards import StageCard
from selfboost.trial.reduced import Scale, reduced
from selfboost.trial.small_run import Seen, TrialLoop, TrialRun

TITLE = "The recipe of a trial: counts are small, and trainings short."
CUT, FAILED, NO_SCORE = "cut at ", "failed: ", "without a score: "
"""How faults begin."""
CONTEXT = "the end of the model's context"
NUMBER = re.compile(r"\d[\d,.]*")


@dataclass(frozen=True, kw_only=True)
class TriedStage:
    """A stage of the trial, with all of its records."""

    card: StageCard
    answers: Sequence[Answer] = ()
    verdicts: Sequence[Verdict] = ()

    @property
    def faults(self) -> Counter[str]:
        """What went wrong → how often; reasons that differ in their numbers alone count as one."""
        found = [fault for answer in self.answers for fault in faults_of(answer)]
        found += [f"{NO_SCORE}{verdict.reason}" for verdict in self.verdicts if verdict.value is None]
        alike: dict[str, str] = {}
        return Counter(alike.setdefault(NUMBER.sub("#", fault), fault) for fault in found)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a trial found."""

    recipe: Recipe
    """The small one."""
    scale: Scale
    seconds: float
    stages: Sequence[TriedStage]
    """Those of the method, in order."""
    measuring: Sequence[TriedStage]
    """Those of the benchmark."""
    seen: Seen = field(default_factory=Seen)
    error: str = ""
    """Why it stopped, if it did."""
    without_new: str = ""
    """Why the seed's prompts were answered where the recipe wants new ones."""

    def to_pandas(self) -> Any:
        """A data frame with a row for each stage, those of the benchmark last.

        Columns: name, verb, rows, seconds, measuring, faults (what went wrong → how often).

        Raises:
            ValueError: pandas is not installed.
        """
        staged = [(stage, False) for stage in self.stages] + [(stage, True) for stage in self.measuring]
        return frame(
            [
                {name: getattr(stage.card, name) for name in ("name", "verb", "rows", "seconds")}
                | {"measuring": measuring, "faults": dict(stage.faults)}
                for stage, measuring in staged
            ]
        )


def faults_of(answer: Answer) -> Iterator[str]:
    """What is wrong with an answer, in words."""
    if answer.finish == "failed":
        yield f"{FAILED}{answer.reason}"
    elif not answer.text.strip():
        yield "empty"
    if answer.finish == "length":
        most = answer.sampling.max_tokens if answer.sampling else 0
        yield f"{CUT}max_tokens = {most}" if len(answer.token_ids) >= most else f"{CUT}{CONTEXT}"


def try_recipe(recipe: Recipe, root: Path, listener: Listener, prompts: int) -> Trial:
    """Try a recipe in an empty folder. What stops a run is the trial's `error`.

    Raises:
        ValueError: the folder is not empty, or the model, the seed or the method cannot be used at all.
    """
    if root.exists() and any(root.iterdir()):
        raise ValueError(f"{root}: is not empty; a trial needs a new folder (--into)")
    seeds = len(load_seed_data(recipe.seed, recipe.run.seed).train)
    size = model_size(recipe.model.location)
    scale = Scale(prompts=prompts, all_seeds=seeds, parameters=size.parameters if size else 0)
    limit_torch(recipe.run.threads)
    day = date.fromisoformat(recipe.run.date) if recipe.run.date else today()
    recipe = replace(recipe, run=replace(recipe.run, date=day.isoformat()))
    with lock(root), on_day(day):
        tried = _go(reduced(recipe, scale), root, listener, scale)
        if tried.error and not tried.seen.candidates and isinstance(recipe.method, Triable):
            on_seed = reduced(recipe, scale, new_prompts=False)
            if on_seed.method != tried.recipe.method:
                listener.say("no pair from new prompts: the other stages are tried on the seed's own prompts")
                again = _go(on_seed, root, listener, scale)
                seen = again.seen.after(tried.seen)
                tried = replace(again, seen=seen, without_new=tried.error, seconds=tried.seconds + again.seconds)
    return tried


def _go(recipe: Recipe, root: Path, listener: Listener, scale: Scale) -> Trial:
    started, seen, error = time.monotonic(), Seen(), ""
    run = TrialRun(recipe, root, listener, scale, seen)
    write_atomically(root / results.RECIPE, recipe_text(recipe, TITLE).encode())
    try:
        with run.cluster:
            TrialLoop(run, started).go()
    except (ValueError, FloatingPointError) as stopped:
        error = str(stopped)
    run.look_back()
    stages = [_stage(root, card) for card in store.cards(root)]
    apart = [stage.card.name in seen.measuring for stage in stages]
    return Trial(
        recipe=recipe,
        scale=scale,
        seconds=time.monotonic() - started,
        stages=[stage for stage, measures in zip(stages, apart, strict=True) if not measures],
        measuring=[stage for stage, measures in zip(stages, apart, strict=True) if measures],
        seen=seen,
        error=error,
    )


def _stage(root: Path, card: StageCard) -> TriedStage:
    return TriedStage(
        card=card,
        answers=store.read_rows(root, card, Answer) if card.verb == "sample" else (),
        verdicts=store.read_rows(root, card, Verdict) if card.verb == "score" else (),
    )
