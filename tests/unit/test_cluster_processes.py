"""Several processes of this machine: the results of one, in order, whatever becomes of the others."""

import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from fake_recipes import run, write_recipe
from selfboost import recipe
from selfboost.cluster import Site, StageBlock
from selfboost.cluster import threads as pytorch_threads
from selfboost.cluster.processes import ProcessCrew, Processes
from selfboost.engines.fake import Fake
from selfboost.engines.run_day import run_day
from selfboost.system import usable_cores

DAY = date(2026, 1, 31)


@dataclass(frozen=True, kw_only=True)
class Squaring:
    """Squares a number, and says where and on which day; does odd things on the way if it is asked to."""

    at_once: int = 1
    here: int
    """The process that asks."""
    odd: str = ""
    """What the others do at 3: `fail`, or `die`."""

    @contextmanager
    def open(self) -> Generator[Callable[[int], tuple[int, int, str]]]:
        yield self._square

    def _square(self, number: int) -> tuple[int, int, str]:
        time.sleep(0.01)
        if os.getpid() != self.here and number >= 3 and self.odd:
            if self.odd == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            raise FileNotFoundError(2, "no such thing")
        print("said on the way")
        return number**2, os.getpid(), run_day().isoformat()


def site(root: Path, **changes: object) -> Site:
    return Site(root=root, **{"engine": Fake(), "threads": 1, "day": DAY, **changes})  # type: ignore[arg-type]


def test_without_a_number_of_threads_a_containers_quota_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quota is made up: this machine may have none."""
    name = pytorch_threads.VARIABLE
    monkeypatch.setenv(name, "")  # so that it is as it was after the test
    monkeypatch.setitem(sys.modules, "torch", None)  # not imported
    for quota, given, wished in ((3, "", "3"), (3, "5", "5"), (0, "", "")):
        monkeypatch.setattr(pytorch_threads, "quota_of_cores", lambda quota=quota: quota)
        os.environ.pop(name, None)
        os.environ.update({name: given} if given else {})
        pytorch_threads.limit_torch(0)
        assert os.environ.get(name, "") == wished


def test_few_products_are_kept_unless_the_environment_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, kept in ((None, str(pytorch_threads.KEPT_PRODUCTS)), ("7", "7")):
        monkeypatch.setenv(pytorch_threads.PRODUCTS, given or "")  # so that it is as it was after the test
        if given is None:
            monkeypatch.delenv(pytorch_threads.PRODUCTS)
        pytorch_threads.limit_torch(0)
        assert os.environ[pytorch_threads.PRODUCTS] == kept


def numbers(count: int) -> Iterator[StageBlock[int]]:
    return (StageBlock(name=f"block {number}", items=number) for number in range(count))


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[ProcessCrew]:
    with Processes(replicas=3).start(site(tmp_path)) as started:
        assert isinstance(started, ProcessCrew)
        wait_for_all(started)
        yield started


def wait_for_all(crew: ProcessCrew) -> None:
    end = time.monotonic() + 60
    while sum(other.ready for other in crew._others or ()) < 2 and time.monotonic() < end:
        list(crew.results(Squaring(here=0), numbers(2)))
    assert sum(other.ready for other in crew._others or ()) == 2


def test_results_are_in_order_and_all_processes_compute(crew: ProcessCrew) -> None:
    for _ in range(2):
        found = list(crew.results(Squaring(here=os.getpid()), numbers(60)))
        assert [square for square, _, _ in found] == [number**2 for number in range(60)]
        assert len({process for _, process, _ in found}) == 3
        others = {day for _, process, day in found if process != os.getpid()}
        assert others == {DAY.isoformat()}


def test_an_error_of_another_process_is_raised_here_and_the_crew_goes_on(crew: ProcessCrew) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        list(crew.results(Squaring(here=os.getpid(), odd="fail"), numbers(60)))
    assert "raised in another process" in caught.value.__notes__[0]
    assert len(list(crew.results(Squaring(here=os.getpid()), numbers(60)))) == 60


def test_blocks_of_processes_that_end_are_computed_by_this_one(crew: ProcessCrew) -> None:
    found = list(crew.results(Squaring(here=os.getpid(), odd="die"), numbers(30)))
    assert [square for square, _, _ in found] == [number**2 for number in range(30)]
    assert crew._others == []
    assert len(list(crew.results(Squaring(here=os.getpid()), numbers(30)))) == 30


def test_a_stage_that_breaks_off_leaves_no_block_behind(crew: ProcessCrew) -> None:
    results = crew.results(Squaring(here=os.getpid()), numbers(60))
    assert next(results)[0] == 0
    results.close()  # type: ignore[attr-defined]
    assert [square for square, _, _ in crew.results(Squaring(here=os.getpid()), numbers(9))] == [
        number**2 for number in range(9)
    ]


def test_what_no_other_process_can_be_given_is_computed_here(crew: ProcessCrew) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Local(Squaring):
        """Its class cannot be found by name."""

    found = list(crew.results(Local(here=os.getpid()), numbers(9)))
    assert {process for _, process, _ in found} == {os.getpid()}


def test_the_processes_end_with_the_crew(tmp_path: Path) -> None:
    with Processes(replicas=2).start(site(tmp_path)) as crew:
        list(crew.results(Squaring(here=0), numbers(2)))
        (other,) = crew._others or ()
    assert other.process.poll() is not None


@pytest.mark.parametrize(("threads", "number"), [(1, usable_cores()), (usable_cores() + 1, 1)])
def test_as_many_as_threads_go_into_the_cores(threads: int, number: int, tmp_path: Path) -> None:
    with Processes().start(site(tmp_path, threads=threads)) as crew:
        assert crew._number == number


def test_for_stages_of_one_block_no_other_process_is_started(tmp_path: Path) -> None:
    with Processes(replicas=2).start(site(tmp_path)) as crew:
        assert isinstance(crew, ProcessCrew)
        for _ in range(2):
            assert [square for square, _, _ in crew.results(Squaring(here=0), numbers(1))] == [0]
        assert crew._others is None


def test_on_a_gpu_several_are_refused_and_none_is_started_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfboost.cluster.processes._uses_gpu", lambda _: True)
    with Processes().start(site(tmp_path)) as crew:
        assert crew._number == 1
    with pytest.raises(ValueError, match=r"^cluster.replicas = 2: .* set cluster.kind = 'ray', which gives"):
        Processes(replicas=2).start(site(tmp_path)).__enter__()


def test_a_run_has_the_same_bytes_in_one_process_and_in_several(tmp_path: Path) -> None:
    found: list[dict[str, bytes]] = []
    for name, settings in (("one", ()), ("several", ("cluster.kind=processes", "cluster.replicas=3"))):
        path = write_recipe(tmp_path / name, "synpo", run={"iterations": 1})
        root = tmp_path / name / "run"
        run(path, root, *settings)
        stages = root / "stages"
        found.append({str(p.relative_to(stages)): p.read_bytes() for p in sorted(stages.rglob("records.jsonl"))})
    assert found[0] == found[1] != {}


def test_settings_beyond_what_is_allowed_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cluster.replicas = 257: must be a whole number from 0 to 256"):
        recipe.read(write_recipe(tmp_path), ["cluster.kind=processes", "cluster.replicas=257"])
