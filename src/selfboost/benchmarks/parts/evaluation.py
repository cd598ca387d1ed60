"""One task of lm-evaluation-harness (0.4.13 and later) on a model in memory: the value of every item.

The harness puts the questions and computes the metrics; its means must be those of the items that it hands back.
"""

from __future__ import annotations

import io
import logging
import math
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from selfboost.benchmarks.parts.task_files import SUFFIXES, is_file, is_yaml, name_of, write_config
from selfboost.engines import Loaded, Progress
from selfboost.engines.inspection import reason
from selfboost.suggestions import did_you_mean

MISSING = "needs the library lm-eval: pip install 'selfboost[eval]'"
HASH_DIGITS = 16
"""Of an item's hash, in its id."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One task to be evaluated, and how."""

    task: str
    """A name that the harness knows, or a file."""
    metrics: tuple[str, ...]
    shots: int | None
    """Solved examples before each question; None: as the task says."""
    chat_template: bool
    limit: int
    """Most questions of each task; 0: all."""
    batch_size: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question's result."""

    id: str
    """The task and the hash of the question, the same for every model."""
    values: tuple[float | None, ...]
    """One for each metric."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A task's results."""

    items: Sequence[Item]
    truncated: int
    """Requests that were longer than the model's context and lost their beginning."""
    version: str
    """The task's version, as the harness counts it."""


def release() -> str:
    """The harness's release.

    Raises:
        ValueError: it is not installed.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lm_eval")
    except PackageNotFoundError as error:
        raise ValueError(MISSING) from error


def evaluate(loaded: Loaded, what: Evaluated, progress: Progress) -> Evaluation:
    """Evaluate a model on a task.

    Raises:
        ValueError: no such task, its data cannot be read, or it has no such metric.
    """
    release()
    with TemporaryDirectory() as folder, _quiet():
        import lm_eval
        from lm_eval.models.huggingface import HFLM

        manager, tasks = _tasks(what, Path(folder))
        model = cast(Any, HFLM)(
            pretrained=loaded.weights,
            tokenizer=loaded.tokenizer,
            batch_size=what.batch_size,
            max_length=loaded.context_length,
        )
        watch = _Watch(model, progress)
        try:
            found = cast(Any, lm_eval).simple_evaluate(
                model=model,
                tasks=tasks,
                task_manager=manager,
                num_fewshot=what.shots,
                limit=what.limit or None,
                bootstrap_iters=0,
                log_samples=True,
                apply_chat_template=what.chat_template,
                fewshot_as_multiturn=what.chat_template,
                random_seed=what.seed,
                numpy_random_seed=what.seed,
                torch_random_seed=what.seed,
                fewshot_random_seed=what.seed,
            )
        except Exception as error:  # a task's own templates, filters and metrics may fail in any way
            raise ValueError(f"{what.task}: failed in lm-eval ({type(error).__name__}: {reason(error)})") from error
    versions = {str(found["versions"].get(name)) for name in found["samples"]}
    return Evaluation(items=_items(found, what), truncated=watch.truncated, version=", ".join(sorted(versions)))


def _tasks(what: Evaluated, folder: Path) -> tuple[Any, list[Any]]:
    """The harness's task manager and its tasks or groups, their data read."""
    from lm_eval import tasks
    from lm_eval.tasks import TaskManager

    own = is_file(what.task)
    if not own and Path(what.task).exists():
        raise ValueError(f"{what.task}: is a folder or another kind of file; a task file ends in {', '.join(SUFFIXES)}")
    manager = cast(Any, TaskManager)(include_defaults=False) if own else _all_tasks()
    names: Sequence[str] = [what.task]
    if own and not is_yaml(what.task):
        made = write_config(what.task, name_of(what.task), Path(tasks.__file__).parent, folder)
        names = [str(path) for path in made]
    elif own and not Path(what.task).is_file():
        raise ValueError(f"{what.task}: no such task file")
    elif not own and what.task not in manager.all_tasks:
        raise ValueError(
            f"{what.task!r}: lm-eval {release()} has no such task{did_you_mean(what.task, manager.all_tasks)}; "
            "`lm-eval ls tasks` lists them"
        )
    try:
        loaded = manager.load(list(names))
    except Exception as error:  # of the hub, of a data set, of a configuration
        raise ValueError(
            f"{what.task}: cannot be loaded by lm-eval ({type(error).__name__}: {reason(error)})"
        ) from error
    return manager, list(loaded["tasks"].values())


