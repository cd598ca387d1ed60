"""The environment of a run's processes: recorded once per process that differs, kept by old runs' absence, reported."""

import json
import platform
import re
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from small_run import EVIL, finished_run, make_run

from selfboost import load_run, results
from selfboost.report import write_report
from selfboost.results import environment as module
from selfboost.results.environment import Environment, continued, described, environment


def test_a_run_records_what_it_worked_with() -> None:
    (found,) = results.read(finished_run()).environments
    assert found.engine == "fake"
    assert found.python == platform.python_version()
    assert f"torch {version('torch')}" in found.libraries
    assert found.devices
    assert found.cpus >= 1
    assert load_run(finished_run()).environments == (found,)


def test_another_process_is_added_once_and_the_same_one_never() -> None:
    one = environment("local")
    other = replace(one, threads=one.threads + 1)
    assert continued((), one) == (one,)
    assert continued((one,), one) == (one,)
    assert continued((one,), other) == (one, other)
    assert continued((one, other), one) == (one, other, one)


def test_a_resumed_run_keeps_the_environments_before_it(tmp_path: Path) -> None:
    root = make_run(tmp_path)
    path = root / results.SUMMARY
    kept = json.loads(path.read_text())
    kept["environments"] = [asdict(Environment(selfboost="0.0.9", engine="fake", libraries=("torch 2.0",)))]
    path.write_text(json.dumps(kept))
    make_run(tmp_path)
    assert [each.selfboost for each in results.read(root).environments] == ["0.0.9", version("selfboost")]


def test_a_run_without_environments_opens_and_reports_none(tmp_path: Path) -> None:
    root = make_run(tmp_path)
    path = root / results.SUMMARY
    kept = json.loads(path.read_text())
    del kept["environments"]
    path.write_text(json.dumps(kept))
    assert results.read(root).environments == ()
    assert 'id="environment"' not in write_report(root).read_text()


def test_the_report_shows_it_folded_and_escaped(tmp_path: Path) -> None:
    root = make_run(tmp_path)
    path = root / results.SUMMARY
    kept = json.loads(path.read_text())
    kept["environments"].append({**kept["environments"][0], "devices": [EVIL]})
    path.write_text(json.dumps(kept))
    page = write_report(root).read_text()
    section = re.search(r'<section id="environment">.*?</section>', page, flags=re.DOTALL)
    assert section is not None
    assert "<details>" in section[0]
    assert "of its 2 processes, in order" in section[0]
    assert version("transformers") in section[0]
    assert EVIL not in page


def test_the_driver_is_read_where_linux_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "version"
    file.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(module, "DRIVER", file)
    assert module._driver(torch) == "NVIDIA 580.65.06, CUDA 13.0"
    monkeypatch.setattr(module, "DRIVER", tmp_path / "absent")
    assert module._driver(torch) == "CUDA 13.0"


def test_only_what_is_known_is_described() -> None:
    assert described(Environment(engine="fake")) == {"engine": "fake"}
    assert described(Environment(threads=2, cpus=8)) == {"PyTorch's CPU threads": "2 of 8 processors"}
