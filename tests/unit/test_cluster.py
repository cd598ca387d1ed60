"""What every cluster gives: the result of each block, in order, a few held at a time, whatever becomes of workers."""

import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest

from fake_recipes import write_recipe
from selfboost import recipe
from selfboost.cluster import StageBlock
from selfboost.cluster.actor import BlockActor, Failed, Surroundings, sizes
from selfboost.cluster.here import ThisProcess
from selfboost.cluster.queue import BlockQueue
from selfboost.engines.kept_models import kept, kept_open, models_kept_open
from selfboost.engines.run_day import run_day
from selfboost.recipe_text import recipe_text
from selfboost.run import Run
from selfboost.stages import Silent

DAY = date(2026, 1, 31)
PLACE: ContextVar[str] = ContextVar("place", default="outside")


@dataclass(frozen=True, kw_only=True)
class Doubling:
    """Doubles a number, and notes what happens."""

    at_once: int = 1
    seconds: float = 0.0
    happened: list[str] = field(default_factory=list)

    @contextmanager
    def open(self) -> Generator[Callable[[int], int]]:
        self.happened.append("opened")
        before = PLACE.set("inside")
        try:
            yield self._double
        finally:
            PLACE.reset(before)
            self.happened.append("closed")

    def _double(self, number: int) -> int:
        assert PLACE.get() == "inside"
        time.sleep(self.seconds * random.random())
        self.happened.append(f"{number} in {threading.current_thread().name}")
        return 2 * number


def numbers(count: int, taken: list[int]) -> Iterator[StageBlock[int]]:
    for number in range(count):
        taken.append(number)
        yield StageBlock(name=f"block {number}", items=number)


def test_what_a_worker_freed_goes_back_once_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Doubling()
    monkeypatch.setattr("selfboost.cluster.give_back_freed_memory", lambda: worker.happened.append("given back"))
    assert list(ThisProcess().results(worker, numbers(1, []))) == [0]
    assert worker.happened[-2:] == ["closed", "given back"]


@pytest.mark.parametrize("at_once", [1, 3])
def test_here_results_come_in_order_and_blocks_are_taken_lazily(at_once: int) -> None:
    worker, taken, found = Doubling(at_once=at_once, seconds=0.01), list[int](), list[int]()
    for result in ThisProcess().results(worker, numbers(20, taken)):
        found.append(result)
        assert PLACE.get() == "outside"
        assert len(taken) - len(found) <= (0 if at_once == 1 else 2 * at_once)
    assert found == [2 * number for number in range(20)]
    assert (worker.happened[0], worker.happened[-1]) == ("opened", "closed")
    assert worker.happened.count("opened") == 1
    assert len({each.partition(" in ")[2] for each in worker.happened[1:-1]}) == at_once


def test_here_nothing_is_opened_without_a_block() -> None:
    worker = Doubling()
    assert list(ThisProcess().results(worker, [])) == []
    assert worker.happened == []


def test_here_a_stage_that_breaks_off_closes_its_worker() -> None:
    worker = Doubling(at_once=2)
    results = ThisProcess().results(worker, numbers(20, []))
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert worker.happened[-1] == "closed"


def test_the_queue_gives_results_in_order_and_holds_few() -> None:
    taken, chance, out, found = list[int](), random.Random(0), dict[int, int](), list[int]()
    queue = BlockQueue[int, int](numbers(200, taken), ahead=9, attempts=10)
    while not queue.finished:
        while (next_one := queue.take()) is not None:
            out[next_one[0]] = next_one[1]
        assert len(taken) - len(found) <= 9
        number = chance.choice(list(out))
        items = out.pop(number)
        if chance.random() < 0.2:
            queue.lost(number, "a fault")
        else:
            queue.done(number, 2 * items)
        found += queue.due()
    assert found == [2 * number for number in range(200)]


