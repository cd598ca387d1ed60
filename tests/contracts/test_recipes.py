"""What holds for every shipped recipe, and how a recipe says no."""

import tomllib
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from selfboost import recipe
from selfboost.losses.dpo import DPO
from selfboost.losses.noise_preference import NoisePreference
from selfboost.losses.noise_settings import Noise
from selfboost.losses.simpo import SimPO
from selfboost.methods.dnpo import DNPO
from selfboost.methods.parts.labelling import Labelling
from selfboost.methods.spin import SPIN
from selfboost.plan import Plan, plan
from selfboost.recipe_text import recipe_text
from selfboost.scorers.judge import Judge
from selfboost.scorers.pairrm import PairRM
from selfboost.suggestions import ELSEWHERE

SHIPPED = recipe.shipped()
SMALL = """
[model]
path = "fake"
[seed]
path = "embedded"
[method]
kind = "spin"
[loss]
kind = "dpo"
[scorer]
kind = "implicit"
[benchmark]
kind = "held_out"
scorer = {kind = "implicit"}
[engine]
kind = "fake"
[trainer]
kind = "fake"
"""


PAPERS = ("synpo-llama3-8b", "synpo-mistral-7b")
SELF_PLAY = ("dnpo-zephyr-7b", "dnpo-llama3.2-3b", "spin-zephyr-7b")
ONE_GPU = ("synpo-qwen3-0.6b-one-gpu", "dnpo-qwen3-0.6b-one-gpu", "spin-qwen3-0.6b-one-gpu", "dnpo-llama3.2-1b-one-gpu")
GIB = 2**30


@cache
def planned(name: str) -> Plan:
    return plan(recipe.read(SHIPPED[name]))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_the_promised_recipes_are_shipped() -> None:
    assert {"demo", "smoke", "synpo-lora-8b-one-gpu", *ONE_GPU, *PAPERS, *SELF_PLAY} <= SHIPPED.keys()


QUICKLY_PLANNED = ("demo", "smoke", "dnpo-zephyr-7b", "synpo-qwen3-0.6b-one-gpu")


@pytest.mark.parametrize("name", SHIPPED)
def test_reads_and_survives_being_written_out_whole(name: str, tmp_path: Path) -> None:
    first = recipe.read(SHIPPED[name])
    whole = tmp_path / "whole.toml"
    whole.write_text(recipe_text(first))
    assert recipe.read(whole) == first


@pytest.mark.parametrize("name", SHIPPED)
def test_opens_with_a_line_that_says_what_it_is(name: str) -> None:
    assert SHIPPED[name].read_text().startswith("# ")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICKLY_PLANNED else pytest.mark.slow) for name in SHIPPED]
)
def test_has_a_plan_without_a_network_and_without_weights(name: str) -> None:
    found = planned(name)
    assert {"sample", "prefer", "measure"} <= {stage.verb for stage in found.stages}
    assert all(found.memory.values())
    assert found.disk
    for stage in found.stages:
        assert stage.rows > 0
        assert (stage.mean.hours is None) == (stage.most.hours is None)
        assert 0 <= stage.mean.tokens <= stage.most.tokens
        assert (stage.mean.hours or 0) <= (stage.most.hours or 0)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_recipes_have_the_papers_counts(name: str) -> None:
    found = planned(name)
    rows = {stage.name: stage.rows for stage in found.stages}
    assert rows["prepare/generator"] == 18_000
    for t in range(1, 5):
        assert rows[f"iteration-{t}/improver"] == rows[f"iteration-{t}/seed-answers"] == 18_000
        for part in ("prompts", "drafts", "refined", "initial-answers"):
            assert rows[f"iteration-{t}/{part}"] == 50_000
        assert rows[f"iteration-{t}/pair-scores"] == 100_000
        policies = {n: r for n, r in rows.items() if n.startswith(f"iteration-{t}/") and n.endswith("/policy")}
        assert set(policies.values()) == {10_000 * t}
        assert len(policies) == 6, "one for each beta, of which the best is the policy"
    assert "batch-2" not in " ".join(rows)
    assert rows["iteration-4/held_out-sampled"] == 500


