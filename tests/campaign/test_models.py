"""Odd and damaged model folders: `check` and a run's opening end with success or one sentence, and agree with each other."""

import os
import shutil
from itertools import islice
from pathlib import Path

import pytest
from odd_models import Oddity, mutated, named, save_whole
from trial import fault_of, run_command, told

from fake_recipes import write_recipe
from selfboost import recipe
from selfboost.engines import Request
from selfboost.plan import plan
from selfboost.records import Message, Model, Sampling

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"))
SECONDS = 60.0
MUTATED = 40
LOCAL = {"engine": {"kind": "local", "device": "cpu"}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whole(tmp_path_factory.mktemp("models") / "whole")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"), "seed_sft", **LOCAL)


def opened(path: Path, folder: Path) -> None:
    """What a run does with a model first: it opens it and samples."""
    engine = recipe.read(path).engine
    with engine.open(Model(name="initial", path=str(folder), fingerprint="m")) as sampler:
        asked = sampler.tokenizer.prompt_ids([Message(role="user", content="w1 w2")])
        dict(sampler.sample([Request(prompt_ids=asked, sampling=Sampling(max_tokens=2), seed=0)]))


def fault(path: Path, folder: Path) -> str:
    wrong, refused = fault_of(lambda: plan(recipe.read(path, [f"model.path={folder}"])), SECONDS)
    if wrong:
        return wrong
    wrong, outcome = fault_of(lambda: opened(path, folder), SECONDS)
    if not wrong and isinstance(outcome, ValueError) and not isinstance(refused, ValueError):
        return f"check finds nothing, but a run would end with: {outcome}"
    return wrong


def faults_of(path: Path, whole: Path, oddities: list[Oddity], tmp_path: Path) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for oddity in oddities:
        folder = oddity.make(whole, tmp_path / "model")
        if wrong := fault(path, folder):
            found.append((f"{oddity.name}: {wrong}", ["check", str(path), "--set", f"model.path={folder}"]))
        shutil.rmtree(folder)
    return found


def test_named_oddities(path: Path, whole: Path, tmp_path: Path) -> None:
    faults = faults_of(path, whole, named(), tmp_path)
    assert not faults, told(faults)
