"""Sections of a recipe that are not components: the loop, the initial model, the gate, models made from the seed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from selfboost.demo import EMBEDDED, EMBEDDED_MODEL
from selfboost.setting_types import (
    NEW,
    SPEED_ONLY,
    CountOrNone,
    Day,
    Name,
    NotNegative,
    PathOrName,
    Several,
    Share,
    Tokens,
)
from selfboost.suggestions import shown
from selfboost.trackers import TrackerName
from selfboost.train import Training

LONGEST_LIST = 1000
"""Most items of a list in a recipe."""
UNWRITABLE = re.compile("[\0\ud800-\udfff]")
"""Characters that no path or UTF-8 file can hold."""


@dataclass(frozen=True, kw_only=True)
class DriftPasses:
    """The part of the drift panel that asks the models: divergence, entropy, perplexity of gold."""

    prompts: CountOrNone = 0
    """Held-out prompts, at random, that each policy answers once more at temperature 1 (0 = leave this part out)."""
    max_tokens: Tokens = 256
    """Longest of these answers, in tokens; the divergence is that of answers cut there."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The loop."""

    iterations: Annotated[int, Field(ge=1, le=1000)] = 4
    """Rounds of self-improvement."""
    patience: Several = 1000
    """Stop after this many iterations in a row without a promotion."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """Random seed for data order, sampling, splits and resampling."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """PyTorch's CPU threads (0 = PyTorch's default, or a container's quota of cores)."""
    date: Day = ""
    """The day that chat templates show if they ask for one, as 2026-01-31 (empty = the day the run started, UTC)."""
    beside: tuple[Name, ...] = ()
    """Models to measure besides the policy: `seed_sft`, or a folder or hub name."""
    agreement: NotNegative = 0.05
    """Largest mean difference of the sampler's and the trainer's log-probabilities, in nats per token (0 = any)."""
    max_failed: Share = field(default=0.5, metadata=NEW)
    """Stop where more than this share of a stage's answers failed, or has no score (1 = never)."""
    max_cut: Share = field(default=0.9, metadata=NEW)
    """Stop where more than this share of a trained model's answers, to train on, was cut at max_tokens (1 = never)."""
    trackers: tuple[TrackerName, ...] = field(default=(), metadata=SPEED_ONLY)
    """Trackers that get each iteration's measures with intervals, times, drift and alarms: "tensorboard", "wandb" …"""
    tracking_samples: Annotated[int, Field(ge=0, le=1000)] = field(default=0, metadata=SPEED_ONLY)
    """Held-out prompts that the trackers get with gold and answers, a table per iteration (0 = no text is sent)."""
    tracking_project: Name = field(default="selfboost", metadata=SPEED_ONLY)
    """The trackers' project name."""
    tracking_folder: Name = field(default="tracking", metadata=SPEED_ONLY)
    """Where TensorBoard and wandb write, relative to the current directory."""
    drift: DriftPasses = field(default_factory=DriftPasses)
    """Stages of its own that the drift panel may have."""

    def __post_init__(self) -> None:
        try:
            day = date.fromisoformat(self.date) if self.date else None
        except ValueError:
            day = None
        if self.date and (day is None or day.isoformat() != self.date):
            raise ValueError(f"date = {shown(self.date)}: must be a day such as '2026-01-31', or empty")


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """The initial model."""

    path: PathOrName
    """A transformers folder, a hub name, or `embedded`."""

    @property
    def location(self) -> str:
        """Where it is: the path itself, or the folder of the embedded model."""
        return str(EMBEDDED_MODEL) if self.path == EMBEDDED else self.path


@dataclass(frozen=True, kw_only=True)
class SeedModels:
    """How the models made from the seed alone are trained when a scorer or `run.beside` asks for them."""

    sft: Training = field(default_factory=lambda: Training(learning_rate=1e-6, batch_size=32, epochs=3))
    """`seed_sft`: the initial model fine-tuned on the seed."""
    reward: Training = field(default_factory=lambda: Training(learning_rate=1e-5, batch_size=32, epochs=1))
    """`seed_reward`: a reward model (initial model, scalar head) trained on gold over the initial model's answers."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Whether a candidate becomes the policy: a paired test on the validation prompts."""

    rule: Literal["always", "not_worse", "better"] = "not_worse"
    """Promote unless the gain's interval, over the incumbent or over the best policy so far, is below the margin; only
    if the one over the incumbent is above 0; or always (the papers)."""
    measure: Name = "sampled"
    """The measure that decides."""
    margin: NotNegative = 0.01
    """`not_worse` promotes while the upper end of the gain's interval is above minus this."""
    guards: tuple[Name, ...] = ()
    """Measures that must not get worse: no promotion if the interval of one's gain, over the incumbent or over the
    policy that is best by it so far, lies wholly on the worse side."""
    largest_divergence: NotNegative = 0.0
    """No promotion beyond this KL divergence to the initial model, in nats per token (the drift panel's, so
    run.drift.prompts must be above 0); 0 = no bound."""


def check_divergence(gate: Gate, drift: DriftPasses) -> None:
    """Check that a bound on the divergence has prompts to measure it on.

    Raises:
        ValueError: it has none.
    """
    if gate.largest_divergence and not drift.prompts:
        raise ValueError(
            f"gate.largest_divergence = {gate.largest_divergence:g}: is of the drift panel, which has no prompts to "
            "measure it on; set run.drift.prompts above 0, for instance to 100"
        )


def plain(value: Any, where: str) -> Any:
    """A value as settings hold it: lists as tuples, -0.0 as 0.0.

    Raises:
        ValueError: a list is too long, a number is none, or a text has characters that no file can hold.
    """
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if len(items) > LONGEST_LIST:
            raise ValueError(f"{where}: is a list of {len(items):,}, at most {LONGEST_LIST:,} are allowed")
        return tuple(plain(item, where) for item in items)
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError(f"{where} = nan: must be a number")
        return value + 0.0
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{where} = {shown(value)}: must be a whole number of at most 64 bits")
    if isinstance(value, str) and UNWRITABLE.search(value):
        raise ValueError(f"{where} = {shown(value)}: has a null character or half of a surrogate pair")
    return value