@pytest.mark.parametrize(("name", "rate", "threshold"), [(PAPERS[0], 6e-7, 0.02), (PAPERS[1], 3e-7, 0.20)])
def test_the_papers_recipes_have_the_papers_settings(name: str, rate: float, threshold: float) -> None:
    found = recipe.read(SHIPPED[name])
    method: Any = found.method
    assert (found.run.iterations, found.seed.limit, method.prompts, method.pairs) == (4, 18_000, 50_000, 10_000)
    assert (method.start, method.window, method.sampling.temperature) == ("initial", "all", 0.7)
    assert list(method.search.betas) == [2, 4, 6, 8, 10, 12]
    assert (method.search.pairs, method.search.iterations, method.filter.max_repetition) == (0, "all", 0.5)
    for part, length in ((method.generator, 8000), (method.improver, 6000)):
        training = part.training
        assert (training.learning_rate, training.batch_size, training.epochs) == (1e-6, 32, 3)
        assert (training.warmup, training.max_length, part.sampling.temperature) == (0.1, length, 0.7)
    assert (found.training.learning_rate, found.training.batch_size, found.training.epochs) == (rate, 128, 1)
    assert (getattr(found.loss, "gamma", None), found.scorer.threshold) == (1.6, threshold)


@pytest.mark.parametrize("name", SELF_PLAY[:2])
def test_dnpos_recipes_have_the_published_settings(name: str) -> None:
    found = recipe.read(SHIPPED[name])
    method, training, loss = found.method, found.training, found.loss
    assert isinstance(method, DNPO)
    assert isinstance(loss, NoisePreference)
    assert (found.run.iterations, found.seed.limit, found.seed.turns, method.prompts) == (4, 20_000, "first", 0)
    assert (method.start, method.reference, method.window) == ("previous", "previous", "last")
    assert (method.plain_iterations, method.labels, method.noise, method.stop_after) == (
        1,
        "scored",
        "trained",
        (0, 0, 1, 0),
    )
    assert (method.sampling.max_tokens, method.labelling) == (256, Labelling(threshold=0.0, ties="generated"))
    assert (training.optimizer, training.learning_rate, training.schedule) == ("rmsprop", 5e-7, "linear")
    assert (training.warmup, training.batch_size, training.epochs) == (0.1, 12, 3)
    assert (training.max_length, training.max_prompt_length, training.collapse) == (1024, 512, "warn")
    assert (loss.beta, loss.noise) == (0.1, Noise())
    written = tomllib.loads(SHIPPED[name].read_text())["loss"]["noise"]
    assert (written["scale"], written["penalty_weight"]) == (1.0, 1.0), "in full, so that a user sees them"
    assert type(found.scorer) is (Judge if name == "dnpo-zephyr-7b" else PairRM)


def test_the_papers_form_of_dnpo_differs_in_the_noise_alone() -> None:
    code, text = recipe.read(SHIPPED["dnpo-zephyr-7b"]), recipe.read(SHIPPED["dnpo-zephyr-7b-paper"])
    assert isinstance(code.loss, NoisePreference)
    assert isinstance(text.loss, NoisePreference)
    assert replace(text, loss=code.loss) == code
    noise = text.loss.noise
    assert (noise.module, noise.exponential_of, noise.penalty_on) == ("affine", "variance", "variance")
    assert (noise.largest_variance > 0, noise.schedule, noise.trained) == (True, "alternating", True)


@pytest.mark.parametrize(("name", "lengths"), [("synpo-mistral-7b", (1024, 512)), ("synpo-llama3-8b", (2048, 1800))])
def test_synpos_policy_is_trained_with_simpos_own_lengths(name: str, lengths: tuple[int, int]) -> None:
    training = recipe.read(SHIPPED[name]).training
    assert (training.max_length, training.max_prompt_length) == lengths


def test_spins_recipe_has_the_published_settings() -> None:
    found = recipe.read(SHIPPED["spin-zephyr-7b"])
    method, training = found.method, found.training
    assert isinstance(method, SPIN)
    assert (found.run.iterations, found.seed.limit, found.seed.turns, method.prompts) == (4, 50_000, "first", 0)
    assert (method.start, method.reference, method.window) == ("previous", "previous", "last_two")
    assert method.betas == (0.1, 0.1, 0.1, 5.0)
    assert method.learning_rates == (5e-7, 5e-7, 1e-7), "the last one goes on"
    assert (training.optimizer, training.schedule, training.warmup) == ("rmsprop", "linear", 0.1)
    assert (training.batch_size, training.max_length, type(found.loss)) == (64, 2048, DPO)


@pytest.mark.parametrize("place", ["zephyr-7b", "qwen3-0.6b-one-gpu"])
def test_dnpo_and_spin_differ_in_what_the_papers_differ_in(place: str) -> None:
    found = [recipe.read(SHIPPED[f"{method}-{place}"]) for method in ("dnpo", "spin")]
    same = ["model", "scorer", "benchmark", "gate", "seed_models", "engine", "trainer"]
    for section in same if place == "zephyr-7b" else [*same, "run", "seed"]:
        assert getattr(found[0], section) == getattr(found[1], section)


