"""What opened a model holds none of its memory afterwards: no weights, masters, moments, gradients or references.

Garbage collection is off, so that nothing may wait for Python to look for cycles.
"""

import gc
import weakref

import pytest
import torch
from train_records import examples, model, pairs, silent

from selfboost.engines import Request
from selfboost.engines.local import Local as Engine
from selfboost.losses.bradley_terry import BradleyTerry
from selfboost.losses.dpo import DPO
from selfboost.losses.noise_preference import NoisePreference
from selfboost.losses.noise_settings import Noise
from selfboost.losses.simpo import SimPO
from selfboost.records import Sampling
from selfboost.train import Sequenced, Training
from selfboost.train.local import Local

torch.set_num_threads(1)
SEQUENCES = [Sequenced(prompt_ids=p.prompt_ids, token_ids=p.chosen.token_ids) for p in pairs()]
KINDS = {"finetune": None, "simpo": SimPO(), "dpo": DPO(), "noise": NoisePreference(noise=Noise())}
SETTINGS = {
    "AdamW": ({}, {}),
    "RMSprop": ({"optimizer": "rmsprop"}, {}),
    "average": ({"ema_decay": 0.9}, {}),
    "adapter": ({"lora_rank": 2}, {}),
    "recomputed": ({}, {"gradient_checkpointing": True}),
}


@pytest.fixture(scope="module")
def reward_model(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    train(Local(), start, Training(epochs=1), BradleyTerry(), folder)
    return model(folder)


def train(trainer, start, training, loss, into):
    if loss is None:
        trainer.finetune(start, examples(), training, into=into, seed=0, progress=silent)
    else:
        reference = start if loss.needs_reference else None
        trainer.prefer(start, reference, pairs(), loss, training, into=into, seed=0, progress=silent)


def alive():
    """Every matrix that Python holds."""
    found = (thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor))
    return [tensor for tensor in found if tensor.ndim > 1]


@pytest.fixture
def left():
    """Asks for the shapes of matrices that were not there before the test."""
    gc.collect()
    before = [weakref.ref(tensor) for tensor in alive()]

    def look():
        there = {id(known()) for known in before}
        return [tuple(tensor.shape) for tensor in alive() if id(tensor) not in there]

    gc.disable()
    yield look
    gc.enable()


@pytest.mark.parametrize(("settings", "local"), SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("loss", KINDS.values(), ids=KINDS)
def test_a_training(loss, dtype, settings, local, start, left, tmp_path):
    if "lora_rank" in settings:
        pytest.importorskip("peft", reason="needs the extra `lora`")
    train(Local(dtype=dtype, **local), start, Training(batch_size=4, epochs=1, **settings), loss, tmp_path)
    assert not left()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_reward_model_trained_and_asked(dtype, start, reward_model, left, tmp_path):
    train(Local(dtype=dtype), start, Training(batch_size=4, epochs=1), BradleyTerry(), tmp_path)
    assert not left()
    assert len(list(Local(dtype=dtype).rewards(reward_model, SEQUENCES))) == len(SEQUENCES)
    assert not left()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_log_probabilities(dtype, start, left):
    assert len(list(Local(dtype=dtype).logps(start, SEQUENCES))) == len(SEQUENCES)
    assert not left()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sampling(dtype, start, left):
    sampling = Sampling(temperature=0.7, max_tokens=8)
    requests = [Request(prompt_ids=(5, 6, 7 + seed), sampling=sampling, seed=seed) for seed in range(5)]
    with Engine(dtype=dtype).open(start) as sampler:
        assert len(list(sampler.sample(requests))) == len(requests)
    del sampler
    assert not left()


def test_a_sampler_that_was_closed_is_empty(start, left):
    with Engine().open(start) as sampler:
        assert left()
    assert sampler is not None
    assert not left()
