"""Two processes of which one sees another folder, another state, or dies: each ends with a sentence, none hangs."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from train_records import examples, silent

from selfboost.records import Model
from selfboost.train import Training
from selfboost.train.devices.launched import Lost
from selfboost.train.local import Local
from selfboost.train.steps.checkpoints import COMMON, STATE, StateFolder

torch.set_num_threads(1)
HERE = Path(__file__).parent
TRAINING = Training(learning_rate=1e-2, batch_size=3, epochs=2, ema_decay=0.5)
COPIED = Local(device="cpu", dtype="float32", devices=2, micro_batch_tokens=60, checkpoint_steps=1, keep_states=2)
SHARDED = replace(COPIED, sharding=True)


def launch(what: str, start: Model, folder: str, places: list[Path]) -> list[subprocess.Popen[str]]:
    """Two processes as a launcher starts them, each in its working directory."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    paths = os.pathsep.join([str(HERE), *(str(Path(path).absolute()) for path in sys.path)])
    command = [sys.executable, str(HERE / "one_of_two.py"), what, start.path, folder]
    started = []
    for rank, place in enumerate(places):
        place.mkdir(exist_ok=True)
        own = os.environ | shared | {"RANK": str(rank), "PYTHONPATH": paths}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=own, cwd=place, stdout=pipe, stderr=pipe, text=True))
    return started