def test_a_block_that_ends_worker_after_worker_is_named() -> None:
    queue = BlockQueue[int, int](numbers(3, []), ahead=2, attempts=3)
    for time_lost in range(2):
        assert queue.take() == (0, 0, time_lost > 0)
        queue.lost(0, "killed")
        assert queue.suspected
    queue.take()
    with pytest.raises(ValueError, match=r"^block 0: ended 3 workers, the last by: killed; look at .* to resume$"):
        queue.lost(0, "killed")


def around(folder: Path, **changes: object) -> Surroundings:
    (folder / "cache").mkdir(exist_ok=True)
    (folder / "cache" / "token").touch()
    model = folder / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}")
    same = {"threads": 0, "day": DAY, "token": folder / "cache" / "token", "folders": {str(model): sizes(str(model))}}
    return Surroundings(working_directory=str(folder), **{**same, **changes})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class TellingTheDay:
    """Says the run's day, or fails."""

    at_once: int = 1

    @contextmanager
    def open(self) -> Generator[Callable[[str], str]]:
        yield self._tell

    def _tell(self, wish: str) -> str:
        if wish == "fail":
            raise FileNotFoundError(2, "no such thing")
        return run_day().isoformat()


def test_an_actor_opens_once_a_stage_and_sends_errors_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    actor, worker = BlockActor(around(tmp_path)), Doubling()
    assert actor.look().unseen == []
    assert [actor.work(1, worker, number) for number in (1, 2)] == [2, 4]
    assert actor.work(2, TellingTheDay(), "tell") == DAY.isoformat() != run_day().isoformat()
    assert [each.partition(" ")[0] for each in worker.happened] == ["opened", "1", "2", "closed"]
    failed = actor.work(2, TellingTheDay(), "fail")
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, FileNotFoundError)
    assert "_tell" in failed.trace
    actor.close()


def test_an_actor_names_what_it_does_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = around(tmp_path, token=tmp_path / "elsewhere" / "cache" / "token")
    assert BlockActor(elsewhere).look().unseen == [str(tmp_path / "elsewhere")]
    other = around(tmp_path, folders={str(tmp_path / "model"): {"config.json": 3}})
    assert BlockActor(other).look().unseen == [str(tmp_path / "model")]


def test_models_are_opened_once_where_they_are_kept() -> None:
    happened = list[str]()

    @contextmanager
    def opening() -> Generator[str]:
        happened.append("opened")
        yield "model"
        happened.append("closed")

    for _ in range(2):
        with kept_open("key", opening) as model:
            assert model == "model"
    assert happened == ["opened", "closed"] * 2
    happened.clear()
    with models_kept_open():
        for _ in range(2):
            with kept_open("key", opening):
                assert happened == ["opened"]
        assert kept("other", lambda: "loaded") == kept("other", lambda: "again") == "loaded"
    assert happened == ["opened", "closed"]
    assert kept("other", lambda: "again") == "again"


def test_a_recipe_without_a_cluster_has_this_process_and_no_fingerprint_knows_of_another(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "spin")
    here, ray = recipe.read(path), recipe.read(path, ["cluster.kind=ray", "cluster.replicas=2"])
    assert 'kind = "here"' in recipe_text(here).partition("[cluster]")[2]
    assert "replicas = 2" in recipe_text(ray).partition("[cluster]")[2]
    parts = [Run(each, tmp_path / name, Silent())._parts("sample", engine=each.engine) for name, each in
             (("here", here), ("ray", ray))]  # fmt: skip
    assert parts[0] == parts[1]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("cluster.replicas=0", "cluster.replicas = 0: must be a whole number from 1 to 10,000"),
        ("cluster.gpus_per_replica=-2", "cluster.gpus_per_replica = -2: must be a whole number from -1 to 64"),
        ("cluster.attempts=0", "cluster.attempts = 0: must be a whole number from 1 to 100"),
        ("cluster.kind='slurm'", "cluster.kind = 'slurm': no such cluster; allowed: here, processes, ray"),
    ],
)
def test_bad_settings_are_one_sentence(setting: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        recipe.read(write_recipe(tmp_path), ["cluster.kind=ray", setting])
