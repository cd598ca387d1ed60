"""The moving average of the weights against a computation by hand."""

from dataclasses import replace

import pytest
import torch
from engine_models import save_llama
from safetensors.torch import load_file
from train_records import examples, model, silent

from selfboost.train import Training
from selfboost.train.local import Local
from selfboost.train.steps.averaging import Average
from selfboost.train.steps.optimizers import Optimizer

torch.set_num_threads(1)
WEIGHTS = "model.safetensors"


def test_it_is_the_formula():
    weight = torch.tensor([1.0, -2.0], requires_grad=True)
    average = Average([weight], 0.75)
    expected = [1.0, -2.0]
    for values in ([3.0, 0.0], [5.0, 8.0], [-1.0, 4.0]):
        with torch.no_grad():
            weight.copy_(torch.tensor(values))
        average.update()
        expected = [0.75 * old + 0.25 * new for old, new in zip(expected, values, strict=True)]
    assert average.tensors[0].tolist() == pytest.approx(expected)
    assert weight.tolist() == [-1.0, 4.0]
    average.take_place()
    assert weight.tolist() == pytest.approx(expected)


def test_off_it_holds_nothing_and_changes_nothing():
    weight = torch.ones(3)
    average = Average([weight], 0.0)
    average.update()
    average.take_place()
    assert average.tensors == []
    assert weight.tolist() == [1.0] * 3


def test_it_is_of_the_masters_where_weights_are_bfloat16():
    weight = torch.ones(1, 1, dtype=torch.bfloat16, requires_grad=True)
    optimizer = Optimizer([weight], Training())
    average = Average(optimizer.masters, 0.5)
    for _ in range(2):  # each step is lost in bfloat16, whose numbers near 1 are 4e-3 apart
        weight.sum().backward()
        optimizer.step(1e-3)
        average.update()
    assert average.tensors[0].dtype == torch.float32
    assert average.tensors[0].item() == pytest.approx(0.25 + 0.25 * 0.999 + 0.5 * 0.998, abs=1e-6)


def test_the_model_written_is_the_average_of_the_weights_after_each_step(tmp_path):
    save_llama(tmp_path / "start")
    start = model(tmp_path / "start")
    training = Training(learning_rate=1e-2, batch_size=4, epochs=1, warmup=0.0, schedule="constant")

    def weights(steps, **settings):
        """After so many steps: with a constant rate, a shorter training is the longer one's beginning."""
        into = tmp_path / f"{steps}-{len(settings)}"
        into.mkdir()
        shorter = replace(training, epochs=steps * 4 / 9, **settings)
        result = Local(dtype="float32").finetune(start, examples(), shorter, into=into, seed=0, progress=silent)
        assert result.steps == steps
        return load_file(into / WEIGHTS)

    expected = load_file(tmp_path / "start" / WEIGHTS)
    for steps in (1, 2):
        after = weights(steps)
        expected = {name: 0.6 * expected[name] + 0.4 * after[name] for name in expected}
    found = weights(2, ema_decay=0.6)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-7, msg=name)