def ends(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, output and last line of errors of each."""
    try:
        said = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, out, (err.splitlines() or [""])[-1]) for p, (out, err) in zip(processes, said, strict=True)]


@pytest.mark.slow
def test_a_folder_that_one_does_not_see_is_refused_on_both(start: Model, tmp_path: Path) -> None:
    """A path that leads elsewhere in each process, as on two machines without a shared disk."""
    found = ends(launch("train", start, "/proc/self/cwd/run", [tmp_path / "first", tmp_path / "second"]))
    for code, out, sentence in found:
        assert code != 0
        assert "step" not in out
        assert "/proc/self/cwd/run: the folder that process 0 on " in sentence
        assert "is not seen by process 1 on" in sentence


@pytest.mark.slow
def test_a_relative_folder_is_the_conductor_s(start: Model, tmp_path: Path) -> None:
    found = ends(launch("train", start, "run", [tmp_path / "first", tmp_path / "second"]))
    assert [code for code, _, _ in found] == [0, 0], found
    assert "whole" in found[0][1]
    assert (tmp_path / "first" / "run" / "model.safetensors").is_file()
    assert not list((tmp_path / "first" / "run").glob(".processes-*"))
    assert list((tmp_path / "second").iterdir()) == []


@pytest.mark.slow
def test_states_that_differ_are_refused_on_both(start: Model, tmp_path: Path) -> None:
    for name, steps in (("first", (1, 3)), ("second", (1,))):
        (tmp_path / name / "folder").mkdir(parents=True)
        states = StateFolder(tmp_path / name / "folder", "identity", keep=2)
        for step in steps:
            states.write(step, {"done": step}, {"x": torch.ones(2)})
    for code, _, sentence in ends(launch("read", start, "", [tmp_path / "first", tmp_path / "second"])):
        assert code != 0
        assert "the processes would resume from different states (process 0 on" in sentence
        assert "step-00000003-identity.pt" in sentence
        assert "step-00000001-identity.pt" in sentence


def test_a_follower_that_dies_while_the_conductor_does_something_else_ends_it_within_seconds(
    start: Model, tmp_path: Path
) -> None:
    """Nothing is being sent between them. While it waits, a follower takes no processor time."""
    conductor, follower = started = launch("wait", start, "", [tmp_path / "first", tmp_path / "second"])
    assert conductor.stdout is not None
    assert conductor.stdout.readline() == "waits\n"
    before = processor_seconds(follower.pid)
    time.sleep(2)
    assert processor_seconds(follower.pid) - before < 0.1
    begin = time.monotonic()
    follower.kill()
    (code, _, sentence), _ = ends(started)
    assert time.monotonic() - begin < 30
    assert code == 1
    assert "process 0 of 2 on" in sentence
    assert "lost the others: one of them stopped" in sentence


def processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_conductor_that_fails_ends_its_follower_with_an_error(start: Model, tmp_path: Path) -> None:
    (code, _, _), (other, _, sentence) = ends(launch("fail", start, "", [tmp_path / "first", tmp_path / "second"]))
    assert (code, other) == (2, 1)
    assert sentence.endswith("stopped: there is no such recipe")


def train(local: Local, start: Model, into: Path, progress: object = silent) -> dict[str, torch.Tensor]:
    into.mkdir(exist_ok=True)
    local.finetune(start, examples(), TRAINING, into=into, seed=0, progress=progress)  # type: ignore[arg-type]
    return load_file(into / "model.safetensors")


def follower() -> int:
    """The process id of this process's follower."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{name}/cmdline").read_text()
            parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == os.getpid() and "devices.follower" in command:
            return int(name)
    raise AssertionError("there is no follower")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes under /proc")
@pytest.mark.slow
@pytest.mark.parametrize("local", [COPIED, SHARDED], ids=["copied", "sharded"])
def test_one_that_is_killed_ends_the_other_and_a_rerun_gives_the_same_bits(
    start: Model, tmp_path: Path, local: Local
) -> None:
    expected = train(local, start, tmp_path / "whole")

    def kill(done: int, _total: int, _tokens: int) -> None:
        if done == 3:
            os.kill(follower(), signal.SIGKILL)

    begin = time.monotonic()
    with pytest.raises(Lost, match=r"^training on 2 devices stopped: process 1 ended with code -9: .*rerun to resume$"):
        train(local, start, tmp_path / "killed", kill)
    assert time.monotonic() - begin < 240
    seen: list[int] = []
    found = train(local, start, tmp_path / "killed", lambda done, *_: seen.append(done))
    assert seen[0] == 4
    assert not (tmp_path / "killed" / STATE).exists()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes under /proc")
@pytest.mark.slow
def test_one_that_no_longer_answers_is_waited_for_as_long_as_the_setting_says(start: Model, tmp_path: Path) -> None:
    stopped: list[float] = []

    def stop(done: int, _total: int, _tokens: int) -> None:
        if done == 2:
            os.kill(follower(), signal.SIGSTOP)
            stopped.append(time.monotonic())

    with pytest.raises(Lost, match="training on 2 devices stopped: "):
        train(replace(COPIED, timeout_seconds=15), start, tmp_path / "out", stop)
    assert 10 < time.monotonic() - stopped[0] < 120


@pytest.mark.slow
def test_sharded_states_hold_a_part_each_and_go_on_with_one_process(start: Model, tmp_path: Path) -> None:
    expected = train(SHARDED, start, tmp_path / "whole")

    def interrupt(done: int, _total: int, _tokens: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(SHARDED, start, tmp_path / "stopped", interrupt)
    states = sorted((tmp_path / "stopped" / STATE).iterdir())
    assert [path.name[:13] for path in states] == ["step-00000002", "step-00000003"]
    files = sorted(states[-1].glob("shard-*.safetensors"))
    whole = sum(tensor.numel() for tensor in expected.values())
    assert len(files) == 2
    for file in files:
        masters = [tensor for name, tensor in load_file(file).items() if name.startswith("/optimizer/masters/")]
        assert 0.4 * whole < sum(tensor.numel() for tensor in masters) < 0.6 * whole
    common = torch.load(states[-1] / COMMON, weights_only=True)
    assert not any(isinstance(each, torch.Tensor) for each in common["own"]["optimizer"]["masters"])
    files[-1].write_bytes(b"damaged")  # so that the one before it serves
    seen: list[int] = []
    alone = replace(COPIED, devices=1)
    found = train(alone, start, tmp_path / "stopped", lambda done, *_: seen.append(done))
    assert seen[0] == 3
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)
