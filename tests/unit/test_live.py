"""The live page: what it says is what the folder says, it follows a run that grows, and it only reads, on loopback."""

import json
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra `live` is not installed")
pytest.importorskip("uvicorn", reason="the extra `live` is not installed")

from small_run import EVIL, evil_pair, finished_run

from live_page import Live, served, until
from selfboost import cli, store
from selfboost.data.gold import gold_answers
from selfboost.disk.compressed_lines import compress
from selfboost.disk.record_files import to_line
from selfboost.live.progress import open_stage, time_left
from selfboost.live.runs import find_runs
from selfboost.live.texts import Wanted, match
from selfboost.records import Answer, Pair
from selfboost.report.material import outcome, read_story
from selfboost.views.sentences import headline
from selfboost.views.summary import summary
from selfboost.views.visible import visible


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    root = finished_run()
    with served(root, gold=gold_answers([root.parent / "seed.jsonl"])) as page:
        yield page


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    """A run whose first iteration is being made; its policy is still without a file."""
    root = shutil.copytree(finished_run(), tmp_path / "run")
    shutil.rmtree(root / "stages/iteration-1/policy")
    (root / "stages/iteration-1/policy.partial-01234567").mkdir()
    return root


def sampled(root: Path) -> list[Answer]:
    cards = [card for card in store.cards(root) if card.verb == "sample"]
    return [answer for card in cards for answer in store.stored_rows(root, card, Answer)]


def test_a_request_for_another_host_is_refused(live: Live) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "0.0.0.0", "", "127.0.0.1:x"):
        status, _, body = live.request("/api/runs", Host=host)
        assert status in (400, 421), host
        assert "word" not in body
    for host in ("localhost", "LOCALHOST:1", f"127.0.0.1:{live.port}", "[::1]:80"):
        assert live.request("/api/runs", Host=host)[0] == 200, host


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_but_reading_is_allowed(live: Live, method: str) -> None:
    status, headers, _ = live.request("/api/runs", method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_no_path_leads_out_of_the_page(live: Live) -> None:
    for path in ("/../pyproject.toml", "/%2e%2e/app.py", "/app.py", "/a/..%2fapp.py", "/api/run?run=.."):
        status, _, body = live.request(path)
        assert status == 404, path
        assert "import" not in body
    assert live.ask("rows", stage="../../../etc/passwd")["rows"] == []


def test_every_reply_forbids_what_comes_from_elsewhere_and_the_page_loads_nothing(live: Live) -> None:
    page = live.request("/")[2]
    parts = re.findall(r'(?:src|href)="(/[^"]*)"', page)
    assert {"/page.js", "/page.css", "/report.css"} <= set(parts)
    scripts = [*parts, *(f"/{name}.js" for name in ("dom", "charts", "lists", "overview"))]
    for path in ["/", *scripts, "/api/runs", "/api/row?id=999999", "/nowhere"]:
        status, headers, text = live.request(path)
        assert status == 200 or path in ("/api/row?id=999999", "/nowhere")
        assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)
        assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"<script>|style=|\son\w+=", text if path == "/" else "")


def test_the_state_is_what_the_folder_says(live: Live) -> None:
    root, state = finished_run(), live.ask("run", run="run")
    run, cards = summary(root), store.cards(root)
    assert (state["headline"], state["status"], state["rows"] > 0) == (headline(run), "finished", True)
    assert [stage["name"] for stage in state["stages"]] == [card.name for card in cards]
    assert sum(entry["kind"] == "stage" for entry in state["log"]) == len(cards)
    for shown, entry in zip(state["iterations"], run.iterations, strict=True):
        got = {name: (row["value"], row["low"], row["high"]) for name, row in shown["measures"].items()}
        assert got == {name: (row.value, row.low, row.high) for name, row in entry.measures.items()}
    assert state["open"] == []
    assert state["left"] is None


@pytest.mark.parametrize("query", ["good", "wor 3", "initial twi", '"say word"', "GOOD", "nowhere"])
def test_a_search_finds_what_a_look_at_every_answer_finds(live: Live, query: str) -> None:
    found = live.ask("rows", kind="answer", q=query, limit=200)
    texts = [f"{a.prompt.conversation}\n{a.text}".casefold() for a in sampled(finished_run())]
    phrases = [phrase or word for phrase, word in re.findall(r'"([^"]*)"|(\S+)', query.casefold())]
    wanted = sum(all(re.search(rf"(?<!\w){re.escape(p)}", text) for p in phrases) for text in texts)
    assert found["total"] == wanted
    assert len(found["rows"]) == min(wanted, 200)


