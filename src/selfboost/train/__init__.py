"""Training: the verbs `finetune` and `prefer`. A file here is a trainer when it defines the class of its own name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

from pydantic import Field

from selfboost.engines import Progress
from selfboost.losses import Loss
from selfboost.records import Example, Model, Pair
from selfboost.setting_types import (
    MOST_TOKENS,
    SPEED_ONLY,
    Name,
    NotNegative,
    Passes,
    PassesOrNone,
    Positive,
    SeveralOrNone,
)


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of one optimisation. Defaults: SimPO's recipe (arXiv 2405.14734), which SynPO leaves unstated."""

    learning_rate: Positive = 6e-7
    """Peak learning rate."""
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 128
    """Examples or pairs per optimiser step."""
    epochs: Passes = 1.0
    """Passes over the data; a fraction is allowed."""
    optimizer: Literal["adamw", "adamw_8bit", "rmsprop"] = "adamw"
    """AdamW (betas 0.9, 0.999), the same with moments in 8 bits (bitsandbytes), or RMSprop (SPIN's and DNPO's)."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate decays to 0 after the warm-up, or that it stays constant."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps over which the learning rate warms up linearly from 0."""
    weight_decay: NotNegative = 0.0
    """Decoupled weight decay (AdamW, in 8 bits too)."""
    max_gradient_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    max_length: Annotated[int, Field(ge=2, le=MOST_TOKENS)] = 2048
    """Longest prompt plus completion, in tokens; longer ones keep the prompt's end and the completion's start."""
    max_prompt_length: Annotated[int, Field(ge=0, le=MOST_TOKENS)] = 0
    """Longest prompt, in tokens; longer ones keep their end (0 = whatever `max_length` leaves room for)."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of a moving average of the weights, which becomes the model (0 = the last step's weights)."""
    lora_rank: SeveralOrNone = 0
    """Train an adapter of this rank (LoRA, by peft) and merge it at the end; 0 = all weights are trained."""
    lora_alpha: Positive = 16.0
    """The adapter's product is scaled by lora_alpha / lora_rank."""
    lora_targets: Name | tuple[Name, ...] = "all-linear"
    """Layers with an adapter: all linear ones below the head, or a list of names such as "q_proj"."""

    stop_after: PassesOrNone = 0.0
    """Stop after this many passes, with the learning rate still scheduled for `epochs` (0 = run all of them)."""
    collapse: Literal["warn", "stop", "ignore"] = field(default="warn", metadata=SPEED_ONLY)
    """What to do when the chosen answers' log-probability collapses: warn, stop with an error, or nothing."""
    collapse_bound: Positive = field(default=1.0, metadata=SPEED_ONLY)
    """How far the chosen answers' log-probability may fall below its start, in nats per token (preference losses)."""

    def __post_init__(self) -> None:
        if self.stop_after > self.epochs:
            raise ValueError(f"stop_after = {self.stop_after}: must be at most epochs = {self.epochs}")
        if self.optimizer == "rmsprop" and self.weight_decay:
            raise ValueError(f"weight_decay = {self.weight_decay} with optimizer = 'rmsprop': only AdamW has it")
        if not self.lora_targets or (isinstance(self.lora_targets, str) and self.lora_targets != "all-linear"):
            raise ValueError(
                f"lora_targets = {self.lora_targets!r}: must be 'all-linear', or a list such as ['q_proj', 'v_proj']"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training reports; stored with its stage."""

    steps: int
    tokens: int
    truncated: int
    """How many completions or prompts were cut to `max_length`."""
    history: Sequence[Mapping[str, float]]
    """One row per logged step: step, loss, learning_rate, gradient_norm; for pairs also margin and accuracy, and for
    those of language models chosen_logp, rejected_logp (means per token), chosen_logp_sum, rejected_logp_sum. What
    differs from machine to machine: seconds, tokens_per_second, utilisation, memory_mb (`steps.telemetry.StepMeter`).
    With noise on the reference also noise_loss, noise_sigma (mean σ; noise_sigma_first, _middle and _last: at those
    tokens of the rejected answer), noise_shift (reference's summed log-probability with noise, less that without)."""
    facts: Mapping[str, float] = field(default_factory=dict[str, float])
    """Measured before the first step: noise_scale (c), noise_start (mean of β·m)."""
    warnings: Sequence[str] = ()
    """Warnings for the user, in sentences."""

    @property
    def notes(self) -> dict[str, Any]:
        """What its stage stores."""
        kept: dict[str, Any] = {"steps": self.steps, "truncated": self.truncated}
        kept |= {"history": [dict(row) for row in self.history]}
        found = {"facts": dict(self.facts), "warnings": list(self.warnings)}
        return kept | {name: value for name, value in found.items() if value}


@dataclass(frozen=True, kw_only=True)
class Sequenced:
    """A prompt and its completion, as token ids."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


@runtime_checkable
class Demanding(Protocol):
    """A trainer that can say, before any work, what a training needs and lacks."""

    def require(self, training: Training) -> None:
        """Raises ValueError, in one sentence, if a library is not installed or settings clash."""
        ...


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """How a trainer holds and computes a model: the basis of a plan's memory and hours."""

    weight_bytes: int = 2
    """Bytes per weight on a single device; below 4, training keeps float32 master weights."""
    tokens: int = 0
    """Tokens whose activations are held at once; a longer example or pair is never split."""
    recomputes: bool = False
    """Whether activations are recomputed in the backward pass."""
    shards: int = 1
    """Devices that weights, gradients and optimiser are spread over (1: each holds all of it, 0: all there are)."""
    devices: int = 1
    """Devices that train at once (0: all there are)."""


@runtime_checkable
class WithFootprint(Protocol):
    """A trainer that declares how it holds a model; others are assumed to match `Footprint()`."""

    def footprint(self) -> Footprint:
        """On the devices the run is planned for."""
        ...


def footprint_of(trainer: Trainer) -> Footprint:
    """How a trainer holds a model, for estimates."""
    return trainer.footprint() if isinstance(trainer, WithFootprint) else Footprint()


class Trainer(Protocol):
    """A component that trains and that computes log-probabilities exactly as training does.

    Both training verbs write a finished transformers folder (weights as safetensors, config, tokenizer, chat template,
    generation config) into `into` and return what happened. The folder exists; it is empty, or holds what an
    earlier call with the same arguments left when it was killed. A trainer that can resume does so, with the same
    result. They raise ValueError, in one sentence, for what a user can fix, and FloatingPointError, naming the step and
    rows, on a loss that is not finite; saved states are kept.
    """

    def finetune(
        self,
        start: Model,
        examples: Sequence[Example],
        training: Training,
        *,
        into: Path,
        seed: int,
        progress: Progress,
    ) -> TrainingResult: ...

    def prefer(
        self,
        start: Model,
        reference: Model | None,
        pairs: Sequence[Pair],
        loss: Loss,
        training: Training,
        *,
        into: Path,
        seed: int,
        progress: Progress,
        cache: Path | None = None,
    ) -> TrainingResult:
        """Preference optimisation; a loss whose head is `reward` trains a sequence classifier with one output.

        `cache`: a folder for what later trainings can reuse, such as the reference's log-probabilities.
        """
        ...

    def logps(self, model: Model, sequences: Sequence[Sequenced]) -> Iterator[tuple[float, ...]]:
        """Natural log-probability of every completion token, in the order of `sequences`."""
        ...

    def rewards(self, model: Model, sequences: Sequence[Sequenced]) -> Iterator[float]:
        """Output of a one-output sequence classifier after each prompt and completion, in order."""
        ...
