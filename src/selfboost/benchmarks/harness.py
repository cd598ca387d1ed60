"""Public tests through lm-evaluation-harness (`pip install 'selfboost[eval]'`), on the model as the engine loads it.

One measure per task, never an average of several, which hides regressions. Presets are the published protocols of
the Open LLM Leaderboard (version 1), SynPO (arXiv 2410.06961) and DNPO (see parts/protocols.py). Left out: models
behind an endpoint, and tasks whose metric is no mean over items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from selfboost.benchmarks.parts import evaluation
from selfboost.benchmarks.parts.evaluation import Evaluated
from selfboost.benchmarks.parts.own_items import of_split
from selfboost.benchmarks.parts.protocols import PRESETS, PresetName, TaskProtocol
from selfboost.benchmarks.parts.task_files import is_file, is_yaml, metrics_in, name_of, questions_in
from selfboost.data.files import content_of
from selfboost.engines import Engine, Loading, Progress
from selfboost.measures import SCORE, SHARE, Declared, Measure
from selfboost.records import Example, Model, Rated
from selfboost.setting_types import MOST_ROWS, PathOrName, RemoteCode, Several, Share
from selfboost.verbs import Verbs

SHARES = ("acc", "acc_norm", "exact_match", "f1")
"""Metrics whose values are shares."""


@dataclass(frozen=True, kw_only=True)
class Harness:
    """Accuracy on public tests (ARC, HellaSwag, MMLU, GSM8K ...) by lm-evaluation-harness."""

    tasks: tuple[PathOrName, ...] = ()
    """Names that the harness knows, or files (JSONL or YAML); `name:metric` for one metric; empty: the preset's."""
    preset: PresetName = ""
    """Published protocol of shots, metrics and chat template: `leaderboard_v1`, `synpo` or `dnpo`."""
    shots: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Solved examples before each question (left out: the preset's number, else the task's own)."""
    chat_template: bool | None = None
    """Put questions as a user's messages and examples as turns before them (left out: as the preset, else not)."""
    limit: Annotated[int, Field(ge=0, le=MOST_ROWS)] = 0
    """Questions of each task, or of each of its parts, from the first on (0 = all)."""
    validation: Share = 0.2
    """In a run, the share of each task's questions on which decisions are made; the others are reported."""
    batch_size: Several = 16
    """Requests computed at a time."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 1234
    """Random seed of the examples that are shown; the harness's own default."""
    trust_remote_code: RemoteCode = False
    """Whether YAML files may be read, which can run code; needs `--trust remote-code` too."""

    def __post_init__(self) -> None:
        if not self.tasks and not self.preset:
            raise ValueError(f"tasks: is empty; name tasks or files, or set preset: {', '.join(filter(None, PRESETS))}")
        names = [name_of(task) for task, _ in self._entries]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tasks: {', '.join(repeated)} is named twice; give each task once, files by other names")
        for task, _ in self._entries:
            self._check_file(task)

    def _check_file(self, task: str) -> None:
        """Refuse a file that may run code, that has no examples to show, or whose columns are of no known task."""
        if is_yaml(task) and not self.trust_remote_code:
            raise ValueError(
                f"tasks: {task} is YAML, which can run code; if you trust it, set trust_remote_code = true with "
                "--trust remote-code"
            )
        if is_yaml(task) or not is_file(task):
            return
        if self.shots:
            raise ValueError(
                f"shots = {self.shots}: {task} holds no examples to show; use 0, or a YAML task with fewshot_split"
            )
        try:
            metrics_in(task)
        except ValueError as error:
            raise ValueError(f"tasks: {error}") from error

    @property
    def own_items(self) -> bool:
        """The questions are the tasks' own."""
        return True

    @property
    def _entries(self) -> list[tuple[str, str]]:
        """Task or file, and the metric that is named with it, if any."""
        found: list[tuple[str, str]] = []
        for task in self.tasks or tuple(PRESETS[self.preset].tasks):
            name, colon, metric = task.rpartition(":")
            found.append((name, metric) if colon and "/" not in metric else (task, ""))
        return found

    def _metrics(self, task: str, named: str) -> tuple[str, ...]:
        return (named,) if named else metrics_in(task)

    @property
    def measures(self) -> Declared:
        """For each task its published metric under the task's name, and others as `task/metric`."""
        return {
            name: Measure(
                title=f"{name_of(task)}: {metric}",
                unit=SHARE if metric.partition(",")[0] in SHARES else SCORE,
                metric=metric,
            )
            for task, named in self._entries
            for name, metric in self._named(task, self._metrics(task, named)).items()
        }

    @staticmethod
    def _named(task: str, metrics: Sequence[str]) -> Mapping[str, str]:
        """Measure → metric, of one task."""
        return {name_of(task) if i == 0 else f"{name_of(task)}/{m}": m for i, m in enumerate(metrics)}

    def rate(self, run: Verbs, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        """Each task is a stage; its questions are shared out between the splits, and all are rated outside a run.

        Raises:
            ValueError: the harness is not installed, or a task cannot be measured.
        """
        del examples
        rated: list[Rated] = []
        nothing = dict.fromkeys(self.measures, ())
        for task, named in self._entries:
            what = self._what(task, self._metrics(task, named))
            work = partial(self._work, model, what)
            own = run.compute(f"harness-{name_of(task)}", model, _inputs(what), work, items=self._items(task))
            measures = self._named(task, what.metrics)
            for each in of_split(own, split, self.validation):
                values = {name: each.values[name] for name in measures}
                rated.append(Rated(prompt=each.prompt, split=split, values={**nothing, **values}))
        return rated

    def _what(self, task: str, metrics: tuple[str, ...]) -> Evaluated:
        protocol, preset = self._protocol(task), PRESETS.get(self.preset)
        return Evaluated(
            task=task,
            metrics=metrics,
            shots=self.shots if self.shots is not None else protocol.shots if protocol else None,
            chat_template=bool(preset and preset.chat_template) if self.chat_template is None else self.chat_template,
            limit=self.limit,
            batch_size=self.batch_size,
            seed=self.seed,
        )

    def _items(self, task: str) -> int:
        """How many questions a task will put; 0 if that is unknown before its data are read."""
        if not is_file(task):
            protocol = PRESETS["synpo"].tasks.get(task)
            return protocol.within(self.limit) if protocol else 0
        return 0 if is_yaml(task) else questions_in(task, self.limit)

    def _protocol(self, task: str) -> TaskProtocol | None:
        preset = PRESETS.get(self.preset)
        return preset.tasks.get(name_of(task)) if preset and not is_file(task) else None

    def _work(
        self, model: Model, what: Evaluated, engine: Engine, progress: Progress
    ) -> tuple[Sequence[Rated], Mapping[str, Any]]:
        if not isinstance(engine, Loading):
            raise ValueError(
                f"benchmark.kind = 'harness': the engine {type(engine).__name__} holds no transformers model; "
                "use engine.kind = 'local'"
            )
        try:
            with engine.load(model) as loaded:
                found = evaluation.evaluate(loaded, what, progress)
        except ValueError as error:
            raise ValueError(f"benchmark.tasks: {error}") from error
        names = list(self._named(what.task, what.metrics))
        rated = [
            Rated(prompt=item.id, split="all", values={n: (v,) for n, v in zip(names, item.values, strict=True)})
            for item in found.items
        ]
        facts = {"task version": found.version, "prompts": found.prompts}
        return rated, {"requests cut at their beginning to fit the context": found.truncated, **facts}


def _inputs(what: Evaluated) -> Mapping[str, Any]:
    """What determines a task's ratings: a file by its content, wherever it lies."""
    content = sha256(content_of(Path(what.task))).hexdigest() if is_file(what.task) else ""
    known = {**vars(what), "task": name_of(what.task), "metrics": list(what.metrics)}
    return {**known, "content": content, "lm_eval": _release()}


def _release() -> str:
    try:
        return evaluation.release()
    except ValueError as error:
        raise ValueError(f"benchmark.kind = 'harness': {error}") from error
