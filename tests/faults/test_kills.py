"""SIGKILL at any moment, the same command again: the same run to the byte, and no finished stage twice."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from killing import KILLED, Deaths, DiesAtEvents, die_at_file_changes, finished_stages, fork, kill_me, run_until_whole
from killing import wait as wait_for

from fake_recipes import Heard, results, run, write_recipe
from selfboost import check_function, recipe, store
from selfboost.disk.json_files import read_json
from selfboost.engines.fake import Fake, is_good
from selfboost.loop import boost
from selfboost.records import Verdict
from selfboost.stages import Silent
from selfboost.train.packs.batches import WINDOW

BLOCK = Fake().block_size
SMALL: dict[str, dict[str, Any]] = {
    "run": {"iterations": 1},
    "benchmark": {"samples": 1, "greedy": False},
    "training": {"batch_size": 3},
}


@pytest.mark.parametrize(
    ("method", "sections"),
    [
        ("synpo", SMALL),
        pytest.param("spin", {"run": {"iterations": 3, "beside": ["seed_sft"]}}, marks=pytest.mark.slow),
        pytest.param("sampling_ranking", {"run": {"iterations": 3, "beside": ["seed_sft"]}}, marks=pytest.mark.slow),
        pytest.param("synpo", {"run": {"iterations": 3, "beside": ["seed_sft"]}}, marks=pytest.mark.slow),
    ],
)
def test_at_every_start_step_and_end_of_a_stage(tmp_path: Path, method: str, sections: dict[str, Any]) -> None:
    path = write_recipe(tmp_path, method, **sections)
    whole = run(path, tmp_path / "whole")
    deaths = Deaths(tmp_path / "deaths")
    died = run_until_whole(path, tmp_path / "killed", lambda: DiesAtEvents(deaths))
    assert died == len(deaths.all()) > 2 * len(whole.started_stages)
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert run(path, tmp_path / "killed").started_stages == []


@pytest.mark.parametrize(
    ("method", "sections"),
    [
        pytest.param("spin", SMALL, marks=pytest.mark.slow),
        pytest.param("synpo", {"run": {"iterations": 2, "beside": ["seed_sft"]}}, marks=pytest.mark.slow),
    ],
)
def test_before_every_change_of_a_file(tmp_path: Path, method: str, sections: dict[str, Any]) -> None:
    path = write_recipe(tmp_path, method, **sections)
    whole = run(path, tmp_path / "whole")
    deaths, root = Deaths(tmp_path / "deaths"), tmp_path / "killed"

    def prepare() -> Heard:
        die_at_file_changes(root, deaths)
        return Heard()

    died = run_until_whole(path, root, prepare)
    assert died == len(deaths.all()) > 4 * len(whole.started_stages)
    assert results(root) == results(tmp_path / "whole")


def test_twenty_times_at_random(tmp_path: Path) -> None:
    slow = {"engine": {"seconds_per_answer": 0.005}, "trainer": {"seconds_per_step": 0.05}}
    path = write_recipe(tmp_path, "synpo", **SMALL | slow)
    chance, chosen, log = random.Random(0), recipe.read(path), tmp_path / "log"
    start = time.monotonic()
    run(path, tmp_path / "whole")
    longest = max(0.25, (time.monotonic() - start) / 4)  # some of a slow machine's deaths must come late enough
    whole = results(tmp_path / "whole")
    kills, runs, places = 0, 0, set[str]()
    while kills < 20 or runs == 0:
        root = tmp_path / f"killed-{runs}"
        before = finished_stages(root)
        child = fork(lambda root=root: boost(chosen, root, Silent()), log)
        if kills < 20:
            time.sleep(chance.uniform(0.02, longest))
            os.kill(child, signal.SIGKILL)
        code = wait_for(child)
        assert code in (0, KILLED), log.read_text()
        assert before.items() <= finished_stages(root).items()
        places |= {partial.name for partial in root.rglob("*.partial-*")}
        kills += code == KILLED
        if code == 0:  # a fast machine was done before its next death: the rest dies in a new run
            assert results(root) == whole
            runs += 1
    assert len(places) >= 3, "the kills must hit several stages"


def test_a_long_sampling_stage_goes_on_inside_itself(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "spin", **SMALL | {"benchmark": {"samples": 4 * BLOCK // 5, "greedy": False}})
    root, whole = tmp_path / "killed", tmp_path / "whole"
    run(path, whole)

    class DiesAt(Heard):
        def progress(self, done: int, total: int, tokens: int) -> None:
            if done == 2 * BLOCK:
                kill_me()

    assert wait_for(fork(lambda: boost(recipe.read(path), root, DiesAt()))) == KILLED
    (partial,) = root.glob("stages/iteration-0/validation-sampled.partial-*/records.jsonl")
    left, state = partial.read_bytes(), partial.stat()
    assert left.count(b"\n") == 2 * BLOCK
    run(path, root)
    sealed = root / "stages/iteration-0/validation-sampled/records.jsonl"
    assert sealed.read_bytes().startswith(left)
    assert sealed.stat().st_ino == state.st_ino
    assert results(root) == results(whole)


_JUDGED: list[str] = []


@check_function
def judge(prompt: str, answer: str) -> bool | None:
    """A check that dies where the environment says, and notes how often it was asked."""
    _JUDGED.append(answer)
    if len(_JUDGED) == int(os.environ.get("DIE_AT_JUDGEMENT", "0")):
        kill_me()
    return is_good(prompt, answer)


@pytest.mark.slow
def test_a_long_scoring_stage_goes_on_inside_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {"benchmark": {"samples": 258, "greedy": False}, "benchmark__scorer": {"function": "test_kills:judge"}}
    path = write_recipe(tmp_path, "spin", **SMALL | many)
    root, whole = tmp_path / "killed", tmp_path / "whole"
    _JUDGED.clear()
    run(path, whole, trust=__name__)
    asked = len(_JUDGED)
    with monkeypatch.context() as context:
        context.setenv("DIE_AT_JUDGEMENT", str(WINDOW + 6))
        _JUDGED.clear()
        assert wait_for(fork(lambda: boost(recipe.read(path, trust=__name__), root, Silent()))) == KILLED
    (partial,) = root.glob("stages/iteration-0/validation-sampled-scores.partial-*")
    stage = read_json(whole / "stages/iteration-0/validation-sampled-scores/stage.json")
    kept = store.Stage(root, stage["name"], stage["verb"], stage["parts"]).rows_so_far(Verdict)
    assert partial.exists()
    assert len(kept) == WINDOW
    _JUDGED.clear()
    run(path, root, trust=__name__)
    assert len(_JUDGED) == asked - WINDOW
    assert results(root) == results(whole)
