"""SPIN and DNPO: one line switches between them, schedules go by iteration, the record says what was trained how."""

from pathlib import Path
from typing import Any

import pytest

from fake_recipes import Heard, run, summary, write_recipe
from selfboost import recipe, store
from selfboost.records import Answer, Pair
from selfboost.run import Run

QUIET: dict[str, Any] = {"method__distributions": {"pairs": 0, "prompts": 0}}


class Played:
    """A finished run."""

    def __init__(self, folder: Path, method: str, /, *settings: str, trust: str = "", **sections: Any) -> None:
        self.root = folder / "run"
        path = write_recipe(folder, method, **{"run": {"iterations": 3}} | QUIET | sections)
        self.heard = run(path, self.root, *settings, trust=[trust] if trust else ())
        self.iterations: list[dict[str, Any]] = summary(self.root)["iterations"]

    def card(self, stage: str) -> store.StageCard:
        card = store.read_card(self.root / "stages" / stage)
        assert card is not None, stage
        return card

    def rows(self, stage: str, kind: type[Any]) -> list[Any]:
        return store.read_rows(self.root, self.card(stage), kind)

    def pairs(self, iteration: int) -> list[Pair]:
        return self.rows(f"iteration-{iteration}/policy", Pair)

    def by_iteration(self, part: str, name: str) -> list[Any]:
        """A setting of the policy's training in every iteration."""
        return [self.card(f"iteration-{t}/policy").parts[part][name] for t in range(1, len(self.iterations))]


def sides(pairs: list[Pair]) -> list[tuple[str, str]]:
    return [(pair.chosen.text, pair.rejected.text) for pair in pairs]


@pytest.mark.parametrize(("method", "counts"), [("spin", [10, 20, 20]), ("dnpo", [10, 10, 10])])
def test_windows(method: str, counts: list[int], tmp_path: Path) -> None:
    played = Played(tmp_path, method)
    assert [i["pairs"] for i in played.iterations[1:]] == [len(played.pairs(t)) for t in (1, 2, 3)] == counts


def test_one_line_switches_between_them(tmp_path: Path) -> None:
    """DNPO's recipe, labelling, noise and all, is SPIN's too, which has neither."""
    spin = Played(tmp_path / "spin", "dnpo", "method.kind=spin")
    assert [noise["scale"] for noise in spin.by_iteration("loss", "noise")] == [0, 0, 0]
    assert not [stage for stage in spin.heard.started_stages if stage.endswith(("own-scores", "gold-scores"))]
    for t in (1, 2, 3):
        assert {pair.chosen.model for pair in spin.pairs(t)} == {"given"}
        assert spin.iterations[t]["notes"] == {"pairs": {"counts": {"kept": 10}}}


def test_dnpo_without_its_two_parts_is_spin(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"loss": {"kind": "dpo"}, "scorer": {"policy": "seed_sft"}}
    spin = Played(tmp_path / "spin", "spin", "method.window=last", **shared)
    bare = Played(tmp_path / "dnpo", "dnpo", "method.noise=none", "method.labels=gold", **shared)
    for t in (1, 2, 3):
        assert bare.card(f"iteration-{t}/policy").fingerprint == spin.card(f"iteration-{t}/policy").fingerprint


