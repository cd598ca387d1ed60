"""MT-Bench as a benchmark: two turns, references and temperatures, ratings counted anew, and files that are not its."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fake_recipes import run, summary
from judged_recipes import endpoint, write_judged, write_two_turns
from real_data import real
from selfboost import recipe
from selfboost.benchmarks.parts.mt_bench import TEMPERATURES
from selfboost.benchmarks.parts.mt_data import read_two_turns
from selfboost.benchmarks.parts.mt_judge import FORMS, OWN, read_forms
from selfboost.cli import main
from selfboost.endpoints.fake_server import FakeServer, Said
from selfboost.plan import plan

Asked = Mapping[str, Any]
NOWHERE = "http://127.0.0.1:9/v1"


def part(request: Asked, name: str) -> str:
    """What stands in a block of a request; empty if it has none of that name."""
    text = request["messages"][1]["content"]
    return text.partition(f"[{name}]\n")[2].partition("\n[End of the")[0]


def judge(request: Asked) -> Said:
    """Rates by the length of the answer that is to be rated."""
    return f"Fine.\nRating: [[{1 + len(part(request, 'Answer') or part(request, 'Second answer')) % 10}]]"


def rows(root: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "stages" / stage / "records.jsonl").open()]


def answers(root: Path, turn: int) -> list[dict[str, Any]]:
    return [row for t in ("0", "0.1", "0.7") for row in rows(root, f"iteration-1/mt_bench-turn-{turn}-t{t}")]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Asked]]:
    """A run, and what its judge was asked."""
    folder = tmp_path_factory.mktemp("mt_bench")
    with FakeServer(judge) as server:
        path = write_judged(folder, "mt_bench", url=server.url)
        run(path, folder / "out")
        paid = server.answered
        (folder / "out/stages/iteration-1/mt_bench-ratings/stage.json").unlink()
        run(path, folder / "out")
        assert server.answered == paid, "a resumed run pays nothing twice"
        assert paid == 2 * 16
        return folder / "out", list(server.requests)


def test_the_second_prompt_holds_the_first_answer(done: tuple[Path, list[Asked]]) -> None:
    first = {row["prompt"]["messages"][0]["content"]: row for row in answers(done[0], 1)}
    second = answers(done[0], 2)
    assert len(first) == len(second) == 8
    for row in second:
        asked, said, then = row["prompt"]["messages"]
        assert [asked["role"], said["role"], then["role"]] == ["user", "assistant", "user"]
        assert said["content"] == first[asked["content"]]["text"]
        assert then["content"] == asked["content"].replace("First", "Second")


def test_each_category_has_its_temperature(done: tuple[Path, list[Asked]]) -> None:
    categories = ("writing", "math", "stem", "coding")
    for row in (row for turn in (1, 2) for row in answers(done[0], turn)):
        number = int(row["prompt"]["messages"][0]["content"].split()[1].rstrip("?"))
        assert row["sampling"]["temperature"] == TEMPERATURES[categories[number % 4]]


def test_references_are_shown_where_the_category_needs_them(done: tuple[Path, list[Asked]]) -> None:
    for request in done[1]:
        text = request["messages"][1]["content"]
        question = part(request, "Question") or part(request, "First question")
        number = int(question.split()[1].rstrip("?"))
        assert ("reference" in text.lower()) == bool(number % 2)
        if number % 2:
            assert f"one {number}" in text
            assert (f"two {number}" in text) == ("Second" in text and "[Second answer]" in text)
        assert request["messages"][0]["role"] == "system"


def test_the_score_is_the_mean_of_both_turns(done: tuple[Path, list[Asked]]) -> None:
    expected = {}
    for row in (row for turn in (1, 2) for row in answers(done[0], turn)):
        expected.setdefault(row["prompt"]["messages"][0]["content"], []).append(1 + len(row["text"]) % 10)
    rated = rows(done[0], "iteration-1/measure-held_out") + rows(done[0], "iteration-1/measure-validation")
    assert sorted(row["values"]["mt_bench"] for row in rated) == sorted(expected.values())
    held_out = [row["values"]["mt_bench"] for row in rows(done[0], "iteration-1/measure-held_out")]
    found = summary(done[0])["iterations"][1]
    assert found["measures"]["mt_bench"]["value"] == pytest.approx(sum(map(sum, held_out)) / (2 * len(held_out)))
    assert found["measures"]["mt_bench/first"]["value"] == pytest.approx(sum(v[0] for v in held_out) / len(held_out))
    assert found["notes"]["rated_turns"]["unread"] == 0
    assert found["notes"]["rated_turns"]["judge"].startswith("mt_bench(fake at http://127.0.0.1:")


def test_outside_a_run_score_and_categories_stand_with_the_stage(tmp_path: Path) -> None:
    def some(request: Asked) -> Said:
        return "Hard to say." if "Second 3?" in str(request) else judge(request)

    with FakeServer(some) as server:
        path = write_judged(tmp_path, "mt_bench", url=server.url)
        with pytest.raises(SystemExit) as end:
            main(
                ["measure", "fake", "--benchmark", "mt_bench", "--recipe", str(path), "--to", str(tmp_path / "m.json")]
            )
        assert end.value.code == 0
        assert any(m["messages"][-1]["content"].startswith("Reply with the rating alone") for m in server.requests)
    stored = json.loads((tmp_path / "m.json").read_text())
    notes = next(stage["notes"] for name, stage in stored["stages"].items() if "figures-all" in name)
    values = [value for item in stored["items"] for value in item["values"]["mt_bench"]]
    known = [value for value in values if value is not None]
    assert (len(values), len(known), notes["unread"], notes["turns"]) == (16, 15, 1, 15)
    assert notes["score"]["value"] == pytest.approx(sum(known) / 15)
    assert (notes["low"], notes["high"]) == pytest.approx(((sum(known) + 1) / 16, (sum(known) + 10) / 16))
    assert set(notes["categories"]) == {"writing", "math", "stem", "coding"}


def test_check_prices_it(tmp_path: Path) -> None:
    found = plan(recipe.read(write_judged(tmp_path, "mt_bench", url=NOWHERE)))
    stages = {stage.name: (stage.verb, stage.rows) for stage in found.stages}
    assert stages["iteration-1/mt_bench-turn-1-t0"] == ("sample", 4)
    assert stages["iteration-1/mt_bench-turn-2-t0.7"] == ("sample", 2)
    assert stages["iteration-1/mt_bench-ratings"] == ("score", 16)
    assert "about 32 requests to servers" in " ".join(found.notes)


def test_published_files_are_read() -> None:
    found = read_two_turns(str(real("eval/mt_bench.jsonl")), "", "reference_gpt4", 0)
    assert (len(found), sum(bool(item.references) for item in found)) == (80, 30)
    assert set(read_forms(real("eval/mt_bench_judge_prompts.jsonl"))) == set(read_forms(OWN)) == set(FORMS)


def test_reference_answers_may_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    path = write_two_turns(tmp_path, 4)
    file = tmp_path / "references.jsonl"
    file.write_text(
        "".join(json.dumps({"question_id": i, "choices": [{"turns": [f"r{i}", "s"]}]}) + "\n" for i in (82, 84))
    )
    found = read_two_turns(str(path), str(file), "", 4)
    assert [item.references for item in found] == [(), ("r82", "s"), (), ("r84", "s")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"limit": 0}, "holds 8 different questions, MT-Bench has 80; give the whole published file"),
        ({"limit": 9}, r"benchmark.limit = 9: .* holds 8 questions"),
        ({"questions": "absent.jsonl"}, r"absent.jsonl: no such file or folder"),
        ({"questions": "seed.jsonl", "limit": 1}, r"needs `question_id` and two texts in `turns`; it has prompt, resp"),
        ({"reference_column": "no"}, r"line 2: question 82 \(math\) has no two reference answers"),
        ({"judge_prompts": "turns.jsonl"}, "benchmark.judge_prompts: .*turns.jsonl lacks the form single-v1; needed"),
    ],
)
def test_wrong_files_are_refused_in_one_sentence(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = write_judged(tmp_path, "mt_bench", url=NOWHERE, **changes)
    with pytest.raises(ValueError, match=words) as error:
        plan(recipe.read(path))
    assert "\n" not in str(error.value)


def test_a_category_must_be_known(tmp_path: Path) -> None:
    path = write_two_turns(tmp_path, 2)
    path.write_text(path.read_text().replace("writing", "poetry"))
    with pytest.raises(ValueError, match=r"line 1: category = 'poetry': allowed: writing, roleplay"):
        read_two_turns(str(path), "", "reference", 2)


def test_one_template_does_not_do(tmp_path: Path) -> None:
    judge = {"endpoint": endpoint(NOWHERE), "template": "{question} {answer}"}
    with pytest.raises(ValueError, match=r"judge.template: MT-Bench has four forms"):
        recipe.read(write_judged(tmp_path, "mt_bench", url=NOWHERE, judge=judge))
