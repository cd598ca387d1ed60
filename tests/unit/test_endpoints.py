"""Models behind servers: replies in order, whatever the server does; paid for once; a key that nobody can read."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from selfboost.endpoints import Endpoint, Question, Reply, endpoints_of
from selfboost.endpoints.asking import ask
from selfboost.endpoints.connection import check_ready
from selfboost.endpoints.fake_server import HOSTILE, FakeError, FakeReply, FakeServer, Faults
from selfboost.endpoints.kept_replies import FILE
from selfboost.records import Message

KEY = "sk-a-secret-of-thirty-characters"


def at(server: FakeServer, **settings) -> Endpoint:
    return Endpoint(**{"url": server.url, "model": "fake", "key_variable": "", "retries": 0, **settings})


def questions(count: int, **settings) -> list[Question]:
    return [Question(messages=(Message(role="user", content=f"q{i}"),), **settings) for i in range(count)]


def echo(request) -> str:
    return request["messages"][-1]["content"].replace("q", "a")


def texts(replies) -> list[str]:
    return [reply.text for reply in replies]


def refused(endpoint: Endpoint, count: int = 3, **more) -> str:
    with pytest.raises(ValueError) as raised:
        list(ask(endpoint, questions(count), **more))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_replies_come_in_order_whatever_the_server_does() -> None:
    faults = Faults(latency=0.001, too_many=0.1, broken=0.02, dropped=0.02)
    with FakeServer(echo, faults=faults) as server:
        assert texts(ask(at(server, retries=9), questions(60))) == [f"a{i}" for i in range(60)]
    assert server.answered == 60
    assert server.statuses[429] > 0
    assert server.statuses[500] + server.statuses[0] > 0


def test_the_fake_servers_faults_depend_on_the_seed_and_the_request_alone() -> None:
    found = []
    for seed in (0, 0, 1):
        with FakeServer(echo, faults=Faults(broken=0.5), seed=seed) as server:
            list(ask(at(server, concurrent=4), questions(1) + questions(12)))
            found.append(sorted(echo(request) for request in server.requests))
            found[-1].append(str(server.statuses[500]))
    assert found[0] == found[1] != found[2]


def test_requests_are_sent_side_by_side_and_no_more_than_allowed() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def reply(request) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return "a"

    with FakeServer(reply) as server:
        list(ask(at(server, concurrent=4), questions(24)))
    assert 2 <= most <= 4


def test_a_kept_reply_is_never_paid_for_again(tmp_path: Path) -> None:
    with FakeServer(echo) as server:
        first = list(ask(at(server), questions(5), cache=tmp_path))
        second = list(ask(at(server), questions(8), cache=tmp_path))
        assert server.answered == 8
    assert [reply.cached for reply in second] == [True] * 5 + [False] * 3
    assert texts(first) == texts(second)[:5]


def test_equal_questions_are_asked_once_and_other_samples_each_for_itself() -> None:
    with FakeServer(echo) as server:
        assert texts(ask(at(server), questions(1) * 3)) == ["a0"] * 3
        assert server.answered == 1
        list(ask(at(server), [question for k in range(3) for question in questions(1, sample=k)]))
        assert server.answered == 4


@pytest.mark.parametrize(
    "other",
    [{"max_tokens": 7}, {"temperature": 1.0}, {"labels": ("A",)}, {"schema": {"type": "object"}}, {"sample": 1}],
)
def test_whatever_a_reply_depends_on_is_part_of_its_key(other) -> None:
    (one,), (two,) = questions(1), questions(1, **other)
    here = Endpoint(url="http://one/v1", model="m")
    assert one.key(here) != two.key(here)
    assert one.key(here) == one.key(Endpoint(url="http://one/v1/", model="m", key_variable="X", retries=9))
    assert one.key(here) != one.key(Endpoint(url="http://two/v1", model="m"))
    assert one.key(here) != one.key(Endpoint(url="http://one/v1", model="n"))


def test_an_empty_list_asks_nothing() -> None:
    assert list(ask(Endpoint(url="http://127.0.0.1:9/v1", model="m"), [])) == []


def test_it_works_where_an_event_loop_runs() -> None:
    async def inside(server: FakeServer) -> list[str]:
        return texts(ask(at(server), questions(3)))

    with FakeServer(echo) as server:
        assert asyncio.run(inside(server)) == ["a0", "a1", "a2"]


def test_who_stops_reading_stops_the_asking(tmp_path: Path) -> None:
    with FakeServer(echo, faults=Faults(latency=0.02)) as server:
        replies = ask(at(server, concurrent=2), questions(500), cache=tmp_path)
        assert next(replies).text == "a0"
        replies.close()
        asked = len(server.requests)
        time.sleep(0.1)
        assert len(server.requests) <= asked + 2 < 100


def test_label_logprobs_are_those_of_the_first_token() -> None:
    chances = {"A": 0.5, " A": 0.1, "B": 0.25, "b": 0.1}
    with FakeServer(lambda request: FakeReply(text="A", probabilities=chances)) as server:
        (reply,) = ask(at(server), questions(1, labels=("A", "B", "C")))
        (plain,) = ask(at(server), questions(1))
    assert reply.label_logprobs == pytest.approx({"A": -0.510826, "B": -1.386294}, abs=1e-5)
    assert plain.label_logprobs == {}
    assert server.requests[0]["top_logprobs"] == 20
    assert "logprobs" not in server.requests[1]


@pytest.mark.parametrize("field", ["logprobs", "response_format"])
def test_a_server_that_refuses_a_form_is_asked_plainly(field: str) -> None:
    wanted = {"labels": ("A",)} if field == "logprobs" else {"schema": {"type": "object"}}
    with FakeServer(echo, refuses=(field,)) as server:
        assert texts(ask(at(server, concurrent=1), questions(4, **wanted))) == ["a0", "a1", "a2", "a3"]
    assert server.statuses == {400: 1, 200: 4}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_replies_are_replies_or_failures_with_a_reason(name: str) -> None:
    with FakeServer(lambda request: HOSTILE[name]) as server:
        (reply,) = ask(at(server), questions(1, labels=("A", "B")))
    assert reply.finish != "failed" or "the reply " in reply.reason
    assert len(reply.text) <= 200_000
    reply.text.encode()
    assert len(reply.reason) < 300


# What cannot be mended ends with one sentence.


def test_a_missing_or_senseless_key_is_named_before_any_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(echo) as server:
        endpoint = at(server, key_variable="SOME_KEY")
        monkeypatch.delenv("SOME_KEY", raising=False)
        assert "the environment variable SOME_KEY holds no key" in refused(endpoint)
        monkeypatch.setenv("SOME_KEY", f"{KEY}\nX-Evil: 1")
        assert KEY not in refused(endpoint)
        assert not server.requests


def test_a_wrong_key_is_named_by_its_variable_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    with FakeServer(echo, key="another") as server:
        said = refused(at(server, key_variable="SOME_KEY"))
    assert said == f"{server.url}: does not accept the key in SOME_KEY (status 401)"


def test_a_server_that_repeats_the_key_gets_it_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    with FakeServer(lambda request: f"Your key is {KEY}", key=KEY) as server:
        (reply,) = ask(at(server, key_variable="SOME_KEY"), questions(1), cache=tmp_path)
    assert reply.text == "Your key is [key]"
    with FakeServer(lambda request: FakeError(status=400, message=f"bad {KEY}"), key=KEY) as server:
        (reply,) = ask(at(server, key_variable="SOME_KEY"), questions(1), cache=tmp_path)
    assert reply.reason == "status 400: 'bad [key]'"
    assert not [path for path in tmp_path.rglob("*") if KEY.encode() in path.read_bytes()]


def test_a_server_that_is_down_or_elsewhere_is_named() -> None:
    said = refused(Endpoint(url="http://127.0.0.1:9/v1", model="m", key_variable="", retries=0))
    assert said.startswith("http://127.0.0.1:9/v1: cannot be reached (")
    with FakeServer(echo, model="fake") as server:
        assert "has no model 'other', or no /chat/completions (status 404" in refused(at(server, model="other"))
        assert "status 404: 'no /v2/chat/completions'" in refused(at(server, url=server.url.replace("v1", "v2")))


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (Faults(broken=1.0), "3 requests in a row failed, the last one: status 500: 'broken'"),
        (Faults(dropped=1.0), "3 requests in a row failed, the last one: the connection broke off"),
        (Faults(latency=0.5), "3 requests in a row failed, the last one: no reply within 0.1 s, 1 times"),
        (Faults(too_many=1.0), "refuses more requests for now (status 429: 'slow down')"),
    ],
)
def test_a_server_that_only_fails_stops_everything(faults: Faults, said: str) -> None:
    with FakeServer(echo, faults=faults) as server:
        assert said in refused(at(server, timeout_seconds=0.1))


def test_a_request_that_fails_alone_is_a_reply_with_a_reason_and_is_asked_again_later(tmp_path: Path) -> None:
    def reply(request) -> str | FakeError:
        return FakeError(status=400, message="too long") if echo(request) == "a1" else echo(request)

    with FakeServer(reply) as server:
        found = list(ask(at(server), questions(4), cache=tmp_path))
        assert [reply.finish for reply in found] == ["stop", "failed", "stop", "stop"]
        assert found[1].reason == "status 400: 'too long'"
        list(ask(at(server), questions(4), cache=tmp_path))
        assert server.statuses == {200: 3, 400: 2}


def test_the_sdk_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ValueError, match=r"needs openai.*pip install 'selfboost\[server\]'"):
        check_ready(Endpoint(url="http://127.0.0.1:9/v1", model="m", key_variable=""))


@pytest.mark.parametrize(
    "url", ["", "somewhere", "ftp://x/v1", "http://", "http://u:p@x/v1", "http://x/v1?key=1", "http://x:port/v1",
            "http://x/v1 ", "http://x/v1/chat/completions", "http://[::1/v1"],
)  # fmt: skip
def test_a_url_that_cannot_be_one_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url: .*; write it like http://127.0.0.1:8000/v1$") as raised:
        Endpoint(url=url, model="m")
    assert "u:p" not in str(raised.value)


def test_a_key_in_the_place_of_its_variable_is_refused_without_being_quoted() -> None:
    with pytest.raises(ValueError, match="must be the name of an environment variable") as raised:
        Endpoint(url="http://x/v1", model="m", key_variable=KEY)
    assert KEY not in str(raised.value)


# Budgets.


def test_the_budget_of_requests_is_kept_to_the_last_one_over_restarts(tmp_path: Path) -> None:
    with FakeServer(echo) as server:
        said = refused(at(server, most_requests=5), 12, cache=tmp_path)
        assert "most_requests = 5: all of them are used for fake" in said
        assert "raise it and rerun" in said
        assert server.answered == 5
        refused(at(server, most_requests=5), 12, cache=tmp_path)
        assert server.answered == 5
        assert len(texts(ask(at(server, most_requests=12), questions(12), cache=tmp_path))) == 12
        assert server.answered == 12


def test_the_budget_of_tokens_is_overstepped_by_at_most_one_reply(tmp_path: Path) -> None:
    with FakeServer(lambda request: FakeReply(text="a", read=8, written=2), faults=Faults(latency=0.002)) as server:
        assert "most_tokens = 45: 50 are used" in refused(at(server, most_tokens=45), 30, cache=tmp_path)
        assert server.answered == 5
        assert "50 are used" in refused(at(server, most_tokens=45), 30, cache=tmp_path)
        assert server.answered == 5


def test_a_server_that_counts_no_tokens_has_a_budget_all_the_same() -> None:
    body = json.dumps({"choices": [{"message": {"content": "word " * 80}, "finish_reason": "stop"}]}).encode()
    with FakeServer(lambda request: body) as server:
        assert "most_tokens = 250" in refused(at(server, most_tokens=250), 30)
        assert server.answered == 3


# The cache.


def test_a_damaged_cache_is_set_aside_with_a_sentence(tmp_path: Path) -> None:
    said: list[str] = []
    with FakeServer(echo) as server:
        list(ask(at(server), questions(50), cache=tmp_path))
        whole = (tmp_path / FILE).read_bytes()
        for damaged in (b"no database", whole[:100] + b"\xff" * 4000 + whole[4100:], whole[: len(whole) // 2]):
            (tmp_path / FILE).write_bytes(damaged)
            said.clear()
            assert texts(ask(at(server), questions(2), cache=tmp_path, say=said.append)) == ["a0", "a1"]
            assert len(said) == 1
            assert "is damaged" in said[0]
    assert len(list(tmp_path.glob(f"{FILE}.broken-*"))) == 3


def test_a_row_that_cannot_be_read_is_asked_again(tmp_path: Path) -> None:
    with FakeServer(echo) as server:
        list(ask(at(server), questions(3), cache=tmp_path))
        with sqlite3.connect(tmp_path / FILE) as opened:
            opened.execute("UPDATE replies SET reply = '{}'")
        opened.close()
        assert texts(ask(at(server), questions(3), cache=tmp_path)) == ["a0", "a1", "a2"]
        assert server.answered == 6


def test_a_link_in_the_caches_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a symbolic link"):
        list(ask(Endpoint(url="http://127.0.0.1:9/v1", model="m", key_variable=""), questions(1), cache=tmp_path))


def test_several_processes_use_one_cache(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from selfboost.endpoints import *\n"
        "from selfboost.endpoints.asking import ask; from selfboost.records import Message\n"
        "at = Endpoint(url=sys.argv[1], model='fake', key_variable='', concurrent=4)\n"
        "asked = [Question(messages=(Message(role='user', content=f'q{i}'),)) for i in range(40)]\n"
        "assert [r.text for r in ask(at, asked, cache=Path(sys.argv[2]))] == [f'a{i}' for i in range(40)]\n"
    )
    with FakeServer(echo) as server:
        command = [sys.executable, "-c", program, server.url, str(tmp_path)]
        together = [subprocess.Popen(command, env=os.environ) for _ in range(2)]
        assert [process.wait(timeout=120) for process in together] == [0, 0]
        paid = server.answered
        assert texts(ask(at(server), questions(40), cache=tmp_path)) == [f"a{i}" for i in range(40)]
        assert server.answered == paid >= 40


def test_endpoints_are_found_wherever_they_are_settings() -> None:
    endpoint = Endpoint(url="http://x/v1", model="m")
    assert endpoints_of(endpoint) == [endpoint]
    assert endpoints_of(Reply(text="")) == []
