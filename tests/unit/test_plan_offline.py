"""A plan asks the hub for nothing, and leaves the process as it was."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fake_recipes import write_recipe
from selfboost import recipe
from selfboost.plan import plan
from selfboost.plan.offline import SWITCH, offline

REFUSING = """
import os, socket, sys
def refuse(*given, **more):
    raise AssertionError("a plan opened a connection")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from selfboost import recipe
from selfboost.plan import plan
found = plan(recipe.read(recipe.find("dnpo-zephyr-7b"), ["seed.limit=100", "run.iterations=1"]))
from huggingface_hub import constants
print(len(found.stages) > 0, os.environ.get("HF_HUB_OFFLINE"), constants.HF_HUB_OFFLINE)
"""


@pytest.mark.parametrize(
    ("value", "left"),
    [
        pytest.param(None, "True None False", marks=pytest.mark.slow),
        ("0", "True 0 False"),
        pytest.param("1", "True 1 True", marks=pytest.mark.slow),
    ],
)
def test_a_plan_opens_no_connection_and_leaves_the_switch_as_it_was(value: str | None, left: str) -> None:
    kept = {name: v for name, v in os.environ.items() if name not in (SWITCH, "TRANSFORMERS_OFFLINE")}
    environment = kept | ({SWITCH: value} if value else {})
    done = subprocess.run([sys.executable, "-c", REFUSING], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == left


def test_inside_the_library_refuses_requests_and_afterwards_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setattr(constants, SWITCH, False)
    with offline():
        assert (os.environ[SWITCH], constants.is_offline_mode()) == ("1", True)
        with pytest.raises(LocalEntryNotFoundError):
            hf_hub_download("owner/no-such-model", "config.json")
    assert (os.environ.get(SWITCH), constants.is_offline_mode()) == (None, False)


def test_the_switch_comes_back_where_a_plan_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    path = write_recipe(tmp_path, "spin", model={"path": "/no/where"})
    with pytest.raises(ValueError, match="/no/where"):
        plan(recipe.read(path))
    assert SWITCH not in os.environ
