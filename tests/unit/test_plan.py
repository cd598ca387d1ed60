"""The plan: rows are exact, costs are arithmetic by hand, and what is assumed is said."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fake_recipes import write_recipe
from selfboost import recipe
from selfboost.demo import EMBEDDED_MODEL
from selfboost.plan import Plan, PlannedStage, plan
from selfboost.plan.hardware import KINDS, LAUNCH
from selfboost.plan.model_size import from_parameters, model_size
from selfboost.plan.text import show_plan
from selfboost.recipe import Recipe

SMALL = ("seed.limit=100", "run.iterations=1", "method.search.betas=[]", "method.prompts=60", "method.pairs=10")


USABLE = KINDS["H100"].share * KINDS["H100"].peak
"""Operations per second that the kind of GPU a plan assumes sustains in training and reading."""
SELF_SCORES = "iteration-1/self-scores"


def read(name: str, *settings: str) -> Recipe:
    return recipe.read(recipe.find(name), settings)


@cache
def planned(name: str, *settings: str) -> Plan:
    return plan(read(name, *settings))


def stage(found: Plan, name: str) -> PlannedStage:
    (one,) = [stage for stage in found.stages if stage.name == name]
    return one


def test_memory_of_full_fine_tuning_is_weights_masters_gradients_and_moments() -> None:
    # bfloat16: 2 of the weight, 4 of its master, 4 of the gradient, 8 of AdamW; spread weights are float32 themselves.
    one = planned("synpo-llama3-8b", "trainer.sharding=false", *SMALL).memory["training"]
    many = planned("synpo-llama3-8b", *SMALL).memory["training"]
    assert one is not None
    assert many is not None
    size = model_size("princeton-nlp/Llama-3-Base-8B-SFT")
    assert size is not None
    gathered = 4 * max(size.parameters // size.layers, size.vocabulary * size.width)
    assert one - many == 18 * 8 * 10**9 - 16 * 10**9 - gathered  # of eight GPUs
    assert 18 * 8e9 < one < 1.1 * 18 * 8e9


def test_hours_are_operations_over_a_share_of_the_peak() -> None:
    found, size = planned("synpo-lora-8b-one-gpu"), model_size("o/m-8B")
    assert size is not None
    drafts = stage(found, "iteration-1/drafts")
    # 200 and 350 tokens are assumed of a seed that is not here; answers are at most 1024 tokens.
    rows = 48
    for cost, new in ((drafts.mean, 350), (drafts.most, 1024)):
        # Each step launches every layer, which takes longer than to read weights and cache.
        seconds = 2 * 8e9 * 5000 * 200 / USABLE + 5000 / rows * new * LAUNCH * size.layers
        assert cost.tokens == 5000 * new
        assert cost.hours == pytest.approx(seconds / 3600)
    policy = stage(found, "iteration-3/policy").mean
    assert policy.tokens == 6000 * (200 + 2 * 350)
    # Frozen weights have no gradient of their own: 2 forward, 2 backward, 2 of the recomputation.
    assert policy.hours == pytest.approx(6 * 8e9 * policy.tokens / USABLE / 3600)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("princeton-nlp/Llama-3-Base-8B-SFT", 8),
        ("alignment-handbook/zephyr-7b-sft-full", 7),
        ("Qwen/Qwen3-0.6B", 0.6),
        ("Skywork/Skywork-Reward-V2-Qwen3-1.7B", 1.7),
        ("RLHFlow/ArmoRM-Llama3-8B-v0.1", 8),
        ("o/SmolLM2-135M-Instruct", 0.135),
        ("Qwen/Qwen3-235B-A22B", 235),
        ("o/model-8x7B", None),
        ("o/model-8bit", None),
        ("o/gpt2", None),
        ("8B/model", None),
    ],
)
def test_a_size_is_taken_from_a_name(name: str, billions: float | None) -> None:
    size = model_size(name)
    assert (size.parameters if size else None) == (billions and round(billions * 1e9))
    assert size is None or not size.counted


def test_the_shape_of_a_size_gives_the_size_back() -> None:
    for parameters in (6 * 10**8, 8 * 10**9, 7 * 10**10):
        shape = from_parameters(parameters)
        assert 12 * shape.layers * shape.width**2 == pytest.approx(parameters, rel=0.01)


@pytest.mark.skipif(not (EMBEDDED_MODEL / "model.safetensors").exists(), reason="the embedded model is not built here")
def test_a_model_that_is_here_is_counted() -> None:
    from transformers import AutoModelForCausalLM

    size = model_size(str(EMBEDDED_MODEL))
    assert size is not None
    assert size.counted
    model: Any = AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL)
    assert size.parameters == model.num_parameters()
    config = model.config
    assert (size.layers, size.width) == (config.num_hidden_layers, config.hidden_size)
    assert size.vocabulary == config.vocab_size


def test_what_is_assumed_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_plan(plan(read("synpo-lora-8b-one-gpu")))
    written = capsys.readouterr().out
    words = " ".join(written.split())
    assert max(map(len, written.splitlines())) <= 80
    for sentence in (
        "HuggingFaceH4/ultrafeedback_binarized:train_sft is read from the hub when the run starts; rehearsed with",
        "tiiuae/falcon-refinedweb (paragraphs) is read from the hub when the run starts; not looked at",
        "meta-llama/Llama-3.1-8B-Instruct is not on this machine: assumed to have 8 billion parameters from its name",
        "assumed: seeds of 200 tokens of prompt and 350 of answer",
        "GPU time is of one H100 (989 TFLOP/s), of whose peak training and reading sustain 31% (published training",
        "of a machine itself: ",
        "of records, ",
        "Most of the time: ",
        "2,000 seeds, 200 validation, 400 held out",
    ):
        assert sentence in words


def test_a_model_of_unknown_size_has_no_costs_and_no_guess(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "spin", model={"path": "some/model"}, engine={"kind": "local"})
    found = plan(recipe.read(path))
    assert found.memory["training"] is found.memory["sampling"] is found.disk is None
    assert all(s.mean.hours is None for s in found.stages if s.verb in ("sample", "finetune", "prefer"))
    assert any("its size is unknown" in note for note in found.notes)


def test_rows_of_small_counts_are_exact(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "synpo", method={"prompts": 700, "pairs": 130})
    method: Any = recipe.read(path).method
    found = plan(replace(recipe.read(path), method=replace(method, generator=_embedded(method.generator))))
    rows = {stage.name: stage.rows for stage in found.stages}
    assert (rows["iteration-1/prompts"], rows["iteration-1/policy"], rows["iteration-2/policy"]) == (700, 130, 260)
    assert (rows["prepare/generator"], rows["iteration-0/held_out-sampled"]) == (10, 8)


def _embedded(generator: Any) -> Any:
    return replace(generator, paragraphs="embedded")


@pytest.mark.parametrize("most", [pytest.param(20_000, marks=pytest.mark.slow), 150])
def test_pairs_that_others_made_are_counted_or_assumed(tmp_path: Path, most: int) -> None:
    rows = ({"prompt": f"q{i}", "chosen": "good", "rejected": "poor"} for i in range(400))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for data, pairs in ((str(tmp_path / "pairs.jsonl"), min(most, 400)), ("owner/pairs:train", min(most, 10_000))):
        path = write_recipe(tmp_path, "seed_sft", method={"kind": "manual_data", "data": data, "pairs": most})
        found = plan(recipe.read(path))
        assert stage(found, "iteration-1/policy").rows == pairs
        assert any("owner/pairs:train (pairs) is read from the hub" in note for note in found.notes) == (data[0] == "o")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["model.path=/no/where"], "/no/where"),
        (["seed.path=data/none.jsonl"], "data/none.jsonl: no such file or folder"),
        (["method.search.betas=[2.0, 2.0]"], "betas = .* must all be different"),
    ],
)
def test_what_is_wrong_is_one_sentence(settings: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as raised:
        plan(read("synpo-lora-8b-one-gpu", *settings))
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_policy_that_judges_itself_is_priced_as_the_policy() -> None:
    """Not as the recipe's scorer, which reads nothing then: a judge of 7 billion parameters is no small one."""
    own = stage(planned("synpo-mistral-7b", "method.kind=self_rewarding", "method.judge=likelihood"), SELF_SCORES)
    other = stage(planned("synpo-mistral-7b", "method.kind=sampling_ranking"), "iteration-1/answer-scores")
    assert own.rows == other.rows
    assert own.mean.hours is not None
    assert other.mean.hours is not None
    assert own.mean.hours > 5 * other.mean.hours


