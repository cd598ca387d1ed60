"""The trainings of `Local`, start to end: open the model, compute the reference, put an adapter on if one is trained,
run the loop, merge, write the folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from selfboost.engines import Progress
from selfboost.engines.checkpoint import ADAPTER, choose_device, choose_dtype, load_causal_model
from selfboost.engines.context import context_of
from selfboost.engines.kept_models import kept
from selfboost.losses import Loss, NoisyLoss, noisy
from selfboost.records import Example, Model, Pair, content_hash
from selfboost.system import give_back_freed_memory
from selfboost.trackers import Tracked, tracking
from selfboost.train import Sequenced, Training, TrainingResult
from selfboost.train.devices.launched import launched
from selfboost.train.devices.parallel import ALONE, START_SECONDS, World, conduct
from selfboost.train.devices.sharding import mesh_of, processes_mesh, shard, whole_weights
from selfboost.train.devices.shared_folder import require_shared
from selfboost.train.local_settings import LocalSettings
from selfboost.train.model import adapters
from selfboost.train.model.logprobs import LanguageModel, language_model, logps_in_order, unopened_model
from selfboost.train.model.mapped import open_unread, read_parts
from selfboost.train.model.recomputation import recompute_activations
from selfboost.train.model.reward_models import open_reward_model, rewards_in_order
from selfboost.train.noise.kept_states import StatesFile, states_file
from selfboost.train.noise.objective import FIRST_PAIRS, NoisyPreference, frozen, strong
from selfboost.train.packs.batches import micro_batches, step_batches
from selfboost.train.packs.rows import Item, Row, example_items, hash_items, pair_items
from selfboost.train.requirements import check_requirements
from selfboost.train.steps.checkpoints import Saved, StateFolder, save_model
from selfboost.train.steps.objectives import (
    LikelihoodObjective,
    Objective,
    PreferenceObjective,
    RewardPreference,
    reference_logps,
)
from selfboost.train.steps.references import ReferenceCache, References
from selfboost.train.steps.training_loop import Pace, TrainingLoop, TrainingProcesses


@dataclass(frozen=True)
class Job:
    """What every training receives."""

    local: LocalSettings
    start: Model
    training: Training
    into: Path
    seed: int
    progress: Progress
    cache: Path | None = None
    """Where the reference's log-probabilities are kept for later trainings."""
    world: World = ALONE

    def __post_init__(self) -> None:
        """Missing optional libraries are reported here, before any work."""
        check_requirements(self.local, self.training)

    @property
    def device(self) -> torch.device:
        """The device this process trains on."""
        return choose_device(self.local.device)

    @property
    def sharded(self) -> bool:
        """Whether weights are spread over the processes."""
        return self.local.sharding and self.world.size > 1

    def states(self, verb: str, items: Sequence[Item], *others: object) -> StateFolder:
        """This training's saved states, under a hash of everything that determines its result."""
        kept = [_kept(settings) for settings in (self.training, self.local)]
        parts = [verb, self.start.fingerprint, *kept, self.seed, *others, hash_items(items)]
        return StateFolder(self.into, content_hash(parts), self.local.keep_states)

    def run(
        self,
        model: PreTrainedModel,
        objective: Objective,
        items: Sequence[Item],
        states: StateFolder,
        state: Saved | None,
        extra_state: Mapping[str, Any] | None = None,
    ) -> TrainingResult:
        """Run the loop, from a saved state if there is one, then write the folder; `extra_state` is saved too."""
        local, training = self.local, self.training
        if local.gradient_checkpointing:
            recompute_activations(model)
        adapter = None
        if training.lora_rank:
            adapter = adapters.put_on(model, training, self.seed, train_head=isinstance(objective, RewardPreference))
        kind = choose_dtype(local.dtype, model.device)
        processes = TrainingProcesses(world=self.world, sharded=self.sharded, computed_in=kind)
        companion = objective if isinstance(objective, NoisyPreference) else None
        loop = TrainingLoop(model, objective, items, training, _pace(local), states, self.seed, processes, companion)
        loop.resume(state)
        self.world.gather(None)  # all are ready
        self.world.wait_at_most(local.timeout_seconds)
        names = local.trackers if self.world.conducts else ()
        with tracking(names, self._tracked(states, loop.done)) as trackers:
            result = loop.run(self.progress, trackers, extra_state or {})
        weights = whole_weights(model, kind, states.place()) if self.sharded else None
        if self.world.conducts:
            if adapter is not None:
                adapter.save(self.into / ADAPTER)
                adapter.merge()
            trust = local.trust_remote_code
            save_model(model, self.start.path, self.into, weights=weights, trust_remote_code=trust)
            states.remove()
        return result

    def _tracked(self, states: StateFolder, steps_done: int) -> Tracked:
        """A training's name: the run, iteration and stage that its folder lies in."""
        place = self.into.resolve().parent
        name = f"{place.parent.parent.name}-{place.parent.name}-{place.stem}-{states.identity[:8]}"
        return Tracked(
            project=self.local.tracking_project,
            name=re.sub(r"[^\w.-]+", "-", name),
            folder=Path(self.local.tracking_folder),
            settings=asdict(self.training) | {"start": self.start.name, "seed": self.seed},
            steps_done=steps_done,
        )


