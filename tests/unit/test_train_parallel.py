"""Several processes train as one does on the same global batches: gloo, two processes on the CPU."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine_models import save_llama
from running_processes import all_end
from safetensors.torch import load_file
from train_records import examples, model, pairs, silent

from selfboost.losses.dpo import DPO
from selfboost.losses.noise_preference import NoisePreference
from selfboost.losses.noise_settings import Noise
from selfboost.losses.simpo import SimPO
from selfboost.system import peak_memory, peak_memory_of_all
from selfboost.train import Training
from selfboost.train.devices.parallel import World
from selfboost.train.local import Local
from selfboost.train.steps.checkpoints import STATE
from selfboost.train.steps.telemetry import TIMINGS

torch.set_num_threads(1)
ONE = Local(device="cpu", dtype="float32", micro_batch_tokens=60, checkpoint_seconds=0)
COPIED = replace(ONE, devices=2)
SHARDED = replace(ONE, devices=2, sharding=True)
LOSSES = [
    DPO(),
    NoisePreference(noise=Noise(scale="auto")),
    NoisePreference(noise=Noise(schedule="alternating", module="affine")),
]
TRAINING = Training(learning_rate=1e-3, batch_size=4, epochs=2.5, warmup=0.2, ema_decay=0.5)


@pytest.fixture(scope="module", params=[pytest.param(True, marks=pytest.mark.slow), False], ids=["tied", "untied"])
def start(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    save_llama(folder, tie_word_embeddings=request.param)
    return model(folder)


def curve(result):
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in result.history]


def same(found, expected, tolerance):
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted, rel=tolerance, abs=tolerance)


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("local", "loss"),
    [
        pytest.param(COPIED, LOSSES[1], id="copied-noise"),
        pytest.param(SHARDED, LOSSES[0], id="sharded-dpo"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((COPIED, LOSSES[0]), (COPIED, LOSSES[2]), (SHARDED, LOSSES[1]), (SHARDED, LOSSES[2]))
        ),
    ],
)
def test_two_processes_give_the_curve_and_the_model_of_one(start, local, loss, tmp_path, monkeypatch):
    monkeypatch.setattr("selfboost.system._Seen.peak", 0)  # or what earlier tests started would count
    results, cache = [], tmp_path / "cache"
    for at, trainer in enumerate((ONE, local)):
        into = tmp_path / str(at)
        into.mkdir()
        kept = {"into": into, "seed": 0, "progress": silent, "cache": cache / str(at)}
        results.append(trainer.prefer(start, start, pairs(), loss, TRAINING, **kept))
    if sys.platform == "linux":
        assert peak_memory_of_all() - peak_memory() > 100 << 20, "the follower, which has PyTorch, does not count"
    one, two = results
    same(curve(two), curve(one), 1e-4)
    assert (two.steps, two.tokens) == (one.steps, one.tokens)
    found, expected = weights(tmp_path / "1"), weights(tmp_path / "0")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)
    assert (tmp_path / "1" / "config.json").read_text() == (tmp_path / "0" / "config.json").read_text()
    kept = [[json.loads(line) for line in next((cache / str(at)).glob("*.jsonl")).open()] for at in range(2)]
    for line, wanted in zip(*kept, strict=True):
        assert line.pop("pair") == wanted.pop("pair")
        assert line == pytest.approx(wanted, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "shards"), [(2, 1), (4, 2)])
def test_copies_of_shards_give_the_model_of_one_process(start, devices, shards, tmp_path):
    """HSDP: as on machines that each hold one copy. Resumed from its state by one process, too."""
    training, saved = replace(TRAINING, epochs=2.0), []

    def stop(done, total, tokens):
        saved.append(done)
        if done == 3:
            raise KeyboardInterrupt

    hybrid = replace(SHARDED, devices=devices, shards=shards, checkpoint_steps=1)
    for name in ("one", "hybrid", "stopped"):
        (tmp_path / name).mkdir()
    expected = ONE.finetune(start, examples(), training, into=tmp_path / "one", seed=0, progress=silent)
    found = hybrid.finetune(start, examples(), training, into=tmp_path / "hybrid", seed=0, progress=silent)
    same(curve(found), curve(expected), 1e-4)
    with pytest.raises(KeyboardInterrupt):
        hybrid.finetune(start, examples(), training, into=tmp_path / "stopped", seed=0, progress=stop)
    assert len(list((tmp_path / "stopped" / STATE).glob("step-*/shard-*.safetensors"))) <= devices
    found = ONE.finetune(start, examples(), training, into=tmp_path / "stopped", seed=0, progress=silent)
    same(curve(found), curve(expected), 1e-4)
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "hybrid")[name], tensor, rtol=1e-3, atol=1e-5)


def test_shards_that_do_not_divide_the_processes_are_refused_at_once(start, tmp_path):
    with pytest.raises(ValueError, match=r"trainer\.shards = 3: must divide the 2 processes"):
        replace(SHARDED, shards=3).finetune(start, examples(), Training(), into=tmp_path, seed=0, progress=silent)


@pytest.mark.slow
def test_a_state_goes_on_with_another_number_of_processes(start, tmp_path):
    """Saved by one process, taken up by two with shards."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    training = replace(TRAINING, epochs=2.0)
    expected = ONE.finetune(start, examples(), training, into=whole, seed=0, progress=silent)

    def stop(done, total, tokens):
        if done == 3:
            raise KeyboardInterrupt

    saving = replace(ONE, checkpoint_steps=1)
    with pytest.raises(KeyboardInterrupt):
        saving.finetune(start, examples(), training, into=stopped, seed=0, progress=stop)
    assert (stopped / STATE).exists()
    seen = []
    found = SHARDED.finetune(
        start, examples(), training, into=stopped, seed=0, progress=lambda done, *_: seen.append(done)
    )
    assert seen == list(range(4, expected.steps + 1))
    same(curve(found), curve(expected), 1e-4)
    assert not (stopped / STATE).exists()