def test_noise_is_asked_of_a_loss_of_ones_own_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "someones_losses.py").write_text(
        "from dataclasses import dataclass, field, replace\n"
        "from selfboost.losses.dpo import DPO\n"
        "from selfboost.losses.noise_settings import Noise\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Loud(DPO):\n"
        "    noise: Noise = field(default_factory=lambda: Noise(scale=0.25))\n"
        "    def with_noise(self, noise):\n        return replace(self, noise=noise)\n"
        "    def noise_losses(self, scores):\n        raise NotImplementedError\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    played = Played(tmp_path, "dnpo", trust="someones_losses", loss={"kind": "someones_losses:Loud"})
    assert [noise["scale"] for noise in played.by_iteration("loss", "noise")] == [0.0, 0.25, 0.25]
    facts = [played.card(f"iteration-{t}/policy").notes.get("facts", {}).get("noise_scale") for t in (1, 2, 3)]
    assert facts == [None, 0.25, 0.25]


@pytest.mark.parametrize(
    ("setting", "noises"),
    [
        ("method.noise=trained", [(0.0, True), (1.0, True), (1.0, True)]),
        ("method.noise=fixed", [(0.0, True), (1.0, False), (1.0, False)]),
        ("method.noise=none", [(0.0, True)] * 3),
        ("method.plain_iterations=0", [(1.0, True)] * 3),
        ("method.plain_iterations=2", [(0.0, True), (0.0, True), (1.0, True)]),
        ("method.labels=gold", [(0.0, True), (1.0, True), (1.0, True)]),
    ],
)
def test_ablations_are_one_line_each(setting: str, noises: list[tuple[float, bool]], tmp_path: Path) -> None:
    played = Played(tmp_path, "dnpo", setting)
    assert [(noise["scale"], noise["trained"]) for noise in played.by_iteration("loss", "noise")] == noises
    plain = int(setting.partition("plain_iterations=")[2] or 1)
    for t in (1, 2, 3):
        labelled = t > plain and setting != "method.labels=gold"
        assert ("labels" in played.iterations[t]["notes"]) == labelled
        assert ("pairs" in played.iterations[t]["notes"]) == (not labelled)
        assert all((pair.gap is not None) == labelled for pair in played.pairs(t))


def test_a_threshold_that_nothing_reaches_makes_spins_pairs(tmp_path: Path) -> None:
    never = Played(tmp_path / "dnpo", "dnpo", "method.labelling.threshold=1e9", "method.noise=none")
    spin = Played(tmp_path / "spin", "dnpo", "method.kind=spin", "method.window=last")
    for t in (1, 2):  # the scores make other pairs of them, so that the third iteration has another draw
        assert sides(never.pairs(t)) == sides(spin.pairs(t))
    always = Played(tmp_path / "flipped", "dnpo", "method.labelling.threshold=-inf", "method.noise=none")
    assert sides(always.pairs(1)) == sides(spin.pairs(1))
    assert sides(always.pairs(2)) == [(rejected, chosen) for chosen, rejected in sides(spin.pairs(2))]


def test_schedules_go_by_iteration_and_the_last_value_goes_on(tmp_path: Path) -> None:
    method = {"betas": [0.1, 5.0], "learning_rates": [5e-7, 1e-7], "stop_after": [0, 1, 2]}
    played = Played(tmp_path, "spin", method=method, training={"epochs": 2}, run={"iterations": 4})
    assert played.by_iteration("loss", "beta") == [0.1, 5.0, 5.0, 5.0]
    assert played.by_iteration("training", "learning_rate") == [5e-7, 1e-7, 1e-7, 1e-7]
    assert played.by_iteration("training", "stop_after") == [0, 1, 2, 2]
    assert played.by_iteration("training", "epochs") == [2, 2, 2, 2]


def test_without_schedules_loss_and_training_are_the_recipes(tmp_path: Path) -> None:
    played = Played(tmp_path, "spin", loss={"beta": 0.3}, training={"learning_rate": 1e-5})
    assert played.by_iteration("loss", "beta") == [0.3] * 3
    assert played.by_iteration("training", "learning_rate") == [1e-5] * 3


@pytest.mark.parametrize(
    ("method", "sections", "sentence"),
    [
        (
            "dnpo",
            {"loss": {"kind": "dpo"}},
            'method.noise = "trained" needs loss.kind = "noise_preference"; with method.noise = "none" any loss works',
        ),
        ("dnpo", {"loss": {"kind": "dpo"}, "method": {"noise": "fixed"}}, 'method.noise = "fixed" needs loss.kind'),
        (
            "spin",
            {"loss": {"kind": "bradley_terry"}},
            "loss.kind: BradleyTerry trains a reward model, not a policy; allowed: consistency_dpo, dpo, ipo, ",
        ),
        (
            "spin",
            {"benchmark__scorer": {"kind": "likelihod"}},
            r"benchmark.scorer.kind = 'likelihod': no such scorer \(did you mean 'likelihood'\?\)",
        ),
        (
            "dnpo",
            {"loss__noise": {"scale": 0.0}},
            'method.noise = "trained" but loss.noise.scale = 0 turns the noise off: set a scale above 0, or',
        ),
        (
            "spin",
            {"loss": {"kind": "ipo"}, "method": {"betas": [0.1]}},
            "method.betas: the loss ipo has no beta; leave betas out",
        ),
        (
            "spin",
            {"method": {"stop_after": [1, 3]}, "training": {"epochs": 2}},
            r"method.stop_after = \[1.*, 3.*\]: each must be at most training.epochs = 2",
        ),
        ("spin", {"method__sampling": {"samples": 2}}, r"method: sampling.samples = 2: must be 1"),
        (
            "spin",
            {"method": {"betas": [0.0]}},
            r"method.betas = \[0.0\]: must be a list; each item must be a number from 1e-12 to 1,000,000",
        ),
        ("dnpo", {"method": {"plain_iterations": -1}}, r"method.plain_iterations = -1"),
    ],
)
def test_what_does_not_fit_is_said_before_any_work(method: str, sections: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        Run(recipe.read(write_recipe(tmp_path, method, **sections)), tmp_path / "run", Heard())


def test_without_noise_any_loss_will_do(tmp_path: Path) -> None:
    played = Played(tmp_path, "dnpo", "method.noise=none", loss={"kind": "simpo"})
    assert "labels" in played.iterations[2]["notes"]


def test_an_iteration_can_take_a_part_of_the_seeds(tmp_path: Path) -> None:
    asked: dict[int, list[list[str]]] = {}
    for prompts in (0, 4, 10, 99):
        played = Played(tmp_path / str(prompts), "dnpo", method={"prompts": prompts})
        answers = [played.rows(f"iteration-{t}/own-answers", Answer) for t in (1, 2, 3)]
        asked[prompts] = [[answer.prompt.id for answer in own] for own in answers]
        assert [len(played.pairs(t)) for t in (1, 2, 3)] == [min(prompts or 10, 10)] * 3
    assert asked[0] == asked[10] == asked[99]
    assert len({frozenset(ids) for ids in asked[4]}) > 1, "other prompts in other iterations"
    assert all(len(set(ids)) == 4 and set(ids) < set(asked[0][0]) for ids in asked[4])


def test_a_kept_incumbent_is_who_answers_starts_and_refers(tmp_path: Path) -> None:
    played = Played(tmp_path, "dnpo", gate={"rule": "better"})
    assert [i["decision"] for i in played.iterations[1:]] == ["kept"] * 3
    initial = played.card("iteration-1/policy").parts["start"]
    for t in (1, 2, 3):
        parts = played.card(f"iteration-{t}/policy").parts
        assert (parts["start"], parts["reference"]) == (initial, initial)
        assert {answer.model for answer in played.rows(f"iteration-{t}/own-answers", Answer)} == {initial}


def test_generations_can_be_scored_for_the_record_alone(tmp_path: Path) -> None:
    bare, scored = (
        Played(tmp_path / value, "spin", f"method.score_generations={value}", scorer={"policy": "seed_sft"})
        for value in ("false", "true")
    )
    for t in (1, 2, 3):
        assert bare.pairs(t) == scored.pairs(t)
        assert set(scored.iterations[t]["notes"]) == {"pairs", "scores"}
    assert set(scored.heard.started_stages) - set(bare.heard.started_stages) == {
        "prepare/gold-scores",
        "prepare/seed_sft",
        *(f"iteration-{t}/own-scores" for t in (1, 2, 3)),
    }


def test_changed_labels_are_counted_alike_when_a_run_goes_on(tmp_path: Path) -> None:
    whole = Played(tmp_path / "whole", "dnpo")
    folder = tmp_path / "parts"
    Played(folder, "dnpo", run={"iterations": 2})
    later = Played(folder, "dnpo", run={"iterations": 3})
    assert not [stage for stage in later.heard.started_stages if stage.startswith(("iteration-1/", "iteration-2/"))]
    assert [i["notes"] for i in later.iterations] == [i["notes"] for i in whole.iterations]
    assert later.iterations[3]["notes"]["labels"]["changed"] > 0
