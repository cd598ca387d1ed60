"""The measured pace: what is estimated from it is arithmetic by hand; a measurement of a tiny model is sane."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from engine_models import save_llama

from fake_recipes import write_recipe
from selfboost import cli, recipe
from selfboost.demo import EMBEDDED_MODEL
from selfboost.engines.local import Local
from selfboost.pace import MeasuredPace, Rate, probe
from selfboost.plan import Plan, PlannedStage, plan
from selfboost.plan.text import show_plan
from selfboost.recipe_parts import scorers_of
from selfboost.records import Answer, Message, Origin, Prompt
from selfboost.train.local import Local as Trainer

PACE = MeasuredPace(
    machine="2 CPU cores",
    memory=8 * 2**30,
    gpu=False,
    ended=1.0,
    sampling=Rate(fixed=1.0, each=1e-3),
    reading=Rate(fixed=0.5, each=1e-4),
    training=Rate(fixed=2.0, each=4e-4),
    scoring=(),
    answer=10.0,
    process=2**30,
    peak=2**30,
    seconds=5.0,
)
SMALL = ("run.iterations=1", "run.drift.prompts=0", "run.beside=[]", "seed.validation=10", "seed.held_out=10")
embedded = pytest.mark.skipif(
    not (EMBEDDED_MODEL / "model.safetensors").exists(), reason="the embedded model is not built here"
)


@cache
def planned() -> Plan:
    read = recipe.read(recipe.find("smoke"), SMALL)
    pace = replace(PACE, scoring=[(each, Rate(fixed=0.25, each=1e-5)) for each in scorers_of(read) if not each.needs()])
    return plan(read, measure=lambda *_: pace)


def stage(name: str) -> PlannedStage:
    return next(stage for stage in planned().stages if stage.name == name)


@embedded
def test_hours_are_the_measured_rates() -> None:
    drafts = stage("iteration-1/drafts")
    assert drafts.mean.tokens == drafts.rows * 10, "as long as the model's own answers"
    assert drafts.most.tokens == drafts.rows * 40
    asked = round((drafts.mean.hours or 0) * 3600 * 1e4 - 1e4 - 1e-3 * drafts.mean.tokens * 1e4) / drafts.rows
    assert 5 < asked < 40, "tokens of a prompt"
    policy = stage("iteration-1/policy")
    assert (policy.mean.hours or 0) * 3600 == pytest.approx(2.0 + 4e-4 * policy.mean.tokens, abs=1e-3)
    scored = stage("iteration-1/pair-scores")  # two models, each of which reads every answer once
    assert (scored.mean.hours or 0) * 3600 == pytest.approx(2 * (0.5 + 1e-4 * scored.mean.tokens), abs=1e-3)
    checked = stage("iteration-1/held_out-sampled-scores")
    assert (checked.mean.hours or 0) * 3600 == pytest.approx(0.25 + 1e-5 * checked.mean.tokens, abs=1e-3)
    assert {each.gpus for each in planned().stages} == {1}
    assert {each.opening for each in planned().stages} == {0.0}


@embedded
def test_processes_side_by_side_divide_the_work_of_a_stage_by_its_blocks() -> None:
    read = recipe.read(recipe.find("smoke"), (*SMALL, "engine.batch_size=1"))  # blocks of four answers
    one, two = (plan(read, measure=lambda *_, n=n: replace(PACE, processes=n)) for n in (1, 2))
    for alone, beside in zip(one.stages, two.stages, strict=True):
        seconds, less = (3600 * (each.mean.hours or 0) for each in (alone, beside))
        if alone.verb != "sample":
            assert less == pytest.approx(seconds)  # scores of fewer than 1,024 answers are one block
            continue
        blocks = math.ceil(alone.rows / 4)
        assert less - PACE.sampling.fixed == pytest.approx(
            (seconds - PACE.sampling.fixed) * math.ceil(blocks / 2) / blocks, abs=1e-3
        )


@embedded
def test_memory_is_the_process_and_the_largest_work() -> None:
    largest = max(size for size in planned().memory.values() if size is not None)
    assert planned().host_memory == 2**30 + largest


@embedded
def test_each_further_process_holds_libraries_and_what_it_samples_and_scores() -> None:
    read = recipe.read(recipe.find("smoke"), SMALL)
    one, three = (plan(read, measure=lambda *_, n=n: replace(PACE, processes=n)).host_memory or 0 for n in (1, 3))
    assert 2 * PACE.process <= three - one <= 2 * one


@embedded
@pytest.mark.parametrize("every", [False, True])
def test_the_plan_has_a_line_for_each_kind_of_stage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, every: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_plan(planned(), every_stage=every)
    written = capsys.readouterr().out
    assert max(map(len, written.splitlines())) <= 80
    table = written.partition("\n\n")[0].splitlines()
    assert len(table) == 2 + (len(planned().stages) if every else len({each.kind for each in planned().stages}))
    assert len(table) <= 25 or every
    assert table[-1].startswith("all ")
    words = " ".join(written.split())
    assert "times are for 2 CPU cores here, from a measurement of 5.0 s with the recipe's own model" in words
    assert "Estimated memory: 1." in words


def answers(lengths: Sequence[int], cut: int) -> list[Answer]:
    prompt = Prompt(messages=(Message(role="user", content="x"),), origin=Origin(source="seed"))
    return [
        Answer(
            prompt=prompt,
            text="x",
            prompt_ids=(1,),
            token_ids=(1,) * min(length, cut),
            finish="stop" if length <= cut else "length",
        )
        for length in lengths
    ]


def test_the_length_of_answers_is_estimated_from_cut_ones() -> None:
    rng = Random(0)
    lengths = [1 + int(rng.expovariate(1 / 30)) for _ in range(4000)]
    true = sum(min(length, 100) for length in lengths) / len(lengths)
    for cut in (8, 20, 60):
        assert probe.mean_length(answers(lengths, cut), 100) == pytest.approx(true, rel=0.1)
    whole = answers(lengths, max(lengths))
    assert probe.mean_length(whole, 1000) == pytest.approx(sum(lengths) / len(lengths))
    assert probe.mean_length(answers([50, 60], 20), 100) == 100, "none has ended"
    within = sum(length <= 100 for length in lengths) / len(lengths)
    assert probe.ended_share(answers(lengths, 20), 100) == pytest.approx(within, abs=0.03)
    assert probe.ended_share(whole, 1000) == 1.0
    assert probe.ended_share(answers([50, 60], 20), 100) == 0.0


@embedded
def test_a_model_that_never_ends_an_answer_is_warned_of() -> None:
    read = recipe.read(recipe.find("smoke"), SMALL)
    paces = [replace(PACE, ended=share) for share in (0.05, 0.5)]
    endless, fine = (plan(read, measure=lambda *_, pace=pace: pace).warnings for pace in paces)
    assert next(each for each in endless if each not in fine).startswith("the model ended 5% of its answers")
    assert len(endless) == len(fine) + 1


def test_a_tiny_model_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(probe, "BUDGET", 0.2)
    save_llama(tmp_path / "tiny")
    local = {"kind": "local", "dtype": "float32", "device": "cpu"}
    short = {"method.sampling": {"max_tokens": 6}, "training": {"max_length": 64}}
    path = write_recipe(
        tmp_path, "seed_po", model={"path": str(tmp_path / "tiny")}, engine=local, trainer=local, **short
    )
    found = probe.measured_pace(recipe.read(path))
    assert 1 <= found.answer <= 96, "of the context"
    assert not found.gpu
    for rate in (found.sampling, found.reading, found.training):
        assert rate.fixed > 0
        assert 0 <= rate.each < 0.1
    assert [name for name, _ in found.scoring] == [found.scoring[0][0]], "the checks, which need no model"
    assert found.peak >= found.process > 0
    assert "expect them within a factor of two" in checked(capsys, path)


def checked(capsys: pytest.CaptureFixture[str], path: Path, *options: str) -> str:
    with pytest.raises(SystemExit) as end:
        cli.main(["check", str(path), *options])
    assert not end.value.code
    return " ".join(capsys.readouterr().out.split())


def test_what_cannot_be_measured_here_says_why(tmp_path: Path, capsys: Any) -> None:
    path = write_recipe(tmp_path, "seed_po")
    assert "not measured here: the model is not on this machine" in checked(capsys, path)
    assert "not measured here: " not in checked(capsys, path, "--no-probe")
    read = recipe.read(path)
    assert probe.why_not(read, None) == "the model is not on this machine"
    assert probe.why_not(read, 1000) == "the engine Fake samples elsewhere"
    if not torch.cuda.is_available():
        elsewhere = replace(read, engine=Local(device="cuda"), trainer=Trainer())
        assert probe.why_not(elsewhere, 1000).startswith("device = 'cuda': PyTorch sees no GPU here")
