"""TRL's trainers on the pairs of the training benchmark, in TRL's own settings for one process.

Gradient checkpointing and logging are off, as on our side; attention is transformers' fused one, the optimiser its
fused AdamW. The pairs are words of a tokenizer whose words are token ids, so TRL trains on exactly these ids.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from benchmarks.training_task import (
    BATCH_SIZE,
    DPO_BETA,
    LEARNING_RATE,
    MAX_NORM,
    SEED,
    SIMPO_BETA,
    SIMPO_GAMMA,
    TokenPair,
    word,
)
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer


class StepListener(TrainerCallback):
    """Reports the end of every optimiser step."""

    def __init__(self, step_done: Callable[[], None]) -> None:
        self.step_done = step_done

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Called after clipping, update and the clearing of gradients."""
        self.step_done()


def as_text(pairs: Sequence[TokenPair]) -> Dataset:
    """The pairs as words, one for each token id."""

    def words(ids: Sequence[int]) -> str:
        return " ".join(map(word, ids))

    rows = [
        {"prompt": words(p.prompt), "chosen": " " + words(p.chosen), "rejected": " " + words(p.rejected)} for p in pairs
    ]
    return Dataset.from_list(rows)


def check_ids(dataset: Dataset, pairs: Sequence[TokenPair]) -> None:
    """Assert that TRL trains on the very token ids: nothing appended, merged or cut."""
    for row, pair in zip(dataset, pairs, strict=True):
        prompt = row["prompt_ids"] if "prompt_ids" in row else row["prompt_input_ids"]
        for side, ids in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            found = prompt + row[f"{side}_ids"] if "prompt_ids" in row else row[f"{side}_input_ids"]
            assert found == [*pair.prompt, *ids], f"TRL's {side} token ids are not those given"


def settings(case: argparse.Namespace) -> dict[str, Any]:
    """What both trainers of TRL are given."""
    return {
        "output_dir": str(case.folder / "trl"),
        "per_device_train_batch_size": case.micro_batch,
        "gradient_accumulation_steps": BATCH_SIZE // case.micro_batch,
        "num_train_epochs": 1,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "max_grad_norm": MAX_NORM,
        "seed": SEED,
        "bf16": case.precision == "bfloat16" and case.weights == "float32",
        "gradient_checkpointing": False,
        "train_sampling_strategy": "sequential",  # the pairs come in the order in which ours takes them
        "max_length": 512,
        "use_cpu": case.device == "cpu",
        "dataloader_pin_memory": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def with_losses(trainer: type, losses: list[float]) -> type:
    """The trainer, keeping the loss of every micro-batch: its logging is off."""

    class Keeping(trainer):
        def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
            loss = super().training_step(*arguments, **named)
            losses.append(loss.item())
            return loss

    return Keeping


def train(case: argparse.Namespace, pairs: Sequence[TokenPair], step_done: Callable[[], None]) -> list[float]:
    """Train on the pairs in their order; the losses of the steps."""

    def load(folder: Path) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, case.weights))

    losses: list[float] = []
    common = settings(case)
    given: dict[str, Any] = {
        "model": load(case.folder),
        "train_dataset": as_text(pairs),
        "processing_class": AutoTokenizer.from_pretrained(case.folder),
        "callbacks": [StepListener(step_done)],
    }
    if case.method == "simpo":
        config = CPOConfig(
            loss_type="simpo",
            beta=SIMPO_BETA,
            simpo_gamma=SIMPO_GAMMA,
            cpo_alpha=0.0,
            remove_unused_columns=False,
            **common,
        )
        trainer = with_losses(CPOTrainer, losses)(args=config, **given)
    else:
        stored = case.reference == "stored"
        config = DPOConfig(beta=DPO_BETA, precompute_ref_log_probs=stored, **common)
        reference = None if stored else load(case.folder)
        trainer = with_losses(DPOTrainer, losses)(args=config, ref_model=reference, **given)
    check_ids(trainer.train_dataset, pairs)
    trainer.train()
    parts = BATCH_SIZE // case.micro_batch
    return [sum(losses[at : at + parts]) for at in range(0, len(losses), parts)]