def test_prompts_for_comparison_make_no_answer_longer() -> None:
    plain, compared = planned("smoke"), planned("smoke", "method.self_instruct.prompts=10")
    assert stage(compared, "prepare/self-instruct").rows == 10
    for one in plain.stages:
        assert stage(compared, one.name) == one


@pytest.mark.parametrize("kind", ["seed_sft", "seed_po", "seed_sft_po"])
def test_a_method_without_new_prompts_has_no_notes_on_them(kind: str) -> None:
    notes = planned("synpo-qwen3-0.6b-one-gpu", f"method.kind={kind}").notes
    assert not [note for note in notes if "more prompts" in note or "paragraphs" in note]


def test_how_many_seeds_are_assumed_is_said() -> None:
    notes = planned("synpo-qwen3-0.6b-one-gpu", "seed.limit=0", "method.kind=seed_sft").notes
    assert [note for note in notes if note.startswith("assumed: 10,000 seeds")]


@pytest.mark.slow
def test_log_probabilities_for_the_record_are_priced_as_the_policy() -> None:
    """Not as the recipe's judge of 14 billion parameters, which has no part in them."""
    found = planned("dnpo-zephyr-7b")
    for name, rows, answer in (("rejected-after", 500, 256), ("gold-before", 200, 350), ("samples-before", 200, 256)):
        one = stage(found, f"iteration-2/distributions/{name}")
        assert one.rows == rows
        assert one.mean.hours == pytest.approx(2 * 7e9 * rows * (200 + answer) / USABLE / 3600)
    own = stage(found, "iteration-2/own-scores").mean
    assert own.hours is not None
    assert own.hours > 2 * 14e9 * 20_000 * (200 + 256) / USABLE / 3600


