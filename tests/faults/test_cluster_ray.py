"""Ray actors give the bytes of one process, whatever the number of workers and whatever ends them."""

import os
import signal
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster_engines import Poisonous

from fake_recipes import Heard, results, run, write_recipe
from selfboost import recipe
from selfboost.cluster.ray import RayCrew
from selfboost.engines import Engine
from selfboost.engines.fake import Fake
from selfboost.records import Answer, Origin, Prompt, Sampling, user_prompt
from selfboost.run import Run

ray: Any = pytest.importorskip("ray", reason="ray is not installed (pip install 'selfboost[ray]')")

SMALL: dict[str, dict[str, Any]] = {
    "run": {"iterations": 1},
    "benchmark": {"samples": 1, "greedy": False},
    "training": {"batch_size": 3},
}
MANY, BLOCK = 600, Fake().block_size
ON_RAY = ["cluster.kind=ray", "cluster.replicas=2"]


@pytest.fixture(scope="module", autouse=True)
def one_ray_for_all() -> Generator[None]:
    """Runs use a Ray that is there, and leave it."""
    before = signal.getsignal(signal.SIGTERM)
    quiet = {"log_to_driver": False, "logging_level": "CRITICAL", "include_dashboard": False}
    for last in (False, True):  # on a busy machine Ray may take longer than it waits for itself
        try:
            ray.init(address="local", num_cpus=4, object_store_memory=2**27, **quiet)
            break
        except Exception as error:
            ray.shutdown()
            if last:
                pytest.skip(f"Ray cannot be started here: {error}")
    signal.signal(signal.SIGTERM, before)
    yield
    ray.shutdown()


def prompts(count: int, **instead: str) -> list[Prompt]:
    """Questions of several lengths; `at_N` stands in place of question N."""
    asked = [instead.get(f"at_{i}", f"What of the {'very ' * (i % 5)}thing {i}?") for i in range(count)]
    return [user_prompt(text, Origin(source="seed")) for text in asked]


def opened(root: Path, *settings: str, engine: Engine | None = None, listener: Heard | None = None) -> Run:
    chosen = recipe.read(write_recipe(root.parent), settings)
    root.mkdir()
    return Run(replace(chosen, engine=engine or chosen.engine), root, listener or Heard())


def sampled(run: Run, asked: list[Prompt]) -> bytes:
    with run.cluster:
        run.sample("prepare/drafts", run.initial, asked, Sampling(max_tokens=60))
    (rows,) = run.root.rglob("records.jsonl")
    return rows.read_bytes()


def pids(run: Run) -> list[int]:
    assert isinstance(run.cluster, RayCrew)
    return [hand.sight.pid for hand in run.cluster._hands if hand.sight is not None]


