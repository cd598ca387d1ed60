"""`selfboost chat` through a pipe: turns are remembered by each model, commands obeyed, nothing hostile shown."""

import io
import sys

import pytest
from small_run import EVIL, finished_run

from selfboost import cli
from selfboost.engines import Request
from selfboost.engines.fake import Fake, FakeTokenizer
from selfboost.records import Message, Model, Sampling
from selfboost.results.models import find_model
from selfboost.views.conversation import Speaker


def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str, *given: object) -> list[str]:
    """The lines that a conversation prints."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(said))
    with pytest.raises(SystemExit) as end:
        cli.main(["chat", *map(str, given), "--temperature", "0"])
    written = capsys.readouterr()
    assert end.value.code == 0, written.err
    return (written.out + written.err).splitlines()


def expected(path: str, *texts: str) -> list[str]:
    """What the fake engine answers to texts that follow each other."""
    turns, answers = list[Message](), list[str]()
    with Fake().open(Model(name="m", path=path, fingerprint="")) as sampler:
        for text in texts:
            turns.append(Message(role="user", content=text))
            ids = FakeTokenizer().prompt_ids(turns)
            request = Request(prompt_ids=ids, sampling=Sampling(temperature=0, max_tokens=512), seed=0)
            [(_, made)] = sampler.sample([request])
            answers.append(FakeTokenizer().text(made.token_ids))
            turns.append(Message(role="assistant", content=answers[-1]))
    return answers


def test_two_models_answer_side_by_side_and_each_remembers_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = finished_run()
    new, old = (expected(path, "say one", "say two") for path in (find_model(root).path, "fake"))
    assert new != old
    lines = talk(monkeypatch, capsys, "say one\n\n  say two", root, "--beside", f"{root}@0")
    names = [f"{root}:", f"{root}@0:"]
    assert lines == [names[0], new[0], names[1], old[0], names[0], new[1], names[1], old[1]]


def test_reset_forgets_and_quit_ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    root = finished_run()
    [fresh] = expected("fake", "say two")
    lines = talk(monkeypatch, capsys, "say one\n/reset\n/rest\nsay two\n/quit\nsay three\n", f"{root}@0")
    assert lines[:2] == [*expected("fake", "say one"), fresh]
    assert lines[2:] == ["/rest: no such command. /reset forgets what was said, /quit or Ctrl-D ends."]


def test_hostile_answers_are_shown_as_escapes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FakeTokenizer, "text", lambda _self, _ids: EVIL)
    (line,) = talk(monkeypatch, capsys, "hello\n", f"{finished_run()}@0")
    assert "\x1b" not in line
    assert "\\x1b[31m\\u202eabc" in line


def test_what_finds_no_room_is_forgotten() -> None:
    with Fake(context_length=60).open(Model(name="m", path="fake", fingerprint="")) as sampler:
        speaker = Speaker(name="m", sampler=sampler)
        answer, remark = speaker.answer("x" * 100, Sampling(), 0)
        assert (answer, speaker.said) == ("", [])
        assert remark.startswith("no answer: the prompt's")
        answer, remark = speaker.answer("hi", Sampling(max_tokens=5), 0)
        assert (len(answer), remark) == (5, "cut at 5 tokens")
        assert [message.role for message in speaker.said] == ["user", "assistant"]


def test_a_closed_input_is_said_to_be(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SystemExit) as end:
        cli.main(["chat", str(finished_run())])
    assert (end.value.code, "standard input is closed" in capsys.readouterr().err) == (2, True)
