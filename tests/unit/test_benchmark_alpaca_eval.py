"""AlpacaEval as a benchmark: end to end against a fake judge, its figures counted anew, and data that are not its."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scored_answers import answer

from fake_recipes import run, summary
from judged_recipes import endpoint, write_instructions, write_judged
from real_data import real
from selfboost import recipe
from selfboost.benchmarks.alpaca_eval import FORM
from selfboost.benchmarks.parts.alpaca_data import read_instructions
from selfboost.benchmarks.parts.alpaca_judge import AlpacaJudge
from selfboost.benchmarks.parts.form_judge import Judging
from selfboost.benchmarks.parts.forms import filled
from selfboost.cli import main
from selfboost.endpoints import Endpoint
from selfboost.endpoints.fake_server import FakeReply, FakeServer, Said
from selfboost.plan import plan
from selfboost.train.fake import Fake as FakeTrainer

Asked = Mapping[str, Any]


def shown(request: Asked) -> tuple[str, str]:
    text = request["messages"][-1]["content"]
    first, second = (
        text.partition(f"[Output of model {label}]\n")[2].partition("\n[End of the output")[0] for label in "mM"
    )
    return first, second


def chance(first: str, second: str) -> float:
    """A judge that likes length, and the output shown first."""
    return 1 / (1 + math.exp(-(len(first) - len(second) + 10) / 40))


def judge(request: Asked) -> Said:
    p = chance(*shown(request))
    return FakeReply(text="m", probabilities={"m": 0.9 * p, "M": 0.9 * (1 - p), " The": 0.1})


def rows(root: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "stages" / stage / "records.jsonl").open()]


@pytest.mark.parametrize("orders", ["one", "both"])
def test_the_win_rate_is_that_of_the_labels_log_probabilities(orders: str, tmp_path: Path) -> None:
    with FakeServer(judge) as server:
        run(write_judged(tmp_path, "alpaca_eval", url=server.url, orders=orders), tmp_path / "out")
        pairs = list(map(shown, server.requests))
    own = {
        row["prompt"]["messages"][0]["content"]: row["text"]
        for row in rows(tmp_path / "out", "iteration-1/alpaca_eval-answers")
    }
    outputs = {row["instruction"]: row["output"] for row in json.loads((tmp_path / "outputs.json").read_text())}
    expected = {}
    for instruction, mine in own.items():
        games = [chance(mine, outputs[instruction])] * ((mine, outputs[instruction]) in pairs)
        games += [1 - chance(outputs[instruction], mine)] * ((outputs[instruction], mine) in pairs)
        assert len(games) == (1 if orders == "one" else 2)
        expected[instruction] = sum(games) / len(games)
    verdicts = rows(tmp_path / "out", "iteration-1/alpaca_eval-judgments")[1::2]
    found = dict(zip(own, [verdict["value"] for verdict in verdicts], strict=True))
    assert found == pytest.approx(expected)
    assert summary(tmp_path / "out")["iterations"][1]["measures"]["alpaca_eval"]["value"] is not None


def test_the_published_figures_stand_with_the_stage_and_outside_a_run_all_instructions_count(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with FakeServer(judge) as server:
        path = write_judged(tmp_path, "alpaca_eval", url=server.url)
        with pytest.raises(SystemExit) as end:
            main(["measure", "fake", "--benchmark", "alpaca_eval", "--recipe", str(path), "--json",
                  "--into", str(tmp_path / "m"), "--to", str(tmp_path / "m.json")])  # fmt: skip
        heard = capsys.readouterr()
        assert (end.value.code, server.answered) == (0, 12), heard.err
    found = json.loads(heard.out)
    stored = json.loads((tmp_path / "m.json").read_text())
    won = np.array([item["values"]["alpaca_eval"][0] for item in stored["items"]])
    notes = next(stage["notes"] for name, stage in stored["stages"].items() if "figures-all" in name)
    assert found["alpaca_eval"]["value"] == pytest.approx(won.mean())
    assert notes["win_rate"] == pytest.approx(100 * won.mean())
    assert notes["standard_error"] == pytest.approx(100 * won.std(ddof=1) / math.sqrt(12))
    assert notes["discrete_win_rate"] == pytest.approx(100 * ((won > 0.5).mean() + (won == 0.5).mean() / 2))
    assert notes["judge"].startswith("alpaca_eval(fake at http://127.0.0.1:")
    assert notes["baseline"] == "base"
    assert notes["length_controlled"] == "not computed, it needs the official tables (gamed, difficulty)"
    assert "judged by fake (prompt " in found["alpaca_eval"]["title"]


def judged(
    reply: Callable[[Asked], Said], count: int = 40, refuses: tuple[str, ...] = (), **settings: Any
) -> tuple[list, FakeServer]:
    answers = [
        answer(side, f"prompt {i}", index=j) for i in range(count) for j, side in enumerate(("short", "longer one"))
    ]
    with FakeServer(reply, refuses=refuses) as server:
        judging = Judging(endpoint=Endpoint(**endpoint(server.url)), reason_tokens=settings.pop("reason_tokens", None))
        found = AlpacaJudge(judging=judging, form=FORM, **settings).score(answers, {}, FakeTrainer())
        return list(found), server


def test_the_request_is_the_published_one_in_form() -> None:
    _, server = judged(judge, 1)
    body = server.requests[0]
    assert (body["logprobs"], body["top_logprobs"]) == (True, 5)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_one_order_is_drawn_by_the_seed_and_the_instruction() -> None:
    verdicts, server = judged(lambda request: FakeReply(text="m", probabilities={"m": 0.75, "M": 0.25}))
    assert server.answered == 40
    values = [verdict.value for verdict in verdicts[1::2]]
    assert set(values) == {0.25, 0.75}
    assert 10 <= values.count(0.75) <= 30
    again = [verdict.value for verdict in judged(judge)[0][1::2]]
    other = [verdict.value for verdict in judged(judge, seed=1)[0][1::2]]
    assert again != other
    assert [v.value for v in verdicts[::2]] == [1 - v for v in values]


@pytest.mark.parametrize("said", [FakeReply(text="m", probabilities={"m": 0.7, "M": 0.1}), "M", "It is m."])
def test_a_constant_judge_in_both_orders_comes_to_exactly_one_half(said: Said) -> None:
    verdicts, _ = judged(lambda request: said, 3, orders="both")
    assert {verdict.value for verdict in verdicts} == {0.5}


@pytest.mark.parametrize(
    ("said", "value"), [("M", 1.0), ("m", 0.0), ("Model M is", 1.0), ("m? no: M", 1.0), ("I'm", None)]
)
def test_without_log_probabilities_the_last_label_counts(said: str, value: float | None) -> None:
    def reply(request: Asked) -> Said:
        first, _ = shown({"messages": request["messages"][:2]})
        return said if first == "short" else said.translate(str.maketrans("mM", "Mm"))

    verdicts, server = judged(reply, 1, refuses=("logprobs",))
    assert verdicts[1].value == value
    if value is None:
        assert server.requests[-1]["messages"][-1]["content"] == "Reply with one identifier, m or M, and nothing else."
        assert "the judge gave no verdict" in verdicts[1].reason


def test_little_probability_on_the_labels_is_no_verdict() -> None:
    verdicts, _ = judged(lambda request: FakeReply(text="The", probabilities={"The": 0.8, "m": 0.2}), 1)
    assert verdicts[1].value is None
    assert "a probability of 0.20, less than 0.5; asked once more" in verdicts[1].reason


def test_a_reasoning_judge_is_read_by_its_last_word() -> None:
    verdicts, server = judged(lambda request: "Both are fine, but I'd take\n\nm", 2, reason_tokens=100)
    assert {verdict.value for verdict in verdicts} <= {0.0, 1.0}
    assert server.requests[0]["max_tokens"] == 116
    assert "logprobs" not in server.requests[0]


def test_missing_judgments_are_counted_with_bounds(tmp_path: Path) -> None:
    with FakeServer(lambda request: "perhaps" if "thing 1" in str(request) else judge(request)) as server:
        run(write_judged(tmp_path, "alpaca_eval", url=server.url), tmp_path / "out")
    note = summary(tmp_path / "out")["iterations"][1]["notes"]["judged_comparison"]
    rated = [row["values"]["alpaca_eval"][0] for row in rows(tmp_path / "out", "iteration-1/measure-held_out")]
    known = [value for value in rated if value is not None]
    assert 0 < len(known) < len(rated) == note["games"]
    assert note["missing"] == len(rated) - len(known)
    assert note["lowest"] == pytest.approx(sum(known) / len(rated))
    assert note["highest"] == pytest.approx((sum(known) + note["missing"]) / len(rated))


def test_a_run_that_is_resumed_pays_nothing_twice(tmp_path: Path) -> None:
    with FakeServer(judge) as server:
        path = write_judged(tmp_path, "alpaca_eval", url=server.url)
        run(path, tmp_path / "out")
        paid = server.answered
        assert paid == 2 * 12, "the initial model and the candidate"
        for stage in ("alpaca_eval-judgments", "alpaca_eval-figures-held_out"):
            (tmp_path / "out/stages/iteration-1" / stage / "stage.json").unlink()
        run(path, tmp_path / "out")
        assert server.answered == paid


def test_check_prices_it(tmp_path: Path) -> None:
    found = plan(recipe.read(write_judged(tmp_path, "alpaca_eval", url="http://127.0.0.1:9/v1")))
    stages = {stage.name: (stage.verb, stage.rows) for stage in found.stages}
    assert stages["iteration-1/alpaca_eval-answers"] == ("sample", 12)
    assert stages["iteration-1/alpaca_eval-judgments"] == ("score", 24)
    assert "about 24 requests to servers" in " ".join(found.notes)


def test_check_stands_in_for_a_hub_data_set(tmp_path: Path) -> None:
    path = write_judged(tmp_path, "alpaca_eval", url="http://127.0.0.1:9/v1", prompts="someone/prompts:eval", limit=0)
    found = {stage.name: stage.rows for stage in plan(recipe.read(path)).stages}
    assert found["iteration-1/alpaca_eval-answers"] == 805


# Files that are not what they should be.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"limit": 0}, r"holds 12 different instructions, AlpacaEval has 805; give the whole published file"),
        ({"limit": 13}, r"benchmark.limit = 13: .* holds 12 instructions"),
        ({"prompts": "absent.json"}, r"absent.json: no such file or folder"),
        ({"output": "ouput"}, r"row 1: needs the column `ouput` with a text; it has instruction, output, generator"),
        ({"baseline": "seed.jsonl"}, r"seed.jsonl line 1: needs the column `instruction` with a text"),
    ],
)
def test_wrong_data_are_refused_in_one_sentence(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = write_judged(tmp_path, "alpaca_eval", url="http://127.0.0.1:9/v1", **changes)
    with pytest.raises(ValueError, match=words) as error:
        plan(recipe.read(path))
    assert "\n" not in str(error.value)


def test_804_instructions_are_not_alpaca_eval(tmp_path: Path) -> None:
    path = write_instructions(tmp_path, 804)
    with pytest.raises(ValueError, match="holds 804 different instructions, AlpacaEval has 805"):
        read_instructions(str(path), "", "output", 0)


def test_a_baseline_must_answer_every_instruction_and_be_one(tmp_path: Path) -> None:
    path = write_instructions(tmp_path, 5)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(path.read_text())[1:]))
    with pytest.raises(ValueError, match=r"has no output for 1 of 5 instructions, the first being 'Tell of thing 0\.'"):
        read_instructions(str(path), str(other), "output", 5)
    other.write_text(json.dumps([{**row, "generator": f"g{i}"} for i, row in enumerate(json.loads(path.read_text()))]))
    with pytest.raises(ValueError, match="holds outputs of g0 and g1; a win rate needs one baseline"):
        read_instructions(str(path), str(other), "output", 5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gamed": "g.csv"}, "gamed is given without difficulty"),
        ({"gamed": "g.csv", "difficulty": "d.csv"}, "limit = 12: length control needs all 805"),
        (
            {"judge": {"endpoint": endpoint("http://127.0.0.1:9/v1"), "template": "{instruction} {output_1}"}},
            r"lacks {output_2}",
        ),
        ({"orders": "two"}, "must be 'one' or 'both'"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        recipe.read(write_judged(tmp_path, "alpaca_eval", url="http://127.0.0.1:9/v1", **changes))


def test_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    judge = {"endpoint": {**endpoint("http://127.0.0.1:9/v1"), "key_variable": "NO_SUCH_KEY"}}
    path = write_judged(tmp_path, "alpaca_eval", url="", judge=judge)
    with pytest.raises(ValueError, match="the environment variable NO_SUCH_KEY holds no key"):
        run(path, tmp_path / "out")


def test_fields_are_filled_once_and_other_braces_stay() -> None:
    form = '<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n{{"m": """{output_1}"""}} {unknown}<|im_end|>'
    first, second = filled(form, {"output_1": "{output_2}", "output_2": "no"})
    assert (first.role, first.content, second.role) == ("system", "S", "user")
    assert second.content == '{{"m": """{output_2}"""}} {unknown}'


# Real data.


def test_the_published_instructions_are_read() -> None:
    path = str(real("eval/alpaca_eval_805.jsonl.gz"))
    items = read_instructions(path, "", "reference_gpt4_1106_preview", 0)
    assert (len(items), items[0].generator) == (805, "reference_gpt4_1106_preview")
    few = read_instructions(path, "", "out_gpt4", 50)
    order = [item.prompt.text for item in items]
    assert [order.index(item.prompt.text) for item in few] == sorted(order.index(item.prompt.text) for item in few)


@pytest.mark.slow
def test_length_control_with_tables_of_the_official_form(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    difficulty = generator.normal(size=805)
    (tmp_path / "d.csv").write_text(
        "index,instruction_difficulty\n" + "".join(f"{i},{d}\n" for i, d in enumerate(difficulty))
    )
    gamed = "".join(
        f"x,{i % 805},{1 + generator.random()},{generator.normal()},{difficulty[i % 805]},0\n" for i in range(1610)
    )
    (tmp_path / "g.csv").write_text(
        "model,index,preference,std_delta_len,instruction_difficulty,not_gamed_baseline\n" + gamed
    )
    tables = {"gamed": tmp_path / "g.csv", "difficulty": tmp_path / "d.csv", "limit": 0}
    with FakeServer(judge) as server:
        path = write_judged(tmp_path, "alpaca_eval", url=server.url, prompts="all.json", **tables)
        write_instructions(tmp_path, 805).rename(tmp_path / "all.json")
        with pytest.raises(SystemExit) as end:
            main(
                [
                    "measure",
                    "fake",
                    "--benchmark",
                    "alpaca_eval",
                    "--recipe",
                    str(path),
                    "--to",
                    str(tmp_path / "m.json"),
                ]
            )
        assert end.value.code == 0
    stored = json.loads((tmp_path / "m.json").read_text())
    notes = next(stage["notes"] for name, stage in stored["stages"].items() if "figures-all" in name)
    low, high = notes["length_control"]
    for each in (low, high):
        assert each["low"] < each["win_rate"] < each["high"]
        weights = each["weights"]
        chances = 1 / (1 + np.exp(-(weights[1] * difficulty + weights[2])))
        assert each["win_rate"] == pytest.approx(100 * chances.mean())
    assert low["win_rate"] < high["win_rate"]
    assert f"with the {notes['missing']} missing judgments as losses and as wins" in notes["length_controlled"]
