"""The check list for a GPU, on the CPU and in miniature: its parts run, its rows are whole, its time is limited."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEYS = {"name", "status", "reason", "numbers", "ratio", "seconds"}


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are found where they are."""
    monkeypatch.syspath_prepend(str(ROOT))


def test_two_parts_run_in_miniature(tmp_path: Path) -> None:
    from benchmarks import gpu
    from benchmarks.gpu_parts import ROUGH, SPREADS, Case

    for name, number, bound in (("sampling_bf16", "mean_nats", ROUGH), ("scoring", "apart_spreads", SPREADS)):
        (tmp_path / name).mkdir()
        row = gpu.outcome(name, Case(device="cpu", quick=True, folder=tmp_path / name))
        assert (row["status"], row["reason"]) == ("ok", ""), row
        assert 0 <= row["numbers"][number] <= bound
        assert (row["ratio"] is None) == (name == "sampling_bf16")


def test_what_cannot_run_here_and_what_goes_wrong_are_rows_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import gpu, gpu_parts

    case = gpu_parts.Case(device="cpu", quick=True, folder=tmp_path)
    assert gpu.outcome("flex", case)["reason"] == "FlexAttention is compiled for a GPU alone"

    def breaks(_case: object) -> None:
        raise AssertionError("0.2 nats apart, 0.03 is allowed")

    def lacks(_case: object) -> None:
        import no_such_library  # noqa: F401

    monkeypatch.setattr(gpu, "PARTS", {"breaks": breaks, "lacks": lacks})
    row = gpu.outcome("breaks", case)
    assert (row["status"], row["reason"]) == ("failed", "AssertionError: 0.2 nats apart, 0.03 is allowed")
    row = gpu.outcome("lacks", case)
    assert (row["status"], row["reason"]) == ("skipped", "no_such_library is not installed")


def test_parts_that_there_is_no_time_for_are_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import gpu
    from benchmarks.gpu_parts import PARTS

    gpu.main(["--device", "cpu", "--quick", "--seconds", "1", "--json", str(tmp_path / "rows.json")])
    found = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["name"], row["status"], row["reason"]) for row in found["rows"]] == [
        (name, "skipped", "time") for name in PARTS
    ]
    assert all(row.keys() == KEYS for row in found["rows"])
    assert found["card"]
    assert found["versions"]["python"] == sys.version.split()[0]
    assert found["command"][:3] == ["python", "-m", "benchmarks.gpu"]
    assert "| packs | skipped | time |" in capsys.readouterr().out


def test_without_a_gpu_it_says_how_to_try_it() -> None:
    import torch
    from benchmarks import gpu

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(SystemExit, match="no GPU is visible to PyTorch; --device cpu --quick"):
        gpu.main([])


@pytest.mark.slow
def test_the_whole_list_runs_in_miniature(tmp_path: Path) -> None:
    from benchmarks import gpu
    from benchmarks.gpu_parts import PARTS

    gpu.main(["--device", "cpu", "--quick", "--json", str(tmp_path / "rows.json")])
    found = json.loads((tmp_path / "rows.json").read_text())
    status = {row["name"]: row["status"] for row in found["rows"]}
    assert list(status) == list(PARTS)
    assert set(status.values()) <= {"ok", "skipped"}, found["rows"]
    assert status["flex"] == "skipped"
    assert status["packs"] == "ok"
    assert found["seconds"] < 560
