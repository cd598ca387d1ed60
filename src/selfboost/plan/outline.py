"""A run's planned stages, found by a process of its own while the run is already at work: `python -m` this module.

It is started only once a run lasts, with the least priority; without it a run says no time left.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any

from selfboost import recipe as recipes
from selfboost.plan.cost import Costs, judge_sizes
from selfboost.plan.model_size import model_size
from selfboost.plan.models import estimated_lengths
from selfboost.plan.offline import offline
from selfboost.plan.placement import fleet_for
from selfboost.plan.rows import stages_of
from selfboost.plan.stand_ins import planned_seeds
from selfboost.recipe import Recipe
from selfboost.system import yield_to_others
from selfboost.views.time_left import StageAhead

PATIENCE = 15.0
"""Seconds that a run lasts before its plan is made."""
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
"""Variables by which the process would take itself for one of several that train."""


class BackgroundOutline:
    """The planned stages of a recipe, empty until they are known; used as `with BackgroundOutline(...) as outline`."""

    def __init__(self, recipe: str, settings: Sequence[str], trust: Sequence[str]) -> None:
        self._asked = json.dumps({"recipe": recipe, "settings": list(settings), "trust": list(trust)})
        self._start = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None
        self._answer: IO[bytes] | None = None
        self._stages: Sequence[StageAhead] | None = None

    def __enter__(self) -> BackgroundOutline:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._answer is not None:
            self._answer.close()

    def stages(self) -> Sequence[StageAhead]:
        """The stages in order; starts to look for them once the run has lasted a while."""
        if self._stages is not None:
            return self._stages
        if self._process is None:
            if time.monotonic() - self._start >= PATIENCE:
                self._begin()
        elif self._process.poll() is not None and self._answer is not None:
            self._answer.seek(0)
            self._stages = _read(self._answer.read()) if self._process.returncode == 0 else []
        return self._stages or []

    def _begin(self) -> None:
        own = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
        own |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}
        self._answer = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end; a pipe could fill up
        command = [sys.executable, "-m", "selfboost.plan.outline", self._asked]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, env=own, stdin=quiet, stdout=self._answer, stderr=quiet, process_group=0
        )


def _read(answer: bytes) -> Sequence[StageAhead]:
    """The stages in the last line of what the process wrote; none if it is not that."""
    with suppress(ValueError, TypeError, IndexError):
        return [StageAhead(**stage) for stage in json.loads(answer.splitlines()[-1])]
    return []


def stages_ahead(recipe: Recipe) -> list[StageAhead]:
    """A recipe's stages, with what they need in relation to each other.

    No tokenizer and no configuration of a model is read, which would import PyTorch once more beside the run, a third
    of a gigabyte: the seed's tokens are estimated from its characters.

    Raises:
        ValueError: it cannot be planned.
    """
    with offline():
        data = planned_seeds(recipe.seed, recipe.run.seed)
        lengths = estimated_lengths(recipe, data)
        stages = stages_of(recipe, data, lengths.prompt, lengths.answer, bounded=False)
        size, judges = model_size(recipe.model.location), judge_sizes(stages)
    costs = Costs(recipe=recipe, stages=stages, model=size, judges=judges, hardware=fleet_for(recipe).hardware)
    means = [(found.stage, costs.of(found, "mean")) for found in stages]
    return [StageAhead(name=stage.name, verb=stage.verb, tokens=cost.tokens, hours=cost.hours) for stage, cost in means]


def main(asked: str) -> None:
    """Print the stages of a recipe as one line of JSON.

    Raises:
        ValueError: it cannot be planned.
    """
    yield_to_others()
    wanted: dict[str, Any] = json.loads(asked)
    read = recipes.read(recipes.find(wanted["recipe"]), wanted["settings"], trust=wanted["trust"])
    print(json.dumps([asdict(stage) for stage in stages_ahead(read)]))


if __name__ == "__main__":
    main(sys.argv[1])
