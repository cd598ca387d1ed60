"""Run folders that version 0.1.0 wrote: they open, and finished stages are reused."""

import tarfile
from pathlib import Path
from typing import Any

import pytest

from fake_recipes import run
from selfboost.measures import Measure
from selfboost.methods.parts.beta_search import BetaSearched
from selfboost.methods.parts.distributions import Movement
from selfboost.methods.parts.improver import ImproverSeeds
from selfboost.methods.parts.labelling import Labels, Scores
from selfboost.methods.parts.pairing import Filtered, GoldPairs
from selfboost.methods.parts.synthetic_preferences import PairYield
from selfboost.notes import Kept
from selfboost.prompts.generator import WrittenPrompts
from selfboost.records import Pair
from selfboost.report import write_report
from selfboost.store import cards, read_rows
from selfboost.views.pair_view import print_pair
from selfboost.views.summary import summary
from selfboost.views.table import print_summary

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
    assert [entry.decision for entry in found.iterations] == ["initial", "promoted", "promoted"]
    assert found.measure("sampled") == Measure(title="score of sampled answers", unit="share")
    assert found.measure("length").unit == "tokens"
    assert found.measure("win_rate").share
    print_summary(root)
    shown = capsys.readouterr().out
    assert "promoted: validation score of sampled answers" in shown
    assert "percentage points" in shown
    page = write_report(root).read_text()
    told = {"synpo": ["passed the filter", "beta"], "dnpo": ["Self-play", "chosen"]}[method]
    assert all(words in page for words in told)


def test_the_notes_of_old_folders_are_read_as_those_of_new_ones(old: Path) -> None:
    synpo, dnpo = (summary(old / method / "run").iterations[2] for method in METHODS)
    wanted = (ImproverSeeds, WrittenPrompts, Filtered, PairYield, BetaSearched)
    assert [type(synpo.note(kind)) for kind in wanted] == list(wanted)
    assert set(synpo.notes) == {kind.kept_as for kind in wanted}
    searched, passed, filtered = synpo.note(BetaSearched), synpo.note(PairYield), synpo.note(Filtered)
    assert searched is not None
    assert (searched.measure, set(searched.tried)) == ("sampled", {"2", "4"})
    assert passed is not None
    assert filtered is not None
    assert passed.pass_rate == pytest.approx(filtered.counts["kept"] / filtered.counts["candidates"], abs=1e-4)
    labels = Labels(gold_chosen=5, generated_chosen=5, no_pair={}, ties=0, unscored=0, changed=5)
    assert dnpo.note(Labels) == labels
    scores = Scores(gold_mean=0, generated_mean=-0.109688, generated_beats_gold=0.5, ties=0, without_a_value=0)
    assert dnpo.note(Scores) == scores
    moved = dnpo.note(Movement)
    assert moved is not None
    assert moved.kl_to_previous is not None
    assert moved.kl_to_previous.low == pytest.approx(-1.4511328)
    assert moved.moves is None, "what tells whether a policy moved was not kept then"
    first = summary(old / "dnpo" / "run").iterations[1]
    assert first.note(GoldPairs) == GoldPairs(counts={"kept": 10})


@pytest.mark.parametrize("method", METHODS)
def test_a_pair_of_an_old_folder_is_shown(old: Path, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = old / method / "run"
    card = next(card for card in cards(root) if card.verb == "prefer")
    pair = read_rows(root, card, Pair)[0]
    print_pair(root, pair.id)
    assert pair.id in capsys.readouterr().out


def of_both(notes: Kept, others: Kept) -> Kept:
    """The notes that both have, with those of their fields that both have."""
    assert notes.keys() == others.keys()
    return {
        name: {field: rounded(note[field]) for field in note if field in others[name]} for name, note in notes.items()
    }


def rounded(value: Any) -> Any:
    """Its real numbers to nine digits: another release of numpy may differ in the last ones."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return float(f"{value:.9g}") if isinstance(value, float) else value


@pytest.mark.parametrize("method", METHODS)
def test_an_old_folder_is_resumed_without_computing_anything_again(old: Path, method: str) -> None:
    root = old / method / "run"
    before = summary(root)
    heard = run(old / method / "recipe.toml", root, "gate.rule=always")
    assert heard.started_stages == []
    assert {name.partition("/")[0] for name in heard.reused_stages} >= {"prepare", "iteration-1", "iteration-2"}
    after = summary(root)
    for name in ("decision", "why", "measures", "validation"):
        assert [getattr(entry, name) for entry in after.iterations] == [getattr(e, name) for e in before.iterations]
    if method == "dnpo":
        old_notes, new_notes = ([entry.notes for entry in each.iterations] for each in (before, after))
        assert [of_both(new, old) for new, old in zip(new_notes, old_notes, strict=True)] == [
            of_both(old, new) for new, old in zip(new_notes, old_notes, strict=True)
        ]
        assert after.iterations[1].note(Movement) != before.iterations[1].note(Movement), (
            "measured since by other means"
        )
