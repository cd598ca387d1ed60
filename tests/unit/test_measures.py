"""A benchmark of one's own: what it declares says how numbers are shown, which way is better, and what may decide."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from fake_recipes import run, write_recipe
from selfboost import recipe, store
from selfboost.measures import Declared, Measure, measures_of
from selfboost.plan import plan
from selfboost.records import Example, Model, Rated, Sampling
from selfboost.report import write_report
from selfboost.scorers import Scorer, unit_of
from selfboost.scorers.checks import Checks
from selfboost.scorers.implicit import Implicit
from selfboost.scorers.judge import Judge
from selfboost.scorers.reward_model import RewardModel
from selfboost.verbs import Verbs
from selfboost.views.sentences import headline
from selfboost.views.summary import summary
from selfboost.views.table import print_summary, table_cells

GATES = ("right", "mistakes")


@dataclass(frozen=True, kw_only=True)
class Own:
    """Whether an answer is right, and how many mistakes it makes; the fakes' good answers make none."""

    scorer: Scorer
    """What judges the answers."""
    forgets: bool = False
    """Declare one measure less than is rated."""
    greedy: str = "right"
    """What `right` is called."""

    @property
    def measures(self) -> Declared:
        mistakes = {"mistakes": Measure(title="mistakes per answer", unit="mistakes", better="lower")}
        right = Measure(title="right answers", unit=unit_of(self.scorer))
        return {self.greedy: right, **({} if self.forgets else mistakes)}

    def rate(self, run: Verbs, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        sampling = Sampling(samples=4, max_tokens=60)
        answers = run.sample(f"{split}-own", model, [example.prompt for example in examples], sampling)
        values = [verdict.value for verdict in run.score(f"{split}-own-scores", answers, self.scorer)]
        return [
            Rated(
                prompt=example.prompt.id,
                split=split,
                values={
                    self.greedy: tuple(values[4 * i : 4 * i + 4]),
                    "mistakes": tuple(3 * (1 - value) for value in values[4 * i : 4 * i + 4] if value is not None),
                },
            )
            for i, example in enumerate(examples)
        ]


def own(folder: Path) -> Path:
    """A recipe whose benchmark is that one."""
    run, gate = {"iterations": 3, "beside": ["seed_sft"]}, {"measure": "right"}
    path = write_recipe(folder, "spin", run=run, gate=gate, training={"learning_rate": 1.0})
    text = path.read_text().replace('kind = "held_out"\nsamples = 2', 'kind = "test_measures:Own"')
    path.write_text(text)
    return path


@pytest.fixture(scope="module", params=GATES)
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The same run, decided by what is better higher and by what is better lower."""
    folder = tmp_path_factory.mktemp(request.param)
    run(own(folder), folder / "run", f"gate.measure={request.param}", "gate.rule=not_worse", trust=__name__)
    return request.param, folder / "run"


def test_a_share_is_shown_in_percent_and_a_unit_by_its_name(
    measured: tuple[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, root = measured
    monkeypatch.setenv("COLUMNS", "200")
    told = summary(root)
    print_summary(root)
    shown, page = capsys.readouterr().out, write_report(root).read_text()
    value = told.iterations[-1].measures[gate].value
    assert value is not None
    if gate == "right":
        assert "held-out right answers (%)" in shown
        assert f"{100 * value:.1f}  [" in shown
        assert f" to {100 * value:.1f} %, " in headline(told)
        assert re.search(r"before.*· \d+\.0 % on average", page)
    else:
        assert "held-out mistakes per answer (mistakes, lower is better)" in shown
        assert f" to {value:.2f} mistakes, " in headline(told)
        assert re.search(r"before.*· \d\.\d\d mistakes on average", page)
    assert headline(told).replace("<", "&lt;") in page
    assert "right answers (%)" in page
    assert "mistakes per answer (mistakes, lower is better)" in page


def test_less_of_what_is_better_lower_is_an_improvement(measured: tuple[str, Path]) -> None:
    """One is the other turned round: both runs promote the same, and say better of the same."""
    gate, root = measured
    told = summary(root)
    _, rows = table_cells(told)
    for entry, row in zip(told.iterations[1:], rows[1:], strict=False):
        gain = entry.measures[gate]
        assert gain.gain_low is not None
        assert gain.gain_high is not None
        assert gain.gain is not None
        up = gain.gain if gate == "right" else -gain.gain
        clear = gain.gain_low * gain.gain_high > 0
        assert row[2].verdict == ("" if not clear else "better" if up > 0 else "worse")
    wins = [entry.measures["win_rate"] for entry in told.iterations[1:]]
    for entry, before, won in zip(told.iterations[1:], told.iterations, wins, strict=False):
        better = [new.measures["right"].value for new in (entry, before)]
        assert None not in better
        if better[0] != better[1]:
            assert won.value is not None
            assert (won.value > 0.5) == (better[0] > better[1])  # type: ignore[operator]
    words = headline(told)
    last = told.policy
    assert last is not None
    row = last.measures["right"]
    assert row.gain_low is not None
    assert ("the policy improved" in words) == (row.gain_low > 0)


def test_both_directions_make_the_same_run(tmp_path: Path) -> None:
    for gate in GATES:
        run(
            own(tmp_path / gate), tmp_path / gate / "run", f"gate.measure={gate}", "gate.rule=not_worse", trust=__name__
        )
    one, other = (summary(tmp_path / gate / "run") for gate in GATES)
    assert [i.decision for i in one.iterations] == [i.decision for i in other.iterations]
    for mine, theirs in zip(one.iterations[1:], other.iterations[1:], strict=True):
        assert mine.measures["win_rate"].value == pytest.approx(theirs.measures["win_rate"].value)
    assert one.measure("mistakes") == Measure(title="mistakes per answer", unit="mistakes", better="lower")
    assert one.measure("win_rate").share


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["gate.measure=rigth"],
            r"^gate.measure = 'rigth': the benchmark has no such measure \(did you mean 'right'\?\)",
        ),
        (
            ["gate.measure=sampled"],
            r"^gate.measure = 'sampled': the benchmark has no such measure; allowed: right, mist",
        ),
        (
            ["benchmark.greedy=win_rate"],
            r"^benchmark.kind: Own declares a measure 'win_rate', a name reserved for the run",
        ),
        (["benchmark={kind='test_measures:Silent'}"], r"^benchmark.kind: Silent must declare `measures`"),
    ],
)
def test_what_a_benchmark_does_not_declare_is_refused_by_check(
    tmp_path: Path, settings: list[str], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        plan(recipe.read(own(tmp_path), settings, trust=__name__))


@dataclass(frozen=True, kw_only=True)
class Silent:
    """It says nothing of its measures."""

    def rate(self, run: Verbs, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        return []


def test_a_measure_that_is_rated_but_not_declared_is_its_author_s_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"benchmark.kind: Own rated right, mistakes, but declares right"):
        run(own(tmp_path), tmp_path / "run", "benchmark.forgets=true", trust=__name__)


def test_scorers_say_their_unit() -> None:
    check = Checks(function="selfboost.engines.fake:is_good")
    assert [unit_of(scorer) for scorer in (check, Judge(), RewardModel(), object())] == [
        "share", "points", "score", "score",
    ]  # fmt: skip
    assert [unit_of(Implicit()), unit_of(Implicit(over="mean"))] == ["nats", "nats per token"]


def test_units_are_no_settings(tmp_path: Path) -> None:
    """They must not enter what a stage is known by."""
    run(write_recipe(tmp_path, "seed_sft"), tmp_path / "run")
    card = next(card for card in store.cards(tmp_path / "run") if card.verb == "measure")
    assert "unit" not in str(card.parts)
    assert "title" not in str(card.parts)


def test_a_measure_without_any_value_is_named() -> None:
    rated = [Rated(prompt="p", split="held_out", values={"right": (None, None)})]
    with pytest.raises(ValueError, match="held_out: the measure 'right' has no value for any prompt"):
        measures_of(rated, rated, None, ("right", Measure(title="right answers")), seed=0)
