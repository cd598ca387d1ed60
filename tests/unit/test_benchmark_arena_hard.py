"""Arena-Hard as a benchmark: both games against a fake judge, its scores counted anew, and files that are not its."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fake_recipes import run, summary
from judged_recipes import endpoint, write_battles, write_judged
from real_data import real
from selfboost import recipe
from selfboost.benchmarks.parts.arena_data import read_questions
from selfboost.cli import main
from selfboost.endpoints.fake_server import FakeServer, Said
from selfboost.plan import plan

Asked = Mapping[str, Any]
NOWHERE = "http://127.0.0.1:9/v1"
POINTS = {"A>>B": (3, 3), "A>B": (1, 1), "A=B": (0.5, 1), "B>A": (0, 1), "B>>A": (0, 3)}
"""Verdict → battles won by A, battles."""


def shown(request: Asked) -> tuple[str, str]:
    text = request["messages"][1]["content"]
    first, second = (
        text.partition(f"[Answer of assistant {label}]\n")[2].partition("\n[End of the answer")[0] for label in "AB"
    )
    return first, second


def verdict(first: str, second: str) -> str:
    """A judge of length that slightly prefers what is shown first."""
    gap = len(first) - len(second) + 3
    return "A>>B" if gap > 40 else "A>B" if gap > 0 else "A=B" if gap == 0 else "B>A" if gap > -40 else "B>>A"


def judge(request: Asked) -> Said:
    return f"A good answer would be short. [[A=B]] at first sight, yet:\n\n[[{verdict(*shown(request))}]]"


def rows(root: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "stages" / stage / "records.jsonl").open()]


def measured(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """What is printed for programs, the notes of the last stage, and question → answer."""
    path = write_judged(tmp_path, "arena_hard", url=url)
    with pytest.raises(SystemExit) as end:
        main(["measure", "fake", "--benchmark", "arena_hard", "--recipe", str(path), "--json",
              "--into", str(tmp_path / "m"), "--to", str(tmp_path / "m.json")])  # fmt: skip
    heard = capsys.readouterr()
    assert end.value.code == 0, heard.err
    stored = json.loads((tmp_path / "m.json").read_text())
    notes = next(stage["notes"] for name, stage in stored["stages"].items() if "figures-all" in name)
    found = next((tmp_path / "m").rglob("arena_hard-answers/records.jsonl"))
    answers = [json.loads(line) for line in found.open()]
    return json.loads(heard.out), notes, {a["prompt"]["messages"][0]["content"]: a["text"] for a in answers}


def test_both_games_count_and_the_published_score_weighs_clear_wins(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with FakeServer(judge) as server:
        found, notes, own = measured(tmp_path, server.url, capsys)
        assert server.answered == 24
    old = {row["prompt"]: row["old"] for row in map(json.loads, (tmp_path / "battles.jsonl").open())}
    shares, won, battles = [], 0.0, 0
    for question, mine in own.items():
        theirs, first = POINTS[verdict(old[question], mine)], POINTS[verdict(mine, old[question])]
        shares.append(((theirs[1] - theirs[0]) / theirs[1] + first[0] / first[1]) / 2)
        won += theirs[1] - theirs[0] + first[0]
        battles += theirs[1] + first[1]
    assert found["arena_hard"]["value"] == pytest.approx(sum(shares) / 12)
    assert notes["score"]["score"] == pytest.approx(100 * won / battles)
    assert notes["score"]["low"] <= notes["score"]["score"] <= notes["score"]["high"]
    assert notes["score"]["prompts"] == 12
    assert 0 <= notes["style_controlled"]["score"] <= 100
    assert notes["judge"].startswith("arena_hard(fake at http://127.0.0.1:")
    assert "judged by fake (prompt " in found["arena_hard"]["title"]


@pytest.mark.parametrize("constant", ["[[A>>B]]", "[[A>B]]", "[[A=B]]", "[[B>A]]", "[[B>>A]]", "so [a>>b]"])
def test_a_constant_judge_comes_to_exactly_one_half(
    constant: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with FakeServer(lambda request: constant) as server:
        found, notes, _ = measured(tmp_path, server.url, capsys)
    assert (found["arena_hard"]["value"], notes["score"]["score"]) == (0.5, 50.0)


def test_a_game_without_a_verdict_leaves_the_prompt_missing_and_bounded(tmp_path: Path) -> None:
    def some(request: Asked) -> Said:
        first, _ = shown({"messages": request["messages"][:2]})
        return "no idea" if first.startswith("# Old\n# Old") else "[[A>B]]"

    with FakeServer(some) as server:
        run(write_judged(tmp_path, "arena_hard", url=server.url), tmp_path / "out")
        again = "Reply with one verdict in double brackets, [[A>>B]], [[A>B]], [[A=B]], [[B>A]] or [[B>>A]]"
        assert any(request["messages"][-1]["content"].startswith(again) for request in server.requests)
    note = summary(tmp_path / "out")["iterations"][1]["notes"]["judged_comparison"]
    rated = [row["values"]["arena_hard"][0] for row in rows(tmp_path / "out", "iteration-1/measure-held_out")]
    assert 0 < rated.count(None) < len(rated)
    assert {value for value in rated if value is not None} == {0.5}
    assert note["missing"] == rated.count(None)
    assert note["lowest"] == pytest.approx(0.5 * (1 - rated.count(None) / len(rated)))
    assert note["highest"] - note["lowest"] == pytest.approx(rated.count(None) / len(rated))


def test_a_judge_that_never_gives_a_verdict_ends_in_one_sentence(tmp_path: Path) -> None:
    with (
        FakeServer(lambda request: "no") as server,
        pytest.raises(ValueError, match="the measure 'arena_hard' has no value for any prompt"),
    ):
        run(write_judged(tmp_path, "arena_hard", url=server.url), tmp_path / "out", "run.max_failed=1.0")


def test_a_run_that_is_resumed_pays_nothing_twice(tmp_path: Path) -> None:
    with FakeServer(judge) as server:
        path = write_judged(tmp_path, "arena_hard", url=server.url)
        run(path, tmp_path / "out")
        paid = server.answered
        (tmp_path / "out/stages/iteration-1/arena_hard-judgments/stage.json").unlink()
        run(path, tmp_path / "out")
        assert server.answered == paid == 2 * 24


def test_check_prices_it(tmp_path: Path) -> None:
    found = plan(recipe.read(write_judged(tmp_path, "arena_hard", url=NOWHERE)))
    stages = {stage.name: (stage.verb, stage.rows) for stage in found.stages}
    assert stages["iteration-1/arena_hard-judgments"] == ("score", 24)
    assert "about 48 requests to servers" in " ".join(found.notes)


# Files.


def test_published_forms_are_read(tmp_path: Path) -> None:
    old = tmp_path / "old.jsonl", tmp_path / "old_answers.jsonl"
    new = tmp_path / "new.jsonl", tmp_path / "new_answers.jsonl"
    old[0].write_text(json.dumps({"question_id": "q", "category": "c", "turns": [{"content": "What?"}]}))
    said = {"choices": [{"index": 0, "turns": [{"content": "This.", "token_len": 2}]}]}
    old[1].write_text(json.dumps({"question_id": "q", "model_id": "gpt", **said}))
    new[0].write_text(json.dumps({"uid": "q", "category": "c", "prompt": "What?"}))
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": {"answer": "This."}}]
    new[1].write_text(json.dumps({"uid": "q", "model": "gpt", "messages": turns}))
    for questions, answers in (old, new):
        (found,) = read_questions(str(questions), str(answers), "", 0)
        assert (found.prompt.text, found.answer, found.baseline) == ("What?", "This.", "gpt")


def test_the_published_questions_are_read() -> None:
    found = read_questions(str(real("eval/arena_hard_v0.1.jsonl.gz")), "", "baseline_gpt_4_0314", 0)
    assert (len(found), found[0].baseline) == (500, "baseline_gpt_4_0314")
    assert all(each.answer.strip() for each in found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"questions": "absent.jsonl"}, r"absent.jsonl: no such file or folder"),
        ({"questions": "seed.jsonl"}, r"seed.jsonl line 1: needs `uid` or `question_id`; it has prompt, response"),
        ({"answer_column": "older"}, r"line 1: needs the baseline's answer in `older`; it has uid, prompt, old"),
        ({"answer_column": "", "baseline": "battles.jsonl"}, r"needs the baseline's answer in `messages` or `choices`"),
        ({"answer_column": "", "baseline": "few.jsonl"}, r"answers 1 of 12 questions; the first without .* is u1"),
        ({"limit": 13}, r"benchmark.limit = 13: .* holds 12 questions"),
    ],
)
def test_wrong_files_are_refused_in_one_sentence(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    (tmp_path / "few.jsonl").write_text(json.dumps({"uid": "u0", "messages": [{"content": "x"}]}))
    path = write_judged(tmp_path, "arena_hard", url=NOWHERE, **changes)
    with pytest.raises(ValueError, match=words) as error:
        plan(recipe.read(path))
    assert "\n" not in str(error.value)


def test_a_question_may_occur_once_and_there_is_one_baseline(tmp_path: Path) -> None:
    path = write_battles(tmp_path, 2)
    twice = tmp_path / "twice.jsonl"
    twice.write_text(path.read_text().replace("Solve 1", "Solve 0"))
    with pytest.raises(ValueError, match="holds a question twice"):
        read_questions(str(twice), "", "old", 0)
    answers = tmp_path / "answers.jsonl"
    answers.write_text(
        "".join(json.dumps({"uid": f"u{i}", "model": f"m{i}", "messages": [{"content": "x"}]}) + "\n" for i in (0, 1))
    )
    with pytest.raises(ValueError, match="holds answers of m0 and m1; give one baseline"):
        read_questions(str(path), str(answers), "", 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"answer_column": ""}, "baseline, answer_column: neither is given"),
        ({"baseline": "battles.jsonl"}, "baseline, answer_column: both are given"),
        ({"judge": {"endpoint": endpoint(NOWHERE), "template": "{prompt}{answer_a}"}}, "lacks {answer_b}"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        recipe.read(write_judged(tmp_path, "arena_hard", url=NOWHERE, **changes))
