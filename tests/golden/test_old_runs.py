"""Run folders that version 0.1.0 wrote: they open, and finished stages are reused."""

import tarfile
from pathlib import Path

import pytest

from fake_recipes import run
from selfboost.records import Pair
from selfboost.report import write_report
from selfboost.store import cards, read_rows
from selfboost.views.pair_view import print_pair
from selfboost.views.summary import print_summary, summary

ARCHIVE = Path(__file__).parent / "runs-0.1.0.tar.xz"
METHODS = ("synpo", "dnpo")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.mark.parametrize("method", METHODS)
def test_an_old_folder_is_shown_and_reported(old: Path, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = old / method / "run"
    found = summary(root)
    assert [entry["decision"] for entry in found["iterations"]] == ["initial", "promoted", "promoted"]
    print_summary(root)
    assert "promoted: validation sampled" in capsys.readouterr().out
    page = write_report(root).read_text()
    told = {"synpo": ["passed the filter", "beta"], "dnpo": ["Self-play", "chosen"]}[method]
    assert all(words in page for words in told)


@pytest.mark.parametrize("method", METHODS)
def test_a_pair_of_an_old_folder_is_shown(old: Path, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = old / method / "run"
    card = next(card for card in cards(root) if card.verb == "prefer")
    pair = read_rows(root, card, Pair)[0]
    print_pair(root, pair.id)
    assert pair.id in capsys.readouterr().out


@pytest.mark.parametrize("method", METHODS)
def test_an_old_folder_is_resumed_without_computing_anything_again(old: Path, method: str) -> None:
    root = old / method / "run"
    before = summary(root)
    heard = run(old / method / "recipe.toml", root)
    assert heard.started_stages == []
    assert {name.partition("/")[0] for name in heard.reused_stages} >= {"prepare", "iteration-1", "iteration-2"}
    after = summary(root)
    for name in ("decision", "why", "measures", "validation"):
        assert [entry[name] for entry in after["iterations"]] == [entry[name] for entry in before["iterations"]]
