"""The held-out benchmark, on a real run with the fake engine: values stand with their prompts and are made once."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from selfboost import recipe
from selfboost.benchmarks.held_out import HeldOut
from selfboost.records import Answer, Sampling
from selfboost.run import Run
from selfboost.scorers.checks import Checks
from selfboost.stages import Silent

RECIPE = """
[model]
path = "fake"
[seed]
path = "seed.jsonl"
validation = 5
held_out = 12
[method]
kind = "spin"
[loss]
kind = "dpo"
[scorer]
kind = "implicit"
[benchmark]
kind = "held_out"
samples = 3
max_tokens = 60
scorer = {kind = "checks", function = "selfboost.engines.fake:is_good"}
[engine]
kind = "fake"
[trainer]
kind = "fake"
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    rows = [{"prompt": f"tell me of thing {i}", "response": f"thing {i} is good"} for i in range(40)]
    (tmp_path / "seed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    opened = Run(recipe.read(tmp_path / "recipe.toml"), tmp_path / "run", Silent())
    opened.begin(0, opened.initial)
    return opened


def rate(run: Run, **changes: object) -> list:
    benchmark = run.recipe.benchmark
    assert isinstance(benchmark, HeldOut)
    return list(replace(benchmark, **changes).rate(run, run.initial, run.held_out, "held_out"))


def test_every_prompt_has_its_own_values_in_order(run: Run) -> None:
    rated = rate(run)
    assert [r.prompt for r in rated] == [example.prompt.id for example in run.held_out]
    assert {r.split for r in rated} == {"held_out"}
    for each in rated:
        assert {name: len(values) for name, values in each.values.items()} == {
            "greedy": 1, "sampled": 3, "length": 3, "ended": 3,
        }  # fmt: skip
    benchmark = run.recipe.benchmark
    assert isinstance(benchmark, HeldOut)
    for example, each in zip(run.held_out, rated, strict=True):  # alone, a prompt has the values it has among others
        (alone,) = benchmark.rate(run, run.initial, [example], "held_out")
        assert alone == each


def answers(run: Run, name: str, sampling: Sampling) -> list[Answer]:
    """What the benchmark sampled: the same stage with the same settings is read, not made."""
    return run.sample(name, run.initial, [example.prompt for example in run.held_out], sampling)


def test_values_are_the_scorers_and_the_answers_own(run: Run) -> None:
    rated = rate(run)
    made = sorted(run.root.rglob("*"))
    greedy = answers(run, "held_out-greedy", Sampling(temperature=0.0, max_tokens=60))
    sampled = answers(run, "held_out-sampled", Sampling(temperature=0.7, max_tokens=60, samples=3))
    assert sorted(run.root.rglob("*")) == made
    check = Checks(function="selfboost.engines.fake:is_good")
    flat = {name: [value for r in rated for value in r.values[name]] for name in rated[0].values}
    assert flat == {
        "greedy": [verdict.value for verdict in check.score(greedy, {}, run.trainer)],
        "sampled": [verdict.value for verdict in check.score(sampled, {}, run.trainer)],
        "length": [len(answer.token_ids) for answer in sampled],
        "ended": [answer.finish == "stop" for answer in sampled],
    }
    assert {0.0, 1.0} <= set(flat["sampled"])
    assert {0.0, 1.0} <= set(flat["ended"])


def test_greedy_can_be_left_out(run: Run) -> None:
    rated = rate(run, greedy=False, samples=1)
    assert {name: len(values) for name, values in rated[0].values.items()} == {"sampled": 1, "length": 1, "ended": 1}


def test_a_failed_answer_has_no_values(run: Run) -> None:
    run.recipe = replace(run.recipe, run=replace(run.recipe.run, max_failed=1.0))
    run.engine = replace(run.engine, context_length=10)  # shorter than the prompts: nothing can be answered
    for each in rate(run, greedy=False):
        assert each.values == {"sampled": (None,) * 3, "length": (None,) * 3, "ended": (None,) * 3}


def test_what_was_measured_is_not_computed_again(run: Run) -> None:
    first = rate(run)
    before = {path: path.stat().st_mtime_ns for path in sorted(run.root.rglob("*")) if path.is_file()}
    assert rate(run) == first
    assert {path: path.stat().st_mtime_ns for path in sorted(run.root.rglob("*")) if path.is_file()} == before


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("benchmark.samples=0", r"benchmark.samples = 0: must be a whole number from 1 to 1,000"),
        ("benchmark.temperature=0", r"benchmark.temperature = 0: must be a number from 0.001 to 100"),
        ("benchmark.max_tokens=0", r"benchmark.max_tokens = 0"),
        ("benchmark.scorer.kind=chekcs", r"scorer.kind = 'chekcs': no such scorer \(did you mean 'checks'"),
        ("benchmark.scorer.function=nowhere", r"benchmark.scorer: function = 'nowhere': must be"),
        ("benchmark.top_p=1", r"benchmark.top_p: no such setting"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, setting: str, sentence: str) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    with pytest.raises(ValueError, match=sentence):
        recipe.read(tmp_path / "recipe.toml", [setting])
