"""What noise on the reference adds to a plan: hours, memory and disk are arithmetic, and its products are counted."""

from functools import cache
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from selfboost import recipe
from selfboost.losses.noise_settings import Noise
from selfboost.plan import Plan, plan
from selfboost.plan.cost import noise_operations
from selfboost.plan.hardware import KINDS
from selfboost.plan.memory import NOISE_BLOCKS
from selfboost.plan.model_size import ModelSize, model_size
from selfboost.plan.text import show_plan
from selfboost.train.model.logits import Head
from selfboost.train.noise import module as arithmetic
from selfboost.train.noise.draws import NoiseDraws
from selfboost.train.packs.layout import ROUND

NOISY = "dnpo-llama3.2-3b"
USABLE = KINDS["H100"].share * KINDS["H100"].peak


def read(*settings: str) -> recipe.Recipe:
    return recipe.read(recipe.find(NOISY), settings)


@cache
def planned(*settings: str) -> Plan:
    return plan(read(*settings))


def size() -> ModelSize:
    found = model_size("meta-llama/Llama-3.2-3B-Instruct")
    assert found is not None
    return found


def training_memory(*settings: str) -> int:
    held = planned(*settings).memory["training"]
    assert held is not None
    return held


@pytest.mark.slow
def test_noise_is_priced_by_its_matrices_alone() -> None:
    noisy, plain = planned(), planned("method.noise=none")
    matrix, rejected = size().vocabulary * size().width, 20_000 * 350
    reference = 2 * 3e9 * 20_000 * (200 + 350)
    for one, other in zip(noisy.stages, plain.stages, strict=True):
        if one.verb != "prefer" or "iteration-1" in one.name:
            assert one == other
            continue
        epochs = 1 if "iteration-3" in one.name else 3
        added = (reference + 8 * matrix * rejected * epochs) / USABLE / 3600
        assert one.mean.hours is not None
        assert other.mean.hours is not None
        assert one.mean.hours - other.mean.hours == pytest.approx(added)
        assert one.mean.tokens == other.mean.tokens == 20_000 * (200 + 350 + 256) * epochs
    # bfloat16: 2 of the weight, 4 of its master, 4 of each gradient, 4 of RMSprop; 2 of the frozen head.
    added = training_memory() - training_memory("method.noise=none")
    assert added == matrix * (2 + 4 + 4 + 4 + 4 + 2) + 2 * NOISE_BLOCKS
    assert {name: s for name, s in noisy.memory.items() if name != "training"} == {
        name: s for name, s in plain.memory.items() if name != "training"
    }
    assert (noisy.disk_while_training, plain.disk_while_training) == (rejected * size().width * 2, 0)
    assert noisy.disk == plain.disk


@pytest.mark.parametrize(
    ("settings", "bytes_per_weight"),
    [
        (["method.noise=fixed"], 2 + 2),
        pytest.param(["loss.noise.optimizer=adamw"], 2 + 4 + 4 + 4 + 8 + 2, marks=pytest.mark.slow),
        pytest.param(["training.lora_rank=8", "trainer.sharding=false"], 2 + 4 + 4 + 4 + 4, marks=pytest.mark.slow),
        pytest.param(["trainer.dtype=float32"], 4 + 4 + 4 + 4 + 4, marks=pytest.mark.slow),
    ],
)
def test_memory_of_noise_follows_its_settings(settings: list[str], bytes_per_weight: int) -> None:
    few = ["seed.limit=200", "run.iterations=2", *settings]
    added = training_memory(*few) - training_memory(*few, "method.noise=none")
    width = 4 if "trainer.dtype=float32" in settings else 2
    assert added == size().vocabulary * size().width * bytes_per_weight + NOISE_BLOCKS * width


@pytest.mark.parametrize("module", ["layer_norm_gelu", "affine"])
@pytest.mark.parametrize("trained", [True, False])
def test_the_noise_does_as_many_operations_as_it_is_priced(module: Any, trained: bool) -> None:
    tokens, hidden, vocabulary = 2 * ROUND, 16, 96
    settings = Noise(module=module, trained=trained)
    own = arithmetic.NoiseModule(settings, hidden, vocabulary, 0).requires_grad_(trained)
    head = Head(torch.nn.Linear(hidden, vocabulary, bias=False).requires_grad_(False))
    noisy = arithmetic.NoisyHead(head, own, arithmetic.Strength(settings, 1.0))
    half = torch.bfloat16  # the counter knows no sums made in place, as those in float32 are
    head.layer.to(half)
    own.to(half)
    states_ND, targets_N = torch.randn(tokens, hidden, dtype=half), torch.zeros(tokens, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        found = noisy.logps(states_ND, targets_N, NoiseDraws(0, 0, ["a"], [tokens]))
        if trained:
            (found.noise_N.sum() + found.size_N.sum()).backward()
    priced = noise_operations(settings)
    assert counter.get_total_flops() == priced * tokens * vocabulary * hidden
    assert 2 * (arithmetic.KEPT + 1) * arithmetic.BLOCK_ELEMENTS == NOISE_BLOCKS


def test_a_plan_says_what_noise_takes_where_there_is_noise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for settings, said in (([], True), (["method.noise=none"], False)):
        show_plan(plan(read("seed.limit=200", "run.iterations=2", *settings)))
        written = capsys.readouterr().out
        assert max(map(len, written.splitlines())) <= 80
        words = " ".join(written.split())
        assert ("Estimated disk while training:" in words) == said
        assert ("of the training memory are noise's" in words) == said
        assert ("optimiser (all but the noise's) over 8 GPUs" in words) == said