def test_no_search_is_an_error(live: Live) -> None:
    for query in ('"', "*", "a AND", "NEAR(", "-x", "prompt:", "'; DROP TABLE rows; --", "(" * 999, "\0", "^"):
        assert live.ask("rows", q=query)["total"] >= 0, query
    assert live.request("/api/rows?offset=-1")[0] == 400
    assert match("*") == match('"\x01"')


def test_rows_are_given_piece_by_piece_and_whole(live: Live) -> None:
    all_rows = live.ask("rows", run="run", limit=200)
    pieces = [row for offset in range(0, 200, 50) for row in live.ask("rows", run="run", offset=offset)["rows"]]
    assert [row["id"] for row in pieces] == [row["id"] for row in all_rows["rows"]]
    first = live.ask("row", id=pieces[0]["id"])
    assert (first["prompt"], first["answer"]) == (pieces[0]["prompt"], pieces[0]["answer"])


def test_pairs_have_their_scores_and_come_once(live: Live) -> None:
    root = finished_run()
    cards = [card for card in store.cards(root) if card.verb == "prefer"]
    pairs = {pair.id: pair for card in cards for pair in store.stored_rows(root, card, Pair)}
    found = live.ask("rows", kind="pair", limit=200)["rows"]
    assert sorted(row["facts"]["id"] for row in found) == sorted(pairs)
    for row in found:
        pair = pairs[row["facts"]["id"]]
        assert (row["answer"], row["other"]) == (pair.chosen.text, pair.rejected.text)
        assert row["facts"]["chosen"]["score"] == pair.chosen_score


def test_answers_side_by_side_are_counted_as_the_report_counts_them(live: Live) -> None:
    story = read_story(finished_run())
    first, last = story.rounds
    found = live.ask("answers", run="run", before=0, after=1)
    won, tied, lost = outcome(last.ratings, first.ratings, story.summary.gate.sign)
    assert found["counts"] == {"better": won, "worse": lost, "equal": tied}
    assert {row["prompt_id"] for row in found["rows"]} == first.ratings.keys()
    golds = [json.loads(line) for line in (finished_run().parent / "seed.jsonl").read_text().splitlines()]
    by_prompt = {gold["prompt"]: gold["response"] for gold in golds}
    for row in found["rows"]:
        assert row["gold"] == by_prompt[row["prompt"]]
        for side, r in zip(row["sides"], (first, last), strict=True):
            own = [answer for answer in r.answers if answer.prompt == row["prompt_id"]]
            assert [answer["text"] for answer in side["answers"]] == [answer.text for answer in own]
            assert [answer["mark"] for answer in side["answers"]] == ["right" if a.score else "wrong" for a in own]
    worse = live.ask("answers", run="run", before=0, after=1, outcome="worse")
    assert len(worse["rows"]) == worse["total"] == lost


def test_a_run_that_grows_is_followed_and_a_torn_line_waits_for_its_end(growing: Path) -> None:
    policy = growing / "stages/iteration-1/policy.partial-01234567"
    lines = [to_line(replace(evil_pair(), iteration=number)) for number in range(3)]
    with served(growing) as live:
        before = live.ask("run", run="run")["rows"]
        events = live.events()
        until(events, "run", before)
        with (policy / "records.jsonl").open("wb") as file:
            file.write(lines[0] + lines[1][:50])
            file.flush()
            until(events, "run", before + 1)
            assert live.ask("rows", kind="pair")["total"] == 1
            file.write(lines[1][50:] + b'{"no": "record"}\n' + lines[2])
        until(events, "run", before + 3)
        policy.rename(policy.with_name("policy"))  # finished: the same file under another name
        shutil.rmtree(growing / "stages/iteration-1/own-answers")
        until(events, "run", before + 3 - 24)
        assert live.ask("rows", kind="pair")["total"] == 3
        [unread] = live.ask("run", run="run")["unread"]
        assert unread == "iteration-1/policy: line 3 is no record and left out"


def test_a_file_made_anew_or_compressed_is_read_anew(growing: Path) -> None:
    path = growing / "stages/iteration-1/own-answers/records.jsonl"
    with served(growing) as live:
        events = live.events()
        before = live.ask("run", run="run")["rows"]
        count = len(path.read_bytes().splitlines())
        path.with_suffix(".new").write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:5]))
        path.with_suffix(".new").replace(path)
        until(events, "run", before - count + 5)
        compress(path)
        path.unlink()
        wanted, packed = Wanted(runs=("run",), stage="iteration-1/own-answers"), path.with_name("records.jsonl.gz")
        end = time.monotonic() + 10
        while live.watcher.texts.tail("run", wanted.stage).offset != packed.stat().st_size:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert live.watcher.texts.search(wanted)[1] == 5