@pytest.mark.parametrize(
    "replicas", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
def test_a_run_has_the_same_bytes_with_any_number_of_workers(replicas: int, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "spin", **SMALL)
    run(path, tmp_path / "one")
    run(path, tmp_path / "ray", "cluster.kind=ray", f"cluster.replicas={replicas}")
    assert results(tmp_path / "ray") == results(tmp_path / "one")
    kept = sorted(each.name for each in (tmp_path / "ray").iterdir())
    assert kept == ["lock", "model", "recipe.toml", "run.json", "stages"]


class Killing(Heard):
    """Kills one of the workers after the first block, and again after the third."""

    run: Run
    killed = 0

    def progress(self, done: int, total: int, tokens: int) -> None:
        if done in (BLOCK, 3 * BLOCK):
            os.kill(pids(self.run)[0], signal.SIGKILL)
            self.killed += 1


@pytest.mark.parametrize("replicas", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_killed_worker_changes_nothing(replicas: int, tmp_path: Path) -> None:
    expected = sampled(opened(tmp_path / "one"), prompts(MANY))
    listener = Killing()
    slow = ["engine.seconds_per_answer=0.001", "cluster.kind=ray", f"cluster.replicas={replicas}"]
    listener.run = opened(tmp_path / "ray", *slow, listener=listener)
    assert sampled(listener.run, prompts(MANY)) == expected
    assert listener.killed == 2


def test_a_block_that_ends_three_workers_is_named_and_what_comes_before_is_kept(tmp_path: Path) -> None:
    poisoned = prompts(200, at_130="Is this poison?")
    broken = opened(tmp_path / "run", *ON_RAY, engine=Poisonous())
    with pytest.raises(
        ValueError, match=r"^prepare/drafts, prompts 129 to 192 of 200: ended 3 workers, the last by: The actor died"
    ):
        sampled(broken, poisoned)
    (rows,) = broken.root.rglob("records.jsonl")
    assert rows.read_bytes().count(b"\n") == 128


@pytest.mark.slow
def test_an_error_in_a_worker_is_the_users_sentence(tmp_path: Path) -> None:
    broken = opened(tmp_path / "run", *ON_RAY, engine=Poisonous(ends=False))
    with pytest.raises(ValueError, match="the model cannot read 'poison'") as raised:
        sampled(broken, prompts(100, at_70="Is this poison?"))
    assert str(raised.value) == "the model cannot read 'poison'"
    assert "cluster_engines.py" in raised.value.__notes__[0], "where it was raised can be looked up"


@pytest.mark.slow
def test_scores_come_from_workers_too(tmp_path: Path) -> None:
    run = opened(tmp_path / "run", *ON_RAY)
    gold = [run.given(prompt, f"A good answer {i}.") for i, prompt in enumerate(prompts(1500))]
    here = opened(tmp_path / "here" / "run")
    with run.cluster:
        verdicts = run.score("prepare/scores", gold)
    assert verdicts == here.score("prepare/scores", gold)
    assert len({verdict.value for verdict in verdicts}) > 100


def test_a_run_folder_that_workers_do_not_see_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        run = Run(recipe.read(write_recipe(tmp_path), ON_RAY), Path(f"/proc/self/fd/{folder}/mine"), Heard())
        with pytest.raises(ValueError, match=r"^/proc/self/fd/\d+/mine: the folder is not seen, .* by process \d+ on "):
            sampled(run, prompts(10))
    finally:
        os.close(folder)
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["cluster.replicas=9"],
            r"cluster.replicas = 9: with 1 CPU and 0 GPUs each, only 4 fit; the cluster has 1 mac",
        ),
        (
            ["cluster.gpus_per_replica=2"],
            r"cluster.replicas = 1: with 1 CPU and 2 GPUs each, only 0 fit; .* and 0 GPUs",
        ),
    ],
)
def test_more_than_the_cluster_has_is_refused(settings: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        sampled(opened(tmp_path / "run", "cluster.kind=ray", *settings), prompts(3))


def test_without_ray_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ValueError, match=r"^cluster.kind = 'ray': needs ray, .*; pip install 'selfboost\[ray\]'$"):
        sampled(opened(tmp_path / "run", *ON_RAY), prompts(3))


@pytest.mark.slow
def test_a_training_takes_the_devices_of_workers_that_hold_any(tmp_path: Path) -> None:
    run = opened(tmp_path / "run", *ON_RAY)
    with run.cluster:
        before = pids(run)
        assert run.cluster.release(run.engine) == {}
        assert pids(run) == before
        facts = run.cluster.release(Holder())
        assert len(facts["ended workers"]) == 2
        assert not [pid for pid in before if Path(f"/proc/{pid}").exists()]
        answers: list[Answer] = run.sample("prepare/x", run.initial, prompts(70), Sampling(max_tokens=60))
        assert len(answers) == 70
        assert not {*pids(run)} & {*before}
    end = time.monotonic() + 20
    while ray.cluster_resources()["CPU"] != ray.available_resources().get("CPU") and time.monotonic() < end:
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == 4, "the workers of a run that is over are gone"


class Holder(Fake):
    """An engine that keeps models between stages."""

    def release(self) -> dict[str, Any]:
        """Nothing is kept here."""
        return {}
