"""Notes: kept under one rule, read back as they were written, by those who know their class and by those who do not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_recipes import run, write_recipe
from selfboost.method import Method
from selfboost.methods.parts.pairing import Filtered
from selfboost.methods.self_rewarding import Judgements
from selfboost.notes import Counts, Note, Notebook, kept, read_note
from selfboost.records import Model
from selfboost.report import write_report
from selfboost.verbs import Verbs
from selfboost.views.summary import summary

NUMBERS = st.floats(allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class RollingKLShift(Note):
    """A note of somebody's own."""

    mean_shift: float
    rounds_played: int = 3
    comment: str = "all is well"
    tries: Mapping[str, float] = field(default_factory=dict)
    missing: float | None = None


@dataclass(frozen=True, kw_only=True)
class Oddities(Counts, decided_by="method.oddity"):
    """Counts of somebody's own."""


@dataclass(frozen=True, kw_only=True)
class Other(Note, kept_as="oddities"):
    """Another note under the same name."""

    count: int = 0


@dataclass(frozen=True, kw_only=True)
class Noting(Method):
    """A method that notes and stays."""

    def iterate(self, run: Verbs) -> Model:
        run.note(RollingKLShift(mean_shift=0.25, tries={"first": 0.5}))
        run.count(Oddities, {"odd <b>": 2, "even": 0})
        run.count(Oddities, {"odd <b>": 1})
        return run.previous


def test_a_note_of_one_s_own_is_kept_read_back_and_shown(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "spin", run={"iterations": 1})
    run(path, tmp_path / "run", "method.kind=test_notes:Noting", trust=__name__)
    entry = summary(tmp_path / "run").iterations[1]
    assert entry.note(RollingKLShift) == RollingKLShift(mean_shift=0.25, tries={"first": 0.5})
    assert entry.note(Oddities) == Oddities(counts={"odd <b>": 3})
    assert entry.note(Other) == Other()
    assert summary(tmp_path / "run").iterations[0].note(Oddities) is None
    page = write_report(tmp_path / "run").read_text()
    for part in (
        "<figcaption>rolling kl shift</figcaption>",
        '<td>mean shift</td><td class="number">0.25</td>',
        '<td>rounds played</td><td class="number">3</td>',
        '<td>comment</td><td class="number">all is well</td>',
        '<td>tries</td><td class="number">first 0.5</td>',
        "<figcaption>oddities: what became of them</figcaption>",
        'odd &lt;b&gt;</th><td class="number">3</td>',
    ):
        assert part in page, part


def test_a_name_is_the_class_s_in_snake_case_unless_it_says_another() -> None:
    assert [kind.kept_as for kind in (RollingKLShift, Oddities, Other)] == ["rolling_kl_shift", "oddities", "oddities"]


def test_two_kinds_under_one_name_are_refused() -> None:
    book = Notebook()
    book.count(Oddities, {"odd": 1})
    with pytest.raises(ValueError, match="note 'oddities': both Oddities and Other are kept under this name"):
        book.note(Other())


def test_a_notebook_says_why_nothing_is_left_and_what_to_change() -> None:
    book = Notebook()
    assert (book.nothing_left, book.kept) == ("", {})
    book.count(Oddities, {})
    assert book.get(Oddities) is None
    book.count(Oddities, {"too odd": 1, "kept": 2})
    book.note(RollingKLShift(mean_shift=1 / 3))
    assert book.nothing_left == "2 of 3 oddities were kept (too odd: 1); look at method.oddity"
    book.count(Filtered, {"candidates": 24_000, "repetitive": 1, "score gap below the threshold": 23_999})
    assert book.nothing_left == (
        "none of 24,000 candidate pairs was kept (score gap below the threshold: 23,999, repetitive: 1); "
        "lower method.filter.threshold, or scorer.threshold where it is not set"
    )
    assert Judgements(counts={"replies": 9, "without points": 5}).kept == 4
    assert Filtered(counts={"candidates": 3, "kept": 3}).nothing_left == ""


@given(NUMBERS, st.integers(), st.text(), st.dictionaries(st.text(), NUMBERS), st.none() | NUMBERS)
def test_what_json_gives_back_is_the_note(
    mean: float, rounds: int, comment: str, tries: dict[str, float], missing: float | None
) -> None:
    note = RollingKLShift(mean_shift=mean, rounds_played=rounds, comment=comment, tries=tries, missing=missing)
    stored = json.loads(json.dumps({note.kept_as: kept(note)}))
    assert read_note(stored, RollingKLShift) == note
    assert ("missing" in stored[note.kept_as]) == (missing is not None)


@pytest.mark.parametrize("found", [None, "text", [1], 3, {}, {"mean_shift": "far"}, {"mean shift": 1.0}])
def test_what_is_no_such_note_is_none(found: object) -> None:
    assert read_note({"rolling_kl_shift": found}, RollingKLShift) is None
    assert read_note({}, RollingKLShift) is None