@pytest.mark.parametrize("line", ["method.kind=spin", "method.noise=none", "method.labels=gold", "method.noise=fixed"])
def test_an_ablation_of_dnpo_is_one_line(line: str) -> None:
    path = SHIPPED["dnpo-qwen3-0.6b-one-gpu"]
    assert line in " ".join(path.read_text().split())
    found = plan(recipe.read(path, [line, "seed.limit=100", "run.iterations=2"]))
    priced = {stage.name: stage for stage in found.stages}
    assert bool(found.disk_while_training) == (line not in ("method.kind=spin", "method.noise=none"))
    assert "iteration-1/policy" in priced


@pytest.mark.parametrize(("name", "limit"), [("synpo-lora-8b-one-gpu", 48), *((name, 24) for name in ONE_GPU)])
def test_the_one_gpu_recipes_fit_their_gpus(name: str, limit: int) -> None:
    held = planned(name).memory
    assert all(size is not None and size < 0.9 * limit * GIB for size in held.values()), held


def test_a_setting_can_be_changed_from_outside(small: Path) -> None:
    changed = recipe.read(small, ["training.learning_rate=1e-5", "gate.rule=better", "run.beside=['seed_sft']"])
    assert changed.training.learning_rate == 1e-5
    assert changed.gate.rule == "better"
    assert changed.run.beside == ("seed_sft",)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "training.lr=1",
            r"training.lr: no such setting \(did you mean 'learning_rate'\?\); allowed: lea",
        ),
        ("training.zzz=1", r"training.zzz: no such setting; allowed: learning_rate"),
        ("learning_rate=1", r"write section.key=value \(did you mean training.learning_rate\?\)"),
        ("window=all", r"write section.key=value \(did you mean method.window\?\)"),
        ("zzz=1", r"--set zzz=1: write section.key=value$"),
        ("training.learning_rat=1", r"did you mean 'learning_rate'"),
        ("training.learning_rate=-1", r"training.learning_rate = -1: must be a number from 1e-12 to 1,000,000"),
        ("training.epochs=many", r"training.epochs = 'many': must be a number from 1e-06 to 10,000"),
        ("gate.rule=sometimes", r"gate.rule = 'sometimes': must be 'always', 'not_worse' or 'better'"),
        ("method.kind=spim", r"method.kind = 'spim': no such method \(did you mean 'spin'\?\)"),
        ("method.sampling.top_p=2", r"method.sampling: top_p = 2"),
        ("method.sampling=3", r"method.sampling = 3: must be a table of settings"),
        ("trainig.epochs=1", r"trainig: no such setting \(did you mean 'training'\?\)"),
        ("run.iterations.more=1", r"iterations is a single setting"),
        ("run.seed=-1", r"run.seed = -1: must be a whole number from 0 to 9,223,372,036,854,775,807"),
        ("training.learning_rate=nan", r"training.learning_rate = nan: must be a number"),
        ("training.Learning-Rate=1", r"no such setting \(did you mean 'learning_rate'\?\)"),
        ("training.max_grad_norm=1", r"no such setting \(did you mean 'max_gradient_norm'\?\)"),
        ("method.sampling.max_new_tokens=1", r"no such setting \(did you mean 'max_tokens'\?\)"),
        ("method.kind=SPIN", r"no such method \(did you mean 'spin'\?\)"),
        ("lr=1", r"--set lr=1: write section.key=value \(did you mean training.learning_rate\?\)"),
        ("rounds=3", r"\(did you mean run.iterations\?\)"),
        ("epoch=1", r"\(did you mean training.epochs\?\)"),
        (".x=1", r"write section.key=value"),
        ("run.iterations=true", r"run.iterations = True: must be a whole number from 1 to 1,000"),
    ],
)
def test_wrong_settings_are_named_with_what_is_allowed(small: Path, change: str, sentence: str) -> None:
    if change == "run.iterations.more=1":
        small.write_text(SMALL + "[run]\niterations = 2\n")
    with pytest.raises(ValueError, match=sentence):
        recipe.read(small, [change])


def read_aloud(path: Path, *changes: str) -> tuple[recipe.Recipe, list[str]]:
    """A changed recipe, and what was said of the change."""
    said: list[str] = []
    return recipe.read(path, changes, said.append), said


def test_another_kind_keeps_what_both_kinds_share_and_says_what_it_drops() -> None:
    found, said = read_aloud(SHIPPED["demo"], "method.kind=spin", "loss.kind=dpo", "benchmark.scorer.kind=implicit")
    old: Any = recipe.read(SHIPPED["demo"])
    assert found.loss == DPO(), "a beta of SimPO's is none of DPO's"
    assert "loss.kind=dpo drops settings of simpo: beta, gamma, nll_weight" in said
    assert "benchmark.scorer.kind=implicit drops settings of checks: function" in said
    assert getattr(found.benchmark, "samples", 0) == old.benchmark.samples, "only the scorer's kind was changed"


