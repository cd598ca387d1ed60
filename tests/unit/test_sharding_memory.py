"""A process of a sharded training holds its part of the model and a layer or the embeddings, and a plan says so.

What is looked at is the process's anonymous memory, every two milliseconds: it holds a second copy whoever makes it
(PyTorch, safetensors, gloo), where a count of tensors would see PyTorch's alone, and leaves out mapped files. The model
is large enough that a second copy of its part, even in bfloat16, is more than libraries take for themselves.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from selfboost.plan.memory import gathered_bytes, training_bytes
from selfboost.plan.model_size import model_size
from selfboost.plan.rehearsal import Rehearsed
from selfboost.plan.texts import Tokens
from selfboost.train import Footprint, Training
from selfboost.train.devices.parallel import conduct

MIB = 2**20
SLACK = 80
"""MiB that libraries take on a first forward pass, and what is read at once; the model's size does not change it."""
AGREES = 0.15
"""How far a plan's price may be from what was held, as a share of it."""


@pytest.mark.slow
def test_a_process_holds_its_part_and_a_layer_and_a_plan_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from benchmarks.sharding import save_start
    from benchmarks.sharding_side import measure

    weights = 4 * save_start(tmp_path, hidden=512, layers=24) / MIB
    size = model_size(str(tmp_path))
    assert size is not None
    shard, layer = weights / 2, gathered_bytes(size) / MIB
    assert shard / 2 > SLACK, "a second copy of its part would show, even one in bfloat16"
    work = partial(measure, folder=tmp_path, whole=False)
    stage = Rehearsed(name="policy", verb="prefer", rows=2, answers=(Tokens(2, 2),), training=Training(max_length=8))
    held = Footprint(weight_bytes=4, shards=2)
    for found in conduct(2, work, work):
        assert found["open"] < shard + layer + SLACK
        assert found["save"] < layer + SLACK
        assert found["export"] < layer + SLACK
        moments_and_gradients = 3 * shard
        assert found["step"] < moments_and_gradients + layer + SLACK
        assert found["resume"] < moments_and_gradients + layer + SLACK
        priced = training_bytes(size, stage, held) / MIB
        assert priced == pytest.approx(shard + found["step"], rel=AGREES)
    assert training_bytes(size, stage, replace(held, shards=1)) > 1.8 * training_bytes(size, stage, held)
