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
from selfboost.setting_types import MOST_TOKENS, Name, NotNegative, Passes, PassesOrNone, Positive, SeveralOrNone

SPEED_ONLY = {"speed_only": True}
"""Marks settings that change no result beyond rounding: those of speed and memory, and what is merely watched."""


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
    """How the learning rate falls after the warm-up, to 0 (or stays)."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps in which the learning rate rises linearly from 0."""
    weight_decay: NotNegative = 0.0
    """Decoupled weight decay (AdamW, in 8 bits too)."""
    max_gradient_norm: Positive = 1.0
    """Gradients are scaled down to this norm."""
    max_length: Annotated[int, Field(ge=2, le=MOST_TOKENS)] = 2048
    """Most tokens of prompt and completion; beyond it the prompt's end and the completion's start are kept."""
    max_prompt_length: Annotated[int, Field(ge=0, le=MOST_TOKENS)] = 0
    """Most tokens of the prompt, of which the end is kept (0 = as many as `max_length` leaves room for)."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The model becomes a moving average of the weights that keeps this share at each step (0 = the last weights)."""
    lora_rank: SeveralOrNone = 0
    """Train an adapter of this rank (LoRA, by peft) and merge it at the end; 0 = all weights are trained."""
    lora_alpha: Positive = 16.0
    """The adapter's product is scaled by lora_alpha / lora_rank."""
    lora_targets: Name | tuple[Name, ...] = "all-linear"
    """Layers with an adapter: all linear ones below the head, or a list of names such as "q_proj"."""

    stop_after: PassesOrNone = 0.0
    """End after this many passes of a schedule made for `epochs` (0 = go through all of it)."""
    collapse: Literal["warn", "stop", "ignore"] = field(default="warn", metadata=SPEED_ONLY)
    """What to do when the policy loses the chosen answers: say so, end the training with an error, or nothing."""
    collapse_bound: Positive = field(default=1.0, metadata=SPEED_ONLY)
    """By how much the chosen answers' log-probability may fall below its start, in nats per token (preferences)."""

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
    """What a training says of itself; stored with its stage."""

    steps: int
    tokens: int
    truncated: int
    """Completions or prompts that were cut to `max_length`."""
    history: Sequence[Mapping[str, float]]
    """One row per logged step: step, loss, learning_rate, gradient_norm; for pairs also margin and accuracy, and for
    those of language models chosen_logp, rejected_logp (means per token), chosen_logp_sum, rejected_logp_sum. What
    differs from machine to machine: seconds, tokens_per_second, utilisation, memory_mb (`steps.telemetry.StepMeter`).
    With noise on the reference also noise_loss, noise_sigma (mean σ; noise_sigma_first, _middle and _last: at those
    tokens of the rejected answer), noise_shift (reference's summed log-probability with noise, less that without)."""
    facts: Mapping[str, float] = field(default_factory=dict[str, float])
    """What was found out before the first step: noise_scale (c), noise_start (mean of β·m)."""
    warnings: Sequence[str] = ()
    """Sentences that the user must read."""

    @property
    def notes(self) -> dict[str, Any]:
        """What its stage remembers."""
        told: dict[str, Any] = {"steps": self.steps, "truncated": self.truncated}
        told |= {"history": [dict(row) for row in self.history]}
        found = {"facts": dict(self.facts), "warnings": list(self.warnings)}
        return told | {name: value for name, value in found.items() if value}


@dataclass(frozen=True, kw_only=True)
class Sequenced:
    """A completion after its prompt, as token ids."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


@runtime_checkable
class Demanding(Protocol):
    """A trainer that can say before any work what it lacks for a training."""

    def require(self, training: Training) -> None:
        """Raises ValueError with one sentence: a library that is not installed, settings that clash."""
        ...


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """How a trainer holds and computes a model: what a plan's memory and hours are made of."""

    weight_bytes: int = 2
    """Bytes of a weight where one device holds it all; below 4, it is trained on a float32 master."""
    tokens: int = 0
    """Tokens whose activations are held at once; a longer example or pair is held whole."""
    recomputes: bool = False
    """Activations are computed again in the backward pass."""
    shards: int = 1
    """Devices that weights, gradients and optimiser are spread over (1: each holds all of it, 0: all there are)."""


@runtime_checkable
class Sized(Protocol):
    """A trainer that says how it holds a model; one that does not is taken for `Footprint()`."""

    def footprint(self) -> Footprint:
        """On the devices that a run is planned for."""
        ...


def footprint_of(trainer: Trainer) -> Footprint:
    """How a trainer holds a model, for estimates."""
    return trainer.footprint() if isinstance(trainer, Sized) else Footprint()


class Trainer(Protocol):
    """A component that trains and that computes log-probabilities exactly as training does.

    Both training verbs write a finished transformers folder (weights as safetensors, config, tokenizer, chat template,
    generation config) into `into` and return what happened. The folder exists; it is empty, or holds what an earlier
    call with the same arguments left when it was killed: that training is gone on with where the trainer can, with the
    same result. They raise ValueError with one sentence for what a user can mend, FloatingPointError (step and rows
    named) on a loss that is not finite, and leave there what they had saved before it.
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

        `cache`: a folder for what later trainings can use again, such as the reference's log-probabilities.
        """
        ...

    def logps(self, model: Model, sequences: Sequence[Sequenced]) -> Iterator[tuple[float, ...]]:
        """Natural log-probability of every completion token, in the order of `sequences`."""
        ...

    def rewards(self, model: Model, sequences: Sequence[Sequenced]) -> Iterator[float]:
        """Scalar of a sequence classifier with one output after prompt and completion, in order."""
        ...
