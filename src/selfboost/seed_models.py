"""Models trained on the seed alone, with the run's own verbs, when a scorer or a comparison names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from selfboost.losses.bradley_terry import BradleyTerry
from selfboost.records import Model, Sampling
from selfboost.verbs import Verbs


def seed_sft(run: Verbs) -> Model:
    """The initial model fine-tuned on the seed's gold answers: the plain baseline, and half of the implicit scorer."""
    training = run.recipe.seed_models.sft
    return run.finetune("prepare/seed_sft", run.seeds, training, start=run.initial, model_name="seed_sft")


def seed_reward(run: Verbs) -> Model:
    """A reward model that prefers gold answers to the initial model's own."""
    longest = max(len(seed.answer.token_ids) for seed in run.seeds)
    own = run.sample(
        "prepare/seed_own", run.initial, [seed.prompt for seed in run.seeds], Sampling(max_tokens=2 * longest)
    )
    pairs = [
        run.pair(seed.prompt, seed.answer, answer)
        for seed, answer in zip(run.seeds, own, strict=True)
        if answer.token_ids and answer.token_ids != seed.answer.token_ids
    ]
    training = run.recipe.seed_models.reward
    return run.prefer("prepare/seed_reward", pairs, start=run.initial, loss=BradleyTerry(), training=training)


MAKERS: Mapping[str, Callable[[Verbs], Model]] = {"seed_sft": seed_sft, "seed_reward": seed_reward}
"""Name in a recipe → how the model is made."""
