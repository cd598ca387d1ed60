"""Published protocols of lm-evaluation-harness tasks: examples shown, metrics, chat template, each with its source.

The first metric of a task is the one that is published; a metric is named as the harness names it, with its filter
after a comma where it has one. Scores move by points with the chat template and the harness's release: only numbers of
one configuration are comparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PresetName = Literal["", "leaderboard_v1", "synpo", "dnpo"]
"""A published protocol, or none."""
DEFAULT_METRIC = "acc"
"""Of a task that no protocol names."""


@dataclass(frozen=True, kw_only=True)
class TaskProtocol:
    """How one task is measured."""

    metrics: tuple[str, ...]
    """The published one first."""
    shots: int
    """Solved examples shown before each question."""
    items: int = 0
    """Questions of the whole task; 0 if unknown."""
    parts: int = 1
    """Tasks of a group, each of which is cut to a limit by itself."""

    def within(self, limit: int) -> int:
        """Questions that a limit (0: none) leaves; 0 if unknown."""
        return min(self.items, limit * self.parts) if limit else self.items


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How a publication measures."""

    tasks: Mapping[str, TaskProtocol]
    chat_template: bool = False
    """Questions are put as a user's messages, and examples as turns of a conversation."""


LEADERBOARD: Mapping[str, TaskProtocol] = {
    "arc_challenge": TaskProtocol(metrics=("acc_norm", "acc"), shots=25, items=1172),
    "hellaswag": TaskProtocol(metrics=("acc_norm", "acc"), shots=10, items=10_042),
    "truthfulqa_mc2": TaskProtocol(metrics=("acc",), shots=0, items=817),
    "mmlu": TaskProtocol(metrics=("acc",), shots=5, items=14_042, parts=57),
    "winogrande": TaskProtocol(metrics=("acc",), shots=5, items=1267),
    "gsm8k": TaskProtocol(metrics=("exact_match,strict-match", "exact_match,flexible-extract"), shots=5, items=1319),
}
"""The six of the Open LLM Leaderboard, version 1 (the harness's own group `openllm`)."""
FURTHER: Mapping[str, TaskProtocol] = {
    "openbookqa": TaskProtocol(metrics=("acc_norm", "acc"), shots=5, items=500),
    "haerae": TaskProtocol(metrics=("acc_norm", "acc"), shots=5, parts=5),
    "mathqa": TaskProtocol(metrics=("acc_norm", "acc"), shots=5, items=2985),
    "xnli": TaskProtocol(metrics=("acc",), shots=5, items=37_350, parts=15),
    "toxigen": TaskProtocol(metrics=("acc_norm", "acc"), shots=5, items=940),
    "prost": TaskProtocol(metrics=("acc_norm", "acc"), shots=5, items=18_736),
}
"""SynPO's six further tasks with 5 examples (arXiv 2410.06961). Open choice: the paper does not say which accuracy."""
PRESETS: Mapping[str, Preset] = {
    # SPIN (arXiv 2401.01335) measures like this too, with release 0.4.0 of the harness.
    "leaderboard_v1": Preset(tasks=LEADERBOARD),
    "synpo": Preset(tasks={**LEADERBOARD, **FURTHER}),
    # DNPO's published eval.sh: the same six with --apply_chat_template --fewshot_as_multiturn.
    "dnpo": Preset(tasks=LEADERBOARD, chat_template=True),
}


def metrics_of(task: str) -> tuple[str, ...]:
    """The metrics of a task that a protocol names; of any other the default."""
    known = {**LEADERBOARD, **FURTHER}.get(task)
    return known.metrics if known else (DEFAULT_METRIC,)
