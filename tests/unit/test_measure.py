"""`selfboost measure MODEL` on stand-ins: figures, stored results, two models compared, and what is refused."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_recipes import write_recipe
from selfboost import Measure, store
from selfboost.cli import main
from selfboost.engines.fake import FakeModel, write_fake
from selfboost.measuring.measurement import measure
from selfboost.measuring.paired import MCNEMAR, SIGN_FLIP, compare_ratings
from selfboost.measuring.request import MeasureRequest, planned
from selfboost.measuring.stored import figures_of, read, write
from selfboost.records import Rated
from selfboost.stages import Silent
from selfboost.statistics import holm, mcnemar_p
from selfboost.views.comparison import compare

FAKES = (
    *("--set", "engine.kind=fake", "--set", "trainer.kind=fake"),
    *("--set", "benchmark.scorer={kind = 'checks', function = 'selfboost.engines.fake:is_good'}"),
    *("--set", "benchmark.samples=2", "--set", "benchmark.max_tokens=80"),
)
HELD_OUT = ("--benchmark", "held_out", *FAKES)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts without answers, and a more skilled fake model."""
    folder = tmp_path_factory.mktemp("place")
    lines = [json.dumps({"prompt": f"say word {i} twice"}) for i in range(30)]
    (folder / "prompts.jsonl").write_text("\n".join(lines))
    (folder / "skilled").mkdir()
    write_fake(folder / "skilled", FakeModel(name="skilled", skill=0.95, lineage=("test",)))
    return folder


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence of a refused command."""
    assert command(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    last = said.err.strip().splitlines()[-1]
    assert last.startswith("selfboost: "), said.err
    return last


def test_one_model_as_json_and_in_a_file(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "fake.json"
    assert command("measure", "fake", *HELD_OUT, "--seed", place / "prompts.jsonl", "--to", file, "--json") == 0
    found, stored = json.loads(capsys.readouterr().out), read(file)
    assert {"metric", "value", "low", "high", "n"} <= found["sampled"].keys()
    assert found["sampled"]["n"] == len(stored.items) == 30
    assert found["sampled"]["unit"] == "share"
    by_hand = np.mean([np.mean([v for v in item.values["sampled"] if v is not None]) for item in stored.items])
    assert found["sampled"]["value"] == stored.figures["sampled"].value == pytest.approx(float(by_hand))
    assert found["sampled"]["low"] < found["sampled"]["value"] < found["sampled"]["high"]
    assert stored.environment.engine == "fake"
    assert stored.model.name == "fake"
    assert stored.stages["measured/all-sampled"].parts["prompts"]
    assert stored.stages["measured/all-sampled-scores"].parts["scorer"]["kind"] == "checks"
    assert stored.against is None


def test_two_models_beside_each_other_and_as_two_files(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command for both models gives the differences of two stored results compared."""
    data = ("--seed", place / "prompts.jsonl")
    both, one, other = (tmp_path / f"{name}.json" for name in ("both", "one", "other"))
    assert command("measure", place / "skilled", *HELD_OUT, *data, "--against", "fake", "--to", both, "--json") == 0
    found = json.loads(capsys.readouterr().out)["greedy"]
    assert command("measure", "fake", *HELD_OUT, *data, "--to", one) == 0
    assert command("measure", place / "skilled", *HELD_OUT, *data, "--to", other) == 0
    capsys.readouterr()
    assert command("compare", one, other, "--json") == 0
    gap = json.loads(capsys.readouterr().out)["greedy"]
    assert found["difference"] == gap["difference"] == pytest.approx(found["value"] - found["against"])
    assert (found["difference_low"], found["difference_high"]) == (gap["low"], gap["high"])
    assert gap["low"] > 0
    assert (gap["test"], gap["n"], gap["over"]) == (MCNEMAR, 30, "items")
    assert found["p"] == gap["p"] < 0.05
    nested = read(both)
    assert nested.against is not None
    assert nested.against.items == read(one).items
    assert nested.items == read(other).items