def test_a_setting_that_both_methods_have_stays(small: Path) -> None:
    small.write_text(SMALL.replace('kind = "spin"', 'kind = "synpo"\npairs = 7\nwindow = "last"'))
    found, said = read_aloud(small, "method.kind=seed_po")
    assert found.method.pairs == 7
    assert said == ["method.kind=seed_po drops settings of synpo: window"]


def test_a_setting_that_a_later_section_contradicts_is_refused() -> None:
    one, whole = "training.epochs=1", "training={learning_rate=1e-4, epochs=3}"
    with pytest.raises(ValueError, match=r"^--set training\.epochs=1: .*, given later, has 3"):
        recipe.read(recipe.shipped()["demo"], [one, whole])
    assert recipe.read(recipe.shipped()["demo"], [whole, one]).training.epochs == 1
    assert recipe.read(recipe.shipped()["demo"], [one, "training={learning_rate=1e-4}"]).training.epochs == 1


def test_dnpo_becomes_spin_without_what_it_alone_has() -> None:
    found, said = read_aloud(SHIPPED["dnpo-zephyr-7b"], "method.kind=spin")
    assert isinstance(found.method, SPIN)
    assert [sentence for sentence in said if not sentence.startswith("method.kind=spin drops settings of dnpo: ")] == []


def test_a_whole_section_comes_before_a_setting_of_it(small: Path) -> None:
    for changes in (["loss={kind='simpo'}", "loss.beta=3"], ["loss.beta=3", "loss={kind='simpo'}"]):
        assert recipe.read(small, changes).loss == SimPO(beta=3)


def test_a_setting_given_beside_another_kind_is_that_kinds_whatever_the_order() -> None:
    for changes in (["loss.kind=dpo", "loss.beta=0.3"], ["loss.beta=0.3", "loss.kind=dpo"]):
        assert recipe.read(SHIPPED["demo"], changes).loss == DPO(beta=0.3)
    with pytest.raises(ValueError, match=r"loss\.gamma: no such setting"):
        recipe.read(SHIPPED["demo"], ["loss.gamma=1", "loss.kind=dpo"])


def test_a_mistyped_setting_of_the_recipe_is_not_dropped_with_the_old_kinds(small: Path) -> None:
    small.write_text(SMALL.replace('kind = "dpo"', 'kind = "dpo"\nbta = 0.1'))
    with pytest.raises(ValueError, match=r"loss\.bta: no such setting"):
        recipe.read(small, ["loss.kind=simpo"])


def test_a_quoted_value_is_read_as_toml_and_a_bare_one_as_it_stands(small: Path) -> None:
    written = [r'engine.chat_template="one\ntwo"', r"engine.chat_template=one\ntwo"]
    read = [recipe.read(small, ["engine.kind=local", line]).engine for line in written]
    assert [getattr(engine, "chat_template", "") for engine in read] == ["one\ntwo", r"one\ntwo"]


def test_every_name_of_other_libraries_leads_to_a_setting() -> None:
    whole: Any = recipe.read(SHIPPED["demo"])
    parts = (whole.run, whole.model, whole.training, whole.method.sampling, whole.engine, whole.benchmark)
    assert set(ELSEWHERE.values()) <= {f.name for part in parts for f in fields(part)}
    assert not set(ELSEWHERE) & {f.name for part in parts for f in fields(part)}


@pytest.mark.parametrize(("name", "meant"), [("dmo", "'demo'"), ("smok", "'smoke'"), ("synpo-8b", "'synpo-llama3-8b'")])
def test_a_mistyped_recipe_is_guessed(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"'{name}': no such recipe \(did you mean {meant}\?\); give a .toml file"):
        recipe.find(name)


def test_a_missing_section_and_broken_toml_are_named(small: Path, tmp_path: Path) -> None:
    small.write_text(SMALL.replace('[loss]\nkind = "dpo"', ""))
    with pytest.raises(ValueError, match="loss: is missing"):
        recipe.read(small)
    small.write_text("[model\n")
    with pytest.raises(ValueError, match="is not valid TOML"):
        recipe.read(small)
    with pytest.raises(ValueError, match="no such recipe"):
        recipe.find("nothing-like-it")
    with pytest.raises(ValueError, match="no such recipe file"):
        recipe.find(str(tmp_path / "absent.toml"))


def test_files_beside_a_recipe_are_found_from_anywhere(small: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("")
    small.write_text(SMALL.replace('path = "embedded"', 'path = "mine.jsonl"'))
    assert recipe.read(small).seed.path == str(tmp_path / "mine.jsonl")
