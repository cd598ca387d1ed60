"""A run whose judge sits behind a server, killed among its requests: it ends the same, and pays nothing twice."""

import os
import signal
from pathlib import Path

import pytest
from killing import KILLED, fork, wait

from fake_recipes import Heard, results, write_recipe
from judged_recipes import write_judged
from selfboost import recipe
from selfboost.endpoints.fake_server import FakeServer
from selfboost.loop import boost


class Killing:
    """Judges by words, and kills the asking process once at each of these requests, before it is answered."""

    def __init__(self, *moments: int) -> None:
        self.moments, self.asked, self.child = list(moments), 0, 0

    def __call__(self, request) -> str:
        self.asked += 1
        if self.moments and self.asked == self.moments[0]:
            self.moments.pop(0)
            os.kill(self.child, signal.SIGKILL)
        text = request["messages"][0]["content"]
        if "[Instruction]" in request["messages"][-1]["content"]:
            return "m"
        if "[Answer A]" not in text:
            return "80" if ": good " in text else "20"
        first = text.partition("[Answer A]")[2].partition("[Answer B]")
        return "C" if (": good " in first[0]) == (": good " in first[2]) else "A" if ": good " in first[0] else "B"


def runs_until_whole(path: Path, root: Path, server: FakeServer, judge: Killing, mode: str = "") -> int:
    """Run until one survives; how many were killed. `mode`: of an api_judge, else the benchmark's judge is asked."""
    table = f'{{url = "{server.url}", model = "fake", key_variable = "", concurrent = 1}}'
    scorer = ["scorer.kind=api_judge", f"scorer.mode={mode}", f"scorer.endpoint={table}"]
    chosen = recipe.read(path, scorer if mode else [f"benchmark.judge.endpoint={table}"])
    for died in range(10):
        judge.child = fork(lambda: boost(chosen, root, Heard()), root.parent / "log.txt")
        code = wait(judge.child)
        if code == 0:
            return died
        assert code == KILLED, (root.parent / "log.txt").read_text()
    raise AssertionError("it never comes to an end")


@pytest.mark.parametrize(
    ("method", "mode"), [("dnpo", "pairs"), pytest.param("sampling_ranking", "score", marks=pytest.mark.slow)]
)
def test_a_run_killed_among_its_requests_resumes_and_pays_for_none_twice(
    method: str, mode: str, tmp_path: Path
) -> None:
    path, judge = write_recipe(tmp_path, method), Killing()
    with FakeServer(judge) as server:
        assert runs_until_whole(path, tmp_path / "whole", server, judge, mode) == 0
        whole = server.answered
        judge.moments = [whole + place for place in (3, whole // 2, whole)]
        died = runs_until_whole(path, tmp_path / "killed", server, judge, mode)
        paid = server.answered - whole
    assert died == 3
    assert paid == whole + died  # each kill loses the one reply that was on its way
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


def test_so_does_one_whose_benchmark_has_the_judge(tmp_path: Path) -> None:
    path, judge = write_judged(tmp_path, "alpaca_eval", url="http://127.0.0.1:9/v1"), Killing()
    with FakeServer(judge) as server:
        assert runs_until_whole(path, tmp_path / "whole", server, judge) == 0
        whole = server.answered
        judge.moments = [whole + 3, whole + 20]
        assert runs_until_whole(path, tmp_path / "killed", server, judge) == 2
        assert server.answered - whole == whole + 2 == 24 + 2
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