def test_the_tables_fit_eighty_columns(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(place)
    assert command("measure", "skilled", *HELD_OUT, "--seed", "prompts.jsonl", "--against", "fake") == 0
    said = capsys.readouterr()
    assert max(map(len, said.out.splitlines()[1:])) <= 80
    for words in ("score of greedy answers (%)", "minus fake, 95 % intervals over items", "p (Holm)", "McNemar"):
        assert words in said.out
    assert "measured/all-greedy" in said.err
    assert "all-greedy" not in said.out


def test_a_kept_folder_is_resumed(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("measure", "fake", *HELD_OUT, "--seed", place / "prompts.jsonl", "--into", tmp_path / "work", "--json")
    assert command(*arguments) == 0
    first = capsys.readouterr()
    assert command(*arguments) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "reused 4 finished stages" in again.err


def test_settings_and_prompts_of_a_recipe(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("measure", "fake", "--benchmark", "held_out", "--recipe", write_recipe(tmp_path), "--json")
    assert command(*arguments) == 0
    assert json.loads(capsys.readouterr().out)["sampled"]["n"] == 4, "its held-out prompts"
    assert command(*arguments, "--seed", place / "prompts.jsonl") == 0
    assert json.loads(capsys.readouterr().out)["sampled"]["n"] == 30


def test_what_a_command_cannot_mean_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ("--seed", place / "prompts.jsonl")
    (tmp_path / "own.json").write_text("{}")
    (tmp_path / "empty.jsonl").write_text("")
    cases: list[tuple[tuple[object, ...], str]] = [
        ((*HELD_OUT, *data), "give a MODEL to measure"),
        (("fake", *HELD_OUT), "benchmark.kind = 'held_out': has no prompts of its own; give --seed DATA"),
        (("fake", *HELD_OUT, *data, "--against", "fake"), "--against fake: is the very model that is measured"),
        (("fake", *HELD_OUT, *data, "--against", "nowhere"), "'nowhere' is not a fake model"),
        ((place, *HELD_OUT, *data), "is not a fake model"),
        (("fake", *HELD_OUT, "--seed", tmp_path / "absent.jsonl"), "no such file"),
        (("fake", *HELD_OUT, "--seed", tmp_path / "empty.jsonl"), "empty.jsonl"),
        (("fake", "--benchmark", "heldout", *data), "benchmark.kind = 'heldout': no such benchmark"),
        (("fake", "--benchmark", "held_out", *data), "benchmark.scorer: is missing"),
        (("fake", *HELD_OUT, *data, "--tasks", "x"), "benchmark.tasks: no such setting"),
        (("fake", *HELD_OUT, *data, "--recipe", "nowhere"), "'nowhere': no such recipe"),
        (("fake", *HELD_OUT, *data, "--set", "benchmark.sample=1"), "benchmark.sample: no such setting"),
        (("fake", *HELD_OUT, *data, "--to", tmp_path / "own.json"), "exists and is no measurement"),
        (("fake", *HELD_OUT, *data, "--to", tmp_path / "no" / "x.json"), "there is no folder"),
        (("fake", "--benchmark", "alpaca_eval", "--judgments", "x"), "counts what was judged already; leave out MODEL"),
        (("--benchmark", "held_out", "--judgments", "x"), "only those of alpaca_eval can be counted"),
    ]
    for arguments, words in cases:
        assert words in refused(capsys, "measure", *arguments), arguments


def test_a_runs_folder_is_no_place_to_measure_in(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text("{}")
    data = ("--seed", place / "prompts.jsonl")
    assert "is a run's folder; choose another --into" in refused(
        capsys, "measure", "fake", *HELD_OUT, *data, "--into", tmp_path
    )


OWN = """
from dataclasses import dataclass
from selfboost import Measure, Rated


@dataclass(frozen=True, kw_only=True)
class Mine:
    opponent: str = "initial"

    @property
    def own_items(self):
        return True

    @property
    def measures(self):
        return {"won": Measure(title="won", unit="share")}

    def rate(self, run, model, examples, split):
        assert not examples
        other = run.model(self.opponent)
        print("rating", model.path, "against", other.path)
        skills = [1.0, 0.0] if model.fingerprint != other.fingerprint else [0.5, 0.5]
        return [Rated(prompt=f"own-{i}", split=split, values={"won": (skill,)}) for i, skill in enumerate(skills)]
"""
STAND_INS = ("--set", "engine.kind=fake", "--set", "trainer.kind=fake")


@pytest.fixture
def mine(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The arguments for a benchmark of one's own, with items of its own and an opponent."""
    name = f"mine_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return ("--benchmark", f"{name}:Mine", "--trust", name, *STAND_INS)


def test_the_other_model_is_the_opponent_of_a_benchmark_that_has_one(
    mine: tuple[str, ...], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("measure", "fake", *mine, "--against", place / "skilled") == 0
    said = capsys.readouterr().out
    assert said.count("rating") == 1
    assert f"rating fake against {place / 'skilled'}" in said
    assert "minus" not in said, "its value is the comparison"
    assert "benchmark.opponent = 'initial'" in refused(capsys, "measure", "fake", *mine)
    named = ("--set", f"benchmark.opponent={place / 'skilled'}")
    assert command("measure", "fake", *mine, *named) == 0


def test_a_benchmark_with_items_of_its_own_wants_no_prompts(
    mine: tuple[str, ...], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--against", place / "skilled", "--seed", place / "prompts.jsonl")
    assert "has items of its own; leave it out" in refused(capsys, "measure", "fake", *mine, *data)
    untrusted = [word for word in mine if (word != "--trust" and not word.startswith("mine_")) or ":" in word]
    assert "would import the module" in refused(capsys, "measure", "fake", *untrusted)


# Stored results.


def stored(place: Path, tmp_path: Path, name: str, *settings: str) -> Path:
    request = MeasureRequest(
        model="fake", benchmark="held_out", seed=str(place / "prompts.jsonl"), settings=(*FAKES[1::2], *settings)
    )
    write(tmp_path / name, measure(planned(request, print), tmp_path / f"work-{name}", Silent()))
    return tmp_path / name


def test_a_stored_result_reads_back_as_it_was_written(place: Path, tmp_path: Path) -> None:
    file = stored(place, tmp_path, "a.json")
    before = file.read_bytes()
    write(file, read(file))
    assert file.read_bytes() == before


def test_what_cannot_be_compared_is_refused(place: Path, tmp_path: Path) -> None:
    one, other = stored(place, tmp_path, "a.json"), stored(place, tmp_path, "b.json", "benchmark.samples=3")
    with pytest.raises(ValueError, match=r"measured differently \(benchmark.samples\)"):
        compare(one, other)
    with pytest.raises(ValueError, match=r"a.json is a file and .* is not"):
        compare(one, tmp_path)
    changed = json.loads(one.read_text())
    changed["items"] = [{**item, "prompt": f"p-{i}"} for i, item in enumerate(changed["items"])]
    (tmp_path / "c.json").write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="have no item in common"):
        compare(one, tmp_path / "c.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda kept: "[]", "is not a stored measurement"),
        (lambda kept: "{", "is damaged"),
        (lambda kept: json.dumps({**kept, "format": "selfboost measurement 9"}), "is not a stored measurement"),
        (lambda kept: json.dumps({**kept, "items": 3}), r"is damaged \(items:"),
        (lambda kept: json.dumps({**kept, "items": [{**kept["items"][0], "values": {}}]}), "other measures than"),
    ],
)
def test_a_damaged_result_is_named(change: Any, words: str, place: Path, tmp_path: Path) -> None:
    file = stored(place, tmp_path, "a.json")
    file.write_text(change(json.loads(file.read_text())))
    with pytest.raises(ValueError, match=words):
        read(file)


def test_the_stages_are_a_runs_own(place: Path, tmp_path: Path) -> None:
    stored(place, tmp_path, "a.json")
    names = {card.name for card in store.cards(tmp_path / "work-a.json" / "model")}
    assert names == {f"measured/all-{part}" for part in ("sampled", "sampled-scores", "greedy", "greedy-scores")}


# Figures and tests.

DECLARED = {name: Measure(title=name, unit="share", metric="acc") for name in ("one", "two", "two/more")}


def rated(item: int, **values: float) -> Rated:
    found = {name: (values[key],) if (key := name.replace("/", "_")) in values else () for name in DECLARED}
    return Rated(prompt=str(item), split="all", values=found)


def test_an_item_counts_for_its_own_tasks_alone() -> None:
    items = [*(rated(i, one=float(i < 3)) for i in range(4)), *(rated(i, two=0.5, two_more=1) for i in range(4, 10))]
    found = figures_of(DECLARED, items)
    assert [(found[name].n, found[name].missing, found[name].value) for name in DECLARED] == [
        (4, 0, 0.75),
        (6, 0, 0.5),
        (6, 0, 1.0),
    ]
    assert found["two/more"].low is not None
    assert found["two/more"].low < 1, "six right ones do not prove that all are"


def test_each_task_has_mcnemars_test_and_holm_holds_for_all() -> None:
    old = [*(rated(i, one=float(i % 2)) for i in range(20)), *(rated(i, two=0.0, two_more=0.0) for i in range(20, 30))]
    new = [*(rated(i, one=1.0) for i in range(20)), *(rated(i, two=float(i < 24), two_more=1.0) for i in range(20, 30))]
    found = compare_ratings(DECLARED, old, new)
    p_values = [mcnemar_p(10, 0), mcnemar_p(4, 0)]
    assert [found["one"].difference.p, found["two"].difference.p] == p_values
    assert [found["one"].p_holm, found["two"].p_holm] == holm(p_values)
    assert found["two/more"].p_holm is None, "the task's other metric is no claim of its own"
    assert [each.test for each in found.values()] == [MCNEMAR] * 3
    assert found["one"].difference.value == pytest.approx(0.5)
    assert found["two"].difference.count == 10


def test_values_that_are_not_verdicts_are_tested_by_sign_flips() -> None:
    old, new = [rated(i, two=0.2) for i in range(8)], [rated(i, two=0.2 + 0.01 * i) for i in range(8)]
    found = compare_ratings(DECLARED, old, new)["two"]
    assert found.test == SIGN_FLIP
    assert found.difference.p == pytest.approx(2 * 2 / 2**8), "the 0 may have either sign"
    assert math.isclose(found.difference.value, 0.035)
