"""Task files of a user's own, as tasks of lm-evaluation-harness: YAML as it is, JSONL (gzip too) by its columns.

JSONL is rewritten in the columns that the harness's own task reads, and its configuration is included, so that the
prompts are the harness's to the letter. Such a file has no examples to show: it is measured without any.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from selfboost.benchmarks.parts.protocols import metrics_of
from selfboost.data.rows import rows_of

Row = Mapping[str, Any]
YAML = (".yaml", ".yml")
SUFFIXES = (".jsonl.gz", ".jsonl", *YAML)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True)
class TaskFormat:
    """Columns of a task file, and the harness's task that asks its questions."""

    task: str
    """Name of the harness's task."""
    config: str
    """Its configuration, below the harness's folder of tasks."""
    columns: tuple[str, ...]
    rewritten: Callable[[Row], Row]
    """A row with the columns that the configuration reads."""


def is_file(task: str) -> bool:
    """Whether a task is named by a file."""
    return task.endswith(SUFFIXES)


def is_yaml(task: str) -> bool:
    """Whether a task's file is a configuration of the harness, which may run code."""
    return task.endswith(YAML)


def name_of(task: str) -> str:
    """What a task is called: the file's name without its endings, or the name itself."""
    name = task
    if is_file(task):
        file = Path(task).name
        name = file[: -len(next(suffix for suffix in SUFFIXES if file.endswith(suffix)))]
    return re.sub(r"[^\w.-]", "_", name)


def metrics_in(task: str) -> tuple[str, ...]:
    """The metrics of a task; of a JSONL file those of the harness's task that its columns belong to.

    Raises:
        ValueError: the file can't be read, is empty, or has unknown columns.
    """
    return metrics_of(task) if not is_file(task) or is_yaml(task) else metrics_of(format_of(task).task)


def format_of(path: str) -> TaskFormat:
    """The format of a JSONL file, told by its first row.

    Raises:
        ValueError: the file can't be read, is empty, or has unknown columns.
    """
    for where, row in rows_of(Path(path)):
        for found in FORMATS:
            if all(column in row for column in found.columns) and not _is_other(found, row):
                return found
        known = "; ".join(f"{', '.join(each.columns)} ({each.task})" for each in FORMATS)
        raise ValueError(f"{where}: columns {', '.join(row) or 'none'} are of no known task; allowed: {known}")
    raise ValueError(f"{path}: is empty; a task file has one question per line")


def questions_in(path: str, limit: int) -> int:
    """Questions that a JSONL file holds, of each of MMLU's subjects at most `limit` (0: all).

    Raises:
        ValueError: the file can't be read.
    """
    counts = Counter(str(row.get("subject", "")) for _, row in rows_of(Path(path)))
    return sum(min(count, limit or count) for count in counts.values())


def write_config(path: str, name: str, tasks: Path, folder: Path) -> list[Path]:
    """Write a JSONL file's rows and the configurations that ask them; returns these, one per MMLU subject.

    `tasks` is the harness's folder of tasks, `folder` where to write.

    Raises:
        ValueError: a row is not as the format wants it.
    """
    kind = format_of(path)
    parts: dict[str, list[Row]] = {}
    for where, row in rows_of(Path(path)):
        try:
            parts.setdefault(str(row["subject"]) if kind.task == "mmlu" else "", []).append(kind.rewritten(row))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            why = f"needs {', '.join(kind.columns)} as {kind.task} has them"
            raise ValueError(f"{where}: {why} ({type(error).__name__}: {error})") from error
    return [_write_part(kind, name, subject, rows, tasks, folder) for subject, rows in parts.items()]


def _write_part(kind: TaskFormat, name: str, subject: str, rows: Iterable[Row], tasks: Path, folder: Path) -> Path:
    include = tasks / kind.config.format(subject=subject)
    if not re.fullmatch(r"\w*", subject) or not include.is_file():
        raise ValueError(f"{name}: {subject!r} is no subject of MMLU; write it as the data set does: college_physics")
    data = folder / f"{name}{subject}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = {
        "include": str(include),
        "task": f"{name}_{subject}" if subject else name,
        "tag": None,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
        "training_split": None,
        "validation_split": None,
        "test_split": "test",
        "fewshot_split": None,
        "num_fewshot": 0,
    }
    made = folder / f"{name}{subject}.yaml"
    made.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    return made