@pytest.mark.slow
def test_a_model_stored_in_bfloat16_is_sharded_as_the_float32_one_that_it_opens_as(tmp_path):
    stored = tmp_path / "stored"
    save_llama(stored).to(torch.bfloat16).save_pretrained(stored)
    found = []
    for name, local in (("one", ONE), ("sharded", SHARDED)):
        (tmp_path / name).mkdir()
        given = {"into": tmp_path / name, "seed": 0, "progress": silent}
        local.finetune(model(stored), examples(), replace(TRAINING, epochs=1.0), **given)
        found.append(weights(tmp_path / name))
    for name, tensor in found[0].items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(found[1][name], tensor, rtol=1e-3, atol=1e-5)


def test_numbers_that_are_not_finite_stop_all_processes(start, tmp_path):
    into = tmp_path / "out"
    into.mkdir()
    wild = Training(learning_rate=1e30, batch_size=4, epochs=5, warmup=0, max_gradient_norm=1e30)
    with pytest.raises(FloatingPointError, match=r"step \d+ of \d+: the (loss|gradient) is not finite for "):
        COPIED.prefer(start, None, pairs(), SimPO(beta=1e6), wild, into=into, seed=0, progress=silent)


CONDUCTOR = """
import sys, time
from pathlib import Path
from train_records import examples, model
from selfboost.losses.noise_settings import Noise
from selfboost.train import Training
from selfboost.train.local import Local
local = Local(device="cpu", dtype="float32", devices=2)
def progress(done, total, tokens):
    print("step", flush=True)
    time.sleep(60)
local.finetune(model(sys.argv[1]), examples(), Training(), into=Path(sys.argv[2]), seed=0, progress=progress)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes under /proc")
def test_a_follower_does_not_outlive_its_conductor(start, tmp_path):
    (tmp_path / "out").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", CONDUCTOR, start.path, str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"step\n"
    followers = children(process.pid)
    assert len(followers) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all_end(followers, 30)


def children(pid):
    found = []
    for stat in [f"/proc/{name}/stat" for name in os.listdir("/proc") if name.isdigit()]:
        try:
            fields = Path(stat).read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.split("/")[2]))
    return found


@pytest.mark.parametrize("setting", [{"lora_rank": 4}, {"optimizer": "adamw_8bit"}])
def test_what_cannot_be_sharded_is_refused_at_once(start, setting, tmp_path):
    if "lora_rank" in setting:
        pytest.importorskip("peft", reason="peft (extra `lora`) is not installed")
    else:
        pytest.importorskip("bitsandbytes", reason="bitsandbytes (extra `eight-bit`) is not installed")
    with pytest.raises(ValueError, match=r"sharding = true .* works with neither"):
        SHARDED.finetune(start, examples(), Training(**setting), into=tmp_path, seed=0, progress=silent)


def test_a_follower_that_cannot_start_is_told_of(start, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="training on 2 devices stopped: process 1 ended with code 1"):
        COPIED.finetune(start, examples(), Training(), into=tmp_path, seed=0, progress=silent)


@pytest.mark.slow
def test_a_launcher_s_processes_run_one_recipe_together(tmp_path):
    """As a user would: `torchrun` on the command itself, here with the smoke recipe cut to one iteration."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "selfboost"]
    asked = ["run", "smoke", "--into", str(tmp_path / "run"), "--set", "run.iterations=1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command, *asked], env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert (tmp_path / "run" / "run.json").is_file()
    assert done.stdout.decode().count("Report: ") == 1


@pytest.mark.parametrize(("things", "size"), [(7, 2), (2, 4), (6, 3), (1, 1)])
def test_every_thing_is_counted_once_and_all_have_as_many(things, size):
    shares = [World(rank, size).share(list(range(things))) for rank in range(size)]
    assert {len(share) for share in shares} == {math.ceil(things / size)}
    assert sorted(thing for share in shares for thing, counts in share if counts) == list(range(things))
