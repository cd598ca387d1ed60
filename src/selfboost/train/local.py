"""The trainer in this process: any transformers language model on PyTorch.

Examples and pairs are packed without padding, a pair's prompt computed once for both answers, logits made at completion
positions alone and never held whole; the reference's log-probabilities are computed before training, so one model is
held at a time. Dropout is off, so a training depends only on data, settings and seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfboost.engines import Progress
from selfboost.losses import Loss
from selfboost.records import Example, Model, Pair
from selfboost.train import Sequenced, Training, TrainingResult
from selfboost.train.local_settings import LocalSettings


@dataclass(frozen=True, kw_only=True)
class Local(LocalSettings):
    """PyTorch in this process: fine-tunes any transformers language model, whole or by LoRA."""

    def require(self, training: Training) -> None:
        """Raise ValueError, before any work, if a training cannot run here; says what is missing or clashes."""
        from selfboost.train.requirements import check_requirements

        check_requirements(self, training)

    def finetune(
        self,
        start: Model,
        examples: Sequence[Example],
        training: Training,
        *,
        into: Path,
        seed: int,
        progress: Progress,
    ) -> TrainingResult:
        """Supervised fine-tuning: mean negative log-likelihood over completion tokens, end of turn included."""
        from selfboost.train import jobs

        job = jobs.Job(self, start, training, into, seed, progress)
        return jobs.conducted(job, jobs.finetune, examples)

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
        """Preference optimisation of a language model, or of a reward model where the loss's head is `reward`."""
        from selfboost.train import jobs

        job = jobs.Job(self, start, training, into, seed, progress, cache)
        if loss.head == "reward":
            return jobs.conducted(job, jobs.train_reward, pairs, loss)
        return jobs.conducted(job, jobs.prefer, reference, pairs, loss)

    def logps(self, model: Model, sequences: Sequence[Sequenced]) -> Iterator[tuple[float, ...]]:
        """Natural log-probability of every completion token, in order; nothing for an empty completion."""
        from selfboost.train import jobs

        return jobs.logps(self, model, sequences)

    def rewards(self, model: Model, sequences: Sequence[Sequenced]) -> Iterator[float]:
        """Output of a reward model after each prompt and completion, in order."""
        from selfboost.train import jobs

        return jobs.rewards(self, model, sequences)