def _kept(settings: Training | LocalSettings) -> dict[str, Any]:
    """The settings that change the result."""
    return {f.name: getattr(settings, f.name) for f in fields(settings) if not f.metadata.get("speed_only")}


def _pace(local: LocalSettings) -> Pace:
    return Pace(
        tokens=local.micro_batch_tokens,
        checkpoint_seconds=local.checkpoint_seconds,
        checkpoint_steps=local.checkpoint_steps,
        log_every=local.log_every,
    )


def conducted(job: Job, work: Callable[..., TrainingResult], *given: Any) -> TrainingResult:
    """Run `work(job, *given)` on all devices that the settings name.

    Raises:
        ValueError: this machine has fewer GPUs, or the processes are no whole number of copies.
    """
    gpus = torch.cuda.device_count()
    if choose_device(job.local.device).type == "cuda" and job.local.devices > gpus and not launched():
        raise ValueError(f"trainer.devices = {job.local.devices}: this machine has {gpus} GPUs; 0 means all of them")
    size = int(os.environ["WORLD_SIZE"]) if launched() else job.local.devices or gpus
    if job.local.sharding and job.local.shards and size % job.local.shards:
        raise ValueError(
            f"trainer.shards = {job.local.shards}: must divide the {size} processes of a training, or be 0"
        )
    job = replace(job, start=_anywhere(job.start), into=job.into.absolute(), cache=job.cache and job.cache.absolute())
    given = tuple(_anywhere(each) if isinstance(each, Model) else each for each in given)
    require_shared(job.into)
    others = partial(_part, job=replace(job, progress=_unheard), work=work, given=given)
    try:
        return conduct(job.local.devices, partial(_part, job=job, work=work, given=given), others)
    finally:
        give_back_freed_memory()


def _anywhere(model: Model) -> Model:
    """A model whose folder another process finds from its own working directory."""
    return replace(model, path=str(Path(model.path).absolute())) if Path(model.path).is_dir() else model


def _part(world: World, job: Job, work: Callable[..., TrainingResult], given: Sequence[Any]) -> TrainingResult:
    """One process's part."""
    world.wait_at_most(max(START_SECONDS, job.local.timeout_seconds))  # imports and disks differ in speed
    return work(replace(job, world=world), *given)


def _unheard(_done: int, _total: int, _tokens: int) -> None:
    """A follower's progress, which is not shown."""


def finetune(job: Job, examples: Sequence[Example]) -> TrainingResult:
    """Supervised fine-tuning."""
    opened = _open_to_train(job)
    items = example_items(examples, _longest(opened.model, job.training), job.training.max_prompt_length)
    states = job.states("finetune", items)
    state = states.read(job.world, mesh_of(opened.parameters()))
    return job.run(opened.model, LikelihoodObjective(opened), items, states, state)


def prefer(job: Job, reference: Model | None, pairs: Sequence[Pair], loss: Loss) -> TrainingResult:
    """Preference optimisation of a language model.

    Raises:
        ValueError: the loss needs a reference model and none was given.
    """
    if loss.needs_reference and reference is None:
        raise ValueError(f"{type(loss).__name__} needs a reference model, and none was given")
    opened = _open_to_train(job)
    items = pair_items(pairs, _longest(opened.model, job.training), job.training.max_prompt_length)
    states = job.states("prefer", items, type(loss).__qualname__, loss, reference and reference.fingerprint)
    state = states.read(job.world, mesh_of(opened.parameters()))
    if not loss.needs_reference or reference is None:
        return job.run(opened.model, PreferenceObjective(opened, loss, None), items, states, state)
    open_reference = cache(partial(_open_reference, job, opened, reference))
    known = state.common["references"] if state else _references(job, reference, items, open_reference)
    with_noise = noisy(loss)
    if with_noise is None:
        return job.run(
            opened.model, PreferenceObjective(opened, loss, known), items, states, state, {"references": known}
        )
    objective = _noisy(job, opened, reference, items, with_noise, known, open_reference())
    first = _first(job, items)
    facts = state.common["facts"] if state else job.world.gather(objective.found(first))[0]
    objective.settle(facts)
    open_reference.cache_clear()
    result = job.run(opened.model, objective, items, states, state, {"references": known, "facts": facts})
    if job.world.conducts:
        StatesFile.remove_from(job.cache or job.into)
    warnings = [*result.warnings, *strong(facts["noise_start"])]
    return replace(result, facts=facts, warnings=warnings)


OpenReference = Callable[[], LanguageModel]


def _open_reference(job: Job, opened: LanguageModel, reference: Model) -> LanguageModel:
    """The reference model; the start model itself where they are the same."""
    same = reference.fingerprint == job.start.fingerprint
    return opened if same else _open_to_train(replace(job, start=reference))


def _first(job: Job, items: Sequence[Item]) -> list[Item]:
    """The items, in the order in which the training takes them."""
    batches = step_batches(len(items), job.training.batch_size, job.training.epochs, job.seed)
    return [items[at] for batch in batches[:FIRST_PAIRS] for at in batch][:FIRST_PAIRS]