@cache
def _all_tasks() -> Any:
    """The harness's own tasks, whose thousands of configurations are read once."""
    from lm_eval.tasks import TaskManager

    return cast(Any, TaskManager)()


def _items(found: Mapping[str, Any], what: Evaluated) -> list[Item]:
    items: list[Item] = []
    seen = Counter[str]()
    for task, samples in found["samples"].items():
        documents: dict[int, dict[str, Any]] = {}
        for sample in samples:
            known = documents.setdefault(sample["doc_id"], {"hash": sample["doc_hash"]})
            for metric in sample["metrics"]:
                known[_key(metric, sample["filter"])] = sample[metric]
        for document in documents.values():
            identity = f"{task}:{document['hash'][:HASH_DIGITS]}"
            seen[identity] += 1
            repeated = f"-{seen[identity]}" if seen[identity] > 1 else ""
            values = tuple(_value(document, metric, what.task) for metric in what.metrics)
            items.append(Item(id=identity + repeated, values=values))
        _check_means(found["results"][task], list(documents.values()), what)
    return items


def _key(metric: str, filtered: str) -> str:
    return metric if filtered == "none" else f"{metric},{filtered}"


def _value(document: Mapping[str, Any], metric: str, task: str) -> float | None:
    if metric not in document:
        known = [name for name in document if name != "hash"]
        raise ValueError(
            f"{task}: has no metric {metric!r}; it has {', '.join(known)}: write the task as {task}:{known[0]!s}"
        )
    try:
        value = float(document[metric])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{task}: {metric} has no number for each question, so no interval can be given") from error
    return None if math.isnan(value) else value


def _check_means(result: Mapping[str, Any], documents: Sequence[Mapping[str, Any]], what: Evaluated) -> None:
    """Refuse a metric that is not the mean of its items: intervals and paired tests would be of something else."""
    for metric in what.metrics:
        name, _, filtered = metric.partition(",")
        published = result.get(f"{name},{filtered or 'none'}")
        mean = sum(float(document[metric]) for document in documents) / len(documents)
        if not isinstance(published, int | float) or not math.isclose(published, mean, rel_tol=1e-6, abs_tol=1e-9):
            raise ValueError(f"{what.task}: {metric} is not a mean over questions ({published}, not {mean:.6g})")


class _Watch:
    """Counts the harness's requests as they are answered, and those that are longer than the context."""

    def __init__(self, model: Any, progress: Progress) -> None:
        self.truncated, self._done, self._total, self._progress = 0, 0, 0, progress
        self._longest: int = model.max_length
        self._score: Callable[..., Any] = model._loglikelihood_tokens
        model._loglikelihood_tokens = self._scored
        for name in ("loglikelihood", "generate_until"):
            setattr(model, name, self._counted(getattr(model, name)))
        model.set_cache_hook(self)

    def add_partial(self, _kind: str, _request: Any, _answer: Any) -> None:
        """One request was answered: called by the harness, which would store it in a cache."""
        self._done += 1
        self._progress(self._done, max(self._total, self._done), 0)

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(requests: Sequence[Any], **settings: Any) -> Any:
            self._total += len(requests)
            return method(requests, **settings)

        return counted

    def _scored(self, requests: Sequence[Any], **settings: Any) -> Any:
        # The harness cuts context and choice to one token more than the model reads: the last one is only predicted.
        self.truncated += sum(len(context) + len(choice) > self._longest + 1 for _, context, choice in requests)
        return self._score(requests, **settings)


@contextmanager
def _quiet() -> Generator[None]:
    """Without the bars and remarks of lm-eval and datasets: the run's own progress is shown instead."""
    logger = logging.getLogger("lm_eval")
    level, nowhere = logger.level, io.StringIO()
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield
    finally:
        logger.setLevel(level)