def _is_other(kind: TaskFormat, row: Row) -> bool:
    """ARC's questions and OpenBookQA's have the same columns; ARC's say `Question: `."""
    asked = str(row.get("query", ""))
    return (kind.task == "openbookqa" and asked.startswith("Question: ")) or (
        kind.task == "arc_challenge" and not asked.startswith("Question: ")
    )


def _choices(row: Row) -> Row:
    texts, gold = _texts(row["choices"]), _index(row["gold"], len(row["choices"]))
    labels = list(LETTERS[: len(texts)])
    return {"choices": {"text": texts, "label": labels}, "answerKey": labels[gold]}


def _arc(row: Row) -> Row:
    return {"question": _text(row["query"]).removeprefix("Question: "), **_choices(row)}


def _openbookqa(row: Row) -> Row:
    return {"question_stem": _text(row["query"]), **_choices(row)}


def _winogrande(row: Row) -> Row:
    one, two = _texts(row["context_options"])
    at = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    at = one.rfind(" ", 0, at) + 1  # names may begin alike
    sentence = f"{one[:at]}_ {_text(row['continuation'])}"
    return {"sentence": sentence, "option1": one[at:], "option2": two[at:], "answer": str(_index(row["gold"], 2) + 1)}


def _truthfulqa(row: Row) -> Row:
    right, wrong = (_listed(row[column]) for column in ("Correct Answers", "Incorrect Answers"))
    labels = [1] * len(right) + [0] * len(wrong)
    best = _text(row["Best Answer"]).strip()
    return {
        "question": _text(row["Question"]),
        "mc1_targets": {"choices": [best, *wrong], "labels": [1] + [0] * len(wrong)},
        "mc2_targets": {"choices": [*right, *wrong], "labels": labels},
    }


def _hellaswag(row: Row) -> Row:
    endings = _texts(row["endings"])
    texts = {column: _text(row[column]) for column in ("activity_label", "ctx_a")}
    begun = row["ctx_b"] and _text(row["ctx_b"])  # of the ending's sentence; may be empty
    return {**texts, "ctx_b": begun, "endings": endings, "label": str(_index(int(row["label"]), len(endings)))}


def _mmlu(row: Row) -> Row:
    if len(row["choices"]) != 4:
        raise ValueError(f"{len(row['choices'])} choices, not 4")
    return {"question": _text(row["question"]), "choices": _texts(row["choices"]), "answer": _index(row["answer"], 4)}


def _gsm8k(row: Row) -> Row:
    return {"question": _text(row["question"]), "answer": _text(row["answer"])}


def _listed(text: Any) -> list[str]:
    found = [part.strip() for part in _text(text).split(";") if part.strip()]
    if not found:
        raise ValueError("an empty list of answers")
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is no text")
    return value


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list) or len(cast("Sequence[Any]", values)) < 2:
        raise ValueError("fewer than two choices")
    return [_text(value) for value in cast("Sequence[Any]", values)]


def _index(value: Any, count: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
        raise ValueError(f"{value!r} is not one of {count} choices, counted from 0")
    return value


FORMATS = (
    TaskFormat(
        task="arc_challenge",
        config="arc/arc_challenge.yaml",
        columns=("query", "choices", "gold"),
        rewritten=_arc,
    ),
    TaskFormat(
        task="openbookqa",
        config="openbookqa/openbookqa.yaml",
        columns=("query", "choices", "gold"),
        rewritten=_openbookqa,
    ),
    TaskFormat(
        task="winogrande",
        config="winogrande/default.yaml",
        columns=("context_options", "continuation", "gold"),
        rewritten=_winogrande,
    ),
    TaskFormat(
        task="hellaswag",
        config="hellaswag/hellaswag.yaml",
        columns=("activity_label", "ctx_a", "ctx_b", "endings", "label"),
        rewritten=_hellaswag,
    ),
    TaskFormat(
        task="truthfulqa_mc2",
        config="truthfulqa/truthfulqa_mc2.yaml",
        columns=("Question", "Best Answer", "Correct Answers", "Incorrect Answers"),
        rewritten=_truthfulqa,
    ),
    TaskFormat(
        task="mmlu",
        config="mmlu/default/mmlu_{subject}.yaml",
        columns=("subject", "question", "choices", "answer"),
        rewritten=_mmlu,
    ),
    TaskFormat(task="gsm8k", config="gsm8k/gsm8k.yaml", columns=("question", "answer"), rewritten=_gsm8k),
)
"""Formats of JSONL files; the first whose columns a row has."""