@pytest.mark.slow
def test_a_scorer_that_nobody_asks_takes_no_memory() -> None:
    unasked = planned("spin-zephyr-7b").memory["scoring"]
    asked = planned("spin-zephyr-7b", "method.score_generations=true").memory["scoring"]
    assert asked is not None
    assert unasked == 2 * 2 * 7 * 10**9 < asked, "the policy beside its start; the judge's weights and cache"


def test_counts_that_differ_much_stay_apart() -> None:
    rows = {stage.name: stage.rows for stage in planned("spin-zephyr-7b").stages}
    assert rows["iteration-2/own-answers"] == 50_000
    assert rows["iteration-2/policy"] == rows["iteration-4/policy"] == 100_000
    assert (rows["iteration-2/distributions/chosen-after"], rows["iteration-2/distributions/samples"]) == (500, 200)


@pytest.mark.parametrize(
    ("name", "vocabulary"),
    [
        ("alignment-handbook/zephyr-7b-sft-full", 32_000),
        ("meta-llama/Llama-3.2-3B-Instruct", 128_256),
        ("Qwen/Qwen3-0.6B", 151_936),
        ("o/model-1B", 128_000),
    ],
)
def test_a_vocabulary_is_taken_from_the_family_in_a_name(name: str, vocabulary: int) -> None:
    size = model_size(name)
    assert size is not None
    assert size.vocabulary == vocabulary


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        ({}, "70.0 on 4 validation prompts and 49.5 on 8 held-out prompts (percentage points"),
        ({"kind": "implicit"}, "1.40 on 4 validation prompts and 0.99 on 8 held-out prompts (standard deviations"),
    ],
)
def test_the_plan_says_how_small_a_gain_its_prompts_can_show(
    scorer: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """2.80 standard errors of the mean: 1.96 for the level, 0.84 for the power."""
    sections: dict[str, Any] = {"seed": {"held_out": 8}}
    path = write_recipe(tmp_path, **sections)
    changes = [f"benchmark.scorer={{kind = '{scorer['kind']}', policy = 'initial'}}"] if scorer else []
    found = plan(recipe.read(path, changes))
    assert any(words in note for note in found.notes), found.notes
