"""Odd and damaged model folders: `check` and a run's opening end with success or one sentence, and agree.

What `check` accepts opens and samples; a sample of it is really run.
"""

import os
import random
import shutil
from itertools import islice
from pathlib import Path

import pytest
from odd_models import Oddity, mutated, named, save_whole
from trial import fault_of, run_command, told

from fake_recipes import write_recipe
from selfboost import recipe
from selfboost.engines import Request, rendering
from selfboost.plan import plan
from selfboost.records import Message, Model, Sampling

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"))
SECONDS = 60.0
SOME, MUTATED, MANY, RUN = 14, 10, 700, 12
LOCAL = {
    "run": {"iterations": 1},
    "engine": {"kind": "local", "device": "cpu"},
    "trainer": {"kind": "local", "device": "cpu"},
    "benchmark": {"samples": 1, "greedy": False, "max_tokens": 4},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whole(tmp_path_factory.mktemp("models") / "whole")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"), "seed_sft", **LOCAL)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "TEMPLATE_SECONDS", 1.0)


def opened(path: Path, folder: Path) -> None:
    """What a run does with a model first: it opens it and samples."""
    engine = recipe.read(path).engine
    with engine.open(Model(name="initial", path=str(folder), fingerprint="m")) as sampler:
        asked = sampler.tokenizer.prompt_ids([Message(role="user", content="w1 w2")])
        dict(sampler.sample([Request(prompt_ids=asked, sampling=Sampling(max_tokens=2), seed=0)]))


def fault(path: Path, folder: Path) -> tuple[str, bool]:
    """(what goes wrong with a folder, or an empty text; whether `check` accepts it)."""
    wrong, refused = fault_of(lambda: plan(recipe.read(path, [f"model.path={folder}"])), SECONDS)
    if wrong:
        return wrong, False
    accepted = not isinstance(refused, ValueError)
    wrong, outcome = fault_of(lambda: opened(path, folder), SECONDS)
    if not wrong and isinstance(outcome, ValueError) and accepted:
        return f"check finds nothing, but a run would end with: {outcome}", True
    return wrong, accepted


def command(name: str, path: Path, folder: Path) -> list[str]:
    return [name, str(path), "--set", f"model.path={folder}"]


def faults_of(path: Path, whole: Path, oddities: list[Oddity], tmp_path: Path) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for oddity in oddities:
        folder = oddity.make(whole, tmp_path / "model")
        wrong, _ = fault(path, folder)
        if wrong:
            found.append((f"{oddity.name}: {wrong}", command("check", path, folder)))
        shutil.rmtree(folder)
    return found


def test_some_odd_models_are_checked_and_opened(path: Path, whole: Path, tmp_path: Path) -> None:
    some = random.Random(SEED).sample(named(), SOME)
    faults = faults_of(path, whole, [*some, *islice(mutated(whole, SEED), MUTATED)], tmp_path)
    assert not faults, told(faults)


def test_a_whole_model_is_accepted(path: Path, whole: Path) -> None:
    assert fault(path, whole) == ("", True)


@pytest.mark.slow
def test_all_odd_models_are_checked_and_opened(path: Path, whole: Path, tmp_path: Path) -> None:
    faults = faults_of(path, whole, [*named(), *islice(mutated(whole, SEED + 1), MANY)], tmp_path)
    assert not faults, told(faults)


@pytest.mark.slow
def test_what_check_accepts_is_run_or_refused_in_a_sentence(path: Path, whole: Path, tmp_path: Path) -> None:
    faults: list[tuple[str, list[str]]] = []
    ran = 0
    for number, oddity in enumerate(random.Random(SEED).sample(named(), len(named()))):
        if ran == RUN:
            break
        folder = oddity.make(whole, tmp_path / f"model-{number}")
        wrong, accepted = fault(path, folder)
        if accepted and not wrong:
            ran += 1
            line = [*command("run", path, folder), "--into", str(tmp_path / f"run-{number}")]
            if wrong := run_command(line, SECONDS):
                faults.append((f"{oddity.name}: {wrong}", line))
    assert not faults, told(faults)
    assert ran == RUN