def _noisy(
    job: Job,
    policy: LanguageModel,
    reference: Model,
    items: Sequence[Item],
    loss: NoisyLoss,
    known: References,
    opened: LanguageModel,
) -> NoisyPreference:
    """The objective with noise, from the reference's current head and its hidden states of all rejected answers."""
    head = frozen(opened.head, copied=not job.training.lora_rank, kind=choose_dtype(job.local.dtype, job.device))
    file = states_file(job.cache or job.into, items, reference.fingerprint, str(head.weight_VD.dtype))
    states = file.open(items, head.weight_VD, job.world, torch.no_grad()(opened.states))
    objective = NoisyPreference(policy, loss, known, states, head, job.training, job.seed)
    objective.share = 1 / job.world.size if job.sharded else 1.0
    return objective


def _references(job: Job, reference: Model, items: Sequence[Item], opened: OpenReference) -> References:
    """The reference's log-probabilities of all pairs, computed before training."""
    kept = ReferenceCache.of(job.cache, reference.fingerprint, str(choose_dtype(job.local.dtype, job.device)))

    def compute(block: Sequence[Item]) -> Sequence[tuple[float, float]]:
        found: dict[str, tuple[float, float]] = {}
        numbered = [replace(item, id=str(at)) for at, item in enumerate(block)]
        packs = micro_batches(numbered, job.local.micro_batch_tokens, at_least=job.world.size)
        for pack, counts in job.world.share(packs):
            values = reference_logps(opened(), pack)
            found |= dict(zip((item.id for item in pack), values, strict=True)) if counts else {}
        known = {name: value for part in job.world.gather(found) for name, value in part.items()}
        return [known[item.id] for item in numbered]

    return kept.complete(items, compute, keep=job.world.conducts)


def train_reward(job: Job, pairs: Sequence[Pair], loss: Loss) -> TrainingResult:
    """Train a reward model: the start model's body under a new scalar head.

    Raises:
        ValueError: trainer.sharding is on, which is for language models.
    """
    if job.local.sharding:
        raise ValueError("trainer.sharding = true is for language models: a reward model is copied to each device")
    torch.manual_seed(job.seed)  # the head's first weights
    head = open_reward_model(job.start.path, job.local, new_head=True)
    items = pair_items(pairs, _longest(head.model, job.training), job.training.max_prompt_length)
    states = job.states("reward", items, type(loss).__qualname__, loss)
    return job.run(head.model, RewardPreference(head, loss), items, states, states.read(job.world))


def logps(local: LocalSettings, model: Model, sequences: Sequence[Sequenced]) -> Iterator[tuple[float, ...]]:
    """Log-probability of every completion token, in order."""
    opened = kept(("logps", local, model), partial(_open, local, model))
    yield from logps_in_order(opened, _rows(sequences, opened.model), local.micro_batch_tokens)


def rewards(local: LocalSettings, model: Model, sequences: Sequence[Sequenced]) -> Iterator[float]:
    """Outputs of a reward model, in order."""
    head = kept(("rewards", local, model), lambda: open_reward_model(model.path, local, new_head=False))
    yield from rewards_in_order(head, _rows(sequences, head.model), local.micro_batch_tokens)


def _rows(sequences: Iterable[Sequenced], model: PreTrainedModel) -> Iterator[Row]:
    longest = context_of(model.config)
    for at, sequence in enumerate(sequences):
        if not sequence.prompt_ids:
            raise ValueError(f"sequence {at}: its prompt has no tokens; a completion needs at least one before it")
        tokens = len(sequence.prompt_ids) + len(sequence.token_ids)
        if longest and tokens > longest:
            raise ValueError(
                f"sequence {at}: it has {tokens} tokens, and {type(model).__name__} reads {longest}; limit the answers "
                "(sampling.max_tokens) or drop what is longer"
            )
        yield Row(tuple(sequence.prompt_ids), tuple(sequence.token_ids))


def _open(local: LocalSettings, model: Model) -> LanguageModel:
    loaded = load_causal_model(model.path, local.dtype, local.device, local.trust_remote_code)
    return language_model(loaded, local)


def _open_to_train(job: Job) -> LanguageModel:
    """A language model as this process trains it: whole or its shard, in float32 weights if sharded."""
    local = job.local
    if not job.sharded:
        return _open(local, job.start)
    device = choose_device(local.device)
    opened = unopened_model(open_unread(job.start.path, local.trust_remote_code))
    unread = any(parameter.is_meta for parameter in opened.parameters())
    mesh = processes_mesh(job.world.size, local.shards or job.world.size, device)
    shard(opened, mesh, device, choose_dtype(local.dtype, device))
    if unread:
        read_parts(job.start.path, opened.model)
    opened.open(local)
    return opened


def _longest(model: PreTrainedModel, training: Training) -> int:
    """Longest row, in tokens: the setting, or the model's context if that is shorter."""
    return min(training.max_length, context_of(model.config) or training.max_length)
