"""The trainings of `Local`, start to end: open the model, compute the reference, run the loop, write the folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from selfboost.engines import Progress
from selfboost.engines.checkpoint import load_causal_model
from selfboost.losses import Loss
from selfboost.records import Example, Model, Pair, content_hash
from selfboost.train import Sequenced, Training, TrainingResult
from selfboost.train.batches import micro_batches
from selfboost.train.checkpoints import State, StateFolder, save_model
from selfboost.train.local import Local
from selfboost.train.logprobs import LanguageModel, language_model, logps_in_order
from selfboost.train.objectives import Likelihood, Objective, Preference, References, RewardPreference, reference_logps
from selfboost.train.optimization import Loop, Pace
from selfboost.train.reward_models import open_reward_model, rewards_in_order
from selfboost.train.rows import Item, Row, example_items, hash_items, pair_items


@dataclass(frozen=True)
class Job:
    """What every training is given."""

    local: Local
    start: Model
    training: Training
    into: Path
    seed: int
    progress: Progress

    def states(self, verb: str, items: Sequence[Item], *others: object) -> StateFolder:
        """Where this training's state is kept, under a hash of everything that determines its result."""
        kept = {f.name: getattr(self.local, f.name) for f in fields(self.local) if not f.metadata.get("speed_only")}
        parts = [verb, self.start.fingerprint, self.training, self.seed, kept, *others, hash_items(items)]
        return StateFolder(self.into, content_hash(parts))

    def run(
        self,
        model: PreTrainedModel,
        objective: Objective,
        items: Sequence[Item],
        states: StateFolder,
        state: State | None,
        references: References | None = None,
    ) -> TrainingResult:
        """The loop, from a state if there is one, then the finished folder."""
        local = self.local
        if local.gradient_checkpointing:
            _recompute_activations(model)
        pace = Pace(
            tokens=local.micro_batch_tokens,
            checkpoint_seconds=local.checkpoint_seconds,
            log_every=local.log_every,
        )
        loop = Loop(model, objective, items, self.training, pace, states, self.seed)
        loop.resume(state)
        result = loop.run(self.progress, {"references": references})
        save_model(model, self.start.path, self.into, trust_remote_code=local.trust_remote_code)
        states.remove()
        return result


def finetune(job: Job, examples: Sequence[Example]) -> TrainingResult:
    """Supervised fine-tuning."""
    opened = _open(job.local, job.start)
    items = example_items(examples, _longest(opened.model, job.training))
    states = job.states("finetune", items)
    return job.run(opened.model, Likelihood(opened), items, states, states.read(opened.model.device))


def prefer(job: Job, reference: Model | None, pairs: Sequence[Pair], loss: Loss) -> TrainingResult:
    """Preference optimisation of a language model."""
    if loss.needs_reference and reference is None:
        raise ValueError(f"{type(loss).__name__} compares with a reference model, and none was given")
    opened = _open(job.local, job.start)
    items = pair_items(pairs, _longest(opened.model, job.training))
    states = job.states("prefer", items, type(loss).__qualname__, loss, reference and reference.fingerprint)
    state = states.read(opened.model.device)
    references: References | None = None
    if state is not None:
        references = cast("References | None", state["references"])
    elif loss.needs_reference and reference is not None:
        same = reference.fingerprint == job.start.fingerprint
        other = opened if same else _open(job.local, reference)
        references = {}
        for pack in micro_batches(items, job.local.micro_batch_tokens):
            references |= dict(zip((item.id for item in pack), reference_logps(other, pack), strict=True))
        del other
    return job.run(opened.model, Preference(opened, loss, references), items, states, state, references)


def train_reward(job: Job, pairs: Sequence[Pair], loss: Loss) -> TrainingResult:
    """A reward model: the start model's body under a new scalar head."""
    torch.manual_seed(job.seed)  # the head's first weights
    head = open_reward_model(job.start.path, job.local, new_head=True)
    items = pair_items(pairs, _longest(head.model, job.training))
    states = job.states("reward", items, type(loss).__qualname__, loss)
    return job.run(head.model, RewardPreference(head, loss), items, states, states.read(head.model.device))


def logps(local: Local, model: Model, sequences: Sequence[Sequenced]) -> Iterator[tuple[float, ...]]:
    """Log-probability of every completion token."""
    rows = _rows(sequences)
    yield from logps_in_order(_open(local, model), rows, local.micro_batch_tokens)


def rewards(local: Local, model: Model, sequences: Sequence[Sequenced]) -> Iterator[float]:
    """Scalars of a reward model."""
    rows = _rows(sequences)
    head = open_reward_model(model.path, local, new_head=False)
    yield from rewards_in_order(head, rows, local.micro_batch_tokens)


def _rows(sequences: Iterable[Sequenced]) -> Iterator[Row]:
    for at, sequence in enumerate(sequences):
        if not sequence.prompt_ids:
            raise ValueError(f"sequence {at}: its prompt has no tokens; a completion needs at least one before it")
        yield Row(tuple(sequence.prompt_ids), tuple(sequence.token_ids))


def _open(local: Local, model: Model) -> LanguageModel:
    loaded = load_causal_model(model.path, local.dtype, local.device, local.trust_remote_code)
    return language_model(loaded, local)


def _longest(model: PreTrainedModel, training: Training) -> int:
    """Tokens a row may have: the setting, or what the model can attend to if that is less."""
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return min(training.max_length, cast(int, context)) if context else training.max_length


def _recompute_activations(model: PreTrainedModel) -> None:
    """Layers recompute in training mode alone; what is inside them stays in evaluation mode, so dropout stays off."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    untyped = cast(Any, model)
    getattr(untyped, "activation_checkpointing_enable", untyped.gradient_checkpointing_enable)()
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True