def test_a_strangers_texts_are_data(growing: Path) -> None:
    (growing / "stages/iteration-1/policy.partial-01234567/records.jsonl").write_bytes(to_line(evil_pair()))
    with served(growing) as live:
        [row] = live.ask("rows", q="script", kind="pair")["rows"]
        assert row["answer"] == visible(f"yes {EVIL}")
        _, headers, body = live.request("/api/rows?q=script")
        assert headers["content-type"] == "application/json"
        assert not re.search("[\x1b\u202e]", body)


def test_damage_in_one_run_is_said_and_leaves_the_others(tmp_path: Path) -> None:
    for name in ("good", "torn"):
        shutil.copytree(finished_run(), tmp_path / "runs" / name)
    (tmp_path / "runs/torn/run.json").write_text("{")
    with served(tmp_path / "runs") as live:
        good, torn = live.ask("runs")
        assert (good["name"], good["status"], good["problem"]) == ("runs/good", "finished", "")
        assert "run.json: is damaged" in torn["problem"]
        assert live.ask("rows", run="runs/good", q="word")["total"] > 0
        shutil.copytree(finished_run(), tmp_path / "runs/new")
        for event in live.events():
            if event.get("runs/new", {}).get("rows") == good["rows"]:
                break


def test_runs_are_found_two_levels_deep_under_names_of_their_own(tmp_path: Path) -> None:
    for place in ("a/seed-0", "a/seed-1", "b", "x/y/z"):
        (tmp_path / place / "stages").mkdir(parents=True)
    (tmp_path / "a/loop").symlink_to(tmp_path)
    base = tmp_path.name
    assert list(find_runs([tmp_path])) == [f"{base}/a/seed-0", f"{base}/a/seed-1", f"{base}/b"]
    assert list(find_runs([tmp_path / "b", tmp_path / "x/y/z", tmp_path / "b"])) == ["b", "z"]
    with pytest.raises(ValueError, match="is not a folder"):
        find_runs([tmp_path / "nowhere"])


def test_time_left_is_that_of_the_newest_iteration() -> None:
    run = summary(finished_run())
    stages = [replace(stage, seconds=2.0) for stage in run.iterations[1].stages]
    rounds = {"run": {"iterations": 3, "beside": []}}
    done = replace(run.iterations[1], stages=tuple(stages))
    begun = replace(stages[0], name=stages[0].name.replace("iteration-1", "iteration-2"))
    half = replace(run, status="running", recipe=rounds, iterations=(run.iterations[0], done), further=(begun,))
    opened = open_stage(stages[1].name.replace("iteration-1", "iteration-2"), 0, 0.5, stages)
    left = time_left(half, [opened])
    assert left is not None
    assert left.seconds == pytest.approx(2.0 * len(stages) - 2.0 - 0.5 + 2.0 * len(stages))
    assert 0 < left.share < 1
    assert time_left(replace(half, status="finished"), []) is None
    assert time_left(replace(half, iterations=half.iterations[:1]), []) is None


def test_an_open_stage_knows_its_total_from_what_it_scores_or_from_an_earlier_iteration() -> None:
    stages = summary(finished_run()).iterations[0].stages
    answers = next(stage for stage in stages if stage.name == "iteration-0/held_out-sampled")
    again = open_stage("iteration-7/held_out-sampled", answers.rows // 4, 30.0, stages)
    assert (again.total, again.left) == (answers.rows, pytest.approx(90.0))
    scores = open_stage("iteration-0/held_out-sampled-scores", 0, 1.0, [answers])
    assert (scores.total, scores.left) == (answers.rows, None)
    assert open_stage("iteration-1/other", 5, 1.0, stages).total is None


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    return int(end.value.code or 0), capsys.readouterr().err


def test_what_cannot_be_served_is_said_in_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = call(capsys, "view", tmp_path, "--port", port)
        assert (code, f"selfboost: --port {port}: cannot be used" in said) == (2, True)
    assert call(capsys, "view", tmp_path / "none", "--port", 0)[1].endswith("or one that holds runs\n")
    assert "from 0 to 65535" in call(capsys, "view", tmp_path, "--port", "65536")[1]
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, said = call(capsys, "view", tmp_path, "--port", 0)
    assert (code, said.count("\n"), "pip install 'selfboost[live]'" in said) == (2, 1, True)
