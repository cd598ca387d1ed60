"""The loop: who is promoted and why, who the next iteration starts with, when it ends, what is measured beside."""

import dataclasses
import importlib
import linecache
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fake_recipes import Heard, run, summary, write_recipe
from selfboost import recipe, store
from selfboost.drift.passes import Passes
from selfboost.gate import BestSoFar, decide, too_far, worsened
from selfboost.loop import boost
from selfboost.measures import Measure
from selfboost.plan import plan
from selfboost.records import Answer, Model, Origin, Rated, user_prompt
from selfboost.settings import Gate
from selfboost.train import Sequenced
from selfboost.train.fake import Fake


def rated(*values: float | None, measure: str = "sampled") -> list[Rated]:
    return [Rated(prompt=f"p-{i}", split="validation", values={measure: (v,)}) for i, v in enumerate(values)]


BASE = [0.0, 1.0] * 30
UP = [1.0] * 40 + BASE[40:]
DOWN = [0.0] * 40 + BASE[40:]
HIGHER, LOWER = Measure(title="score"), Measure(title="mistakes", better="lower")


@pytest.mark.parametrize(
    ("rule", "new", "promoted"),
    [
        ("always", UP, True),
        ("always", DOWN, True),
        ("not_worse", UP, True),
        ("not_worse", BASE, True),
        ("not_worse", DOWN, False),
        ("better", UP, True),
        ("better", BASE, False),
        ("better", DOWN, False),
    ],
)
def test_the_gate_decides_by_its_rule_and_says_what_it_saw(rule: Any, new: list[float], promoted: bool) -> None:
    promote, why = decide(Gate(rule=rule), HIGHER, rated(*new), rated(*BASE), seed=0)
    assert promote == promoted
    gain = sum(new) / len(new) - sum(BASE) / len(BASE)
    assert why.startswith(f"validation sampled {gain:+.3f} [")
    assert "against the incumbent; " in why


@pytest.mark.parametrize("rule", ["not_worse", "better"])
@pytest.mark.parametrize("new", [UP, BASE, DOWN])
def test_where_lower_is_better_the_gate_decides_as_of_the_negative(rule: Any, new: list[float]) -> None:
    gate, old = Gate(rule=rule), rated(*(-value for value in BASE))
    promote, why = decide(gate, LOWER, rated(*(-value for value in new)), old, seed=0)
    assert promote == decide(gate, HIGHER, rated(*new), rated(*BASE), seed=0)[0]
    assert why.endswith(
        "promoted only if the interval is below 0" if rule == "better" else "refused only if the interval is above 0.01"
    )


def test_the_margin_forgives_a_small_loss() -> None:
    slightly = [value - 0.02 for value in BASE]
    assert not decide(Gate(rule="not_worse", margin=0.01), HIGHER, rated(*slightly), rated(*BASE), seed=0)[0]
    assert decide(Gate(rule="not_worse", margin=0.03), HIGHER, rated(*slightly), rated(*BASE), seed=0)[0]


def test_a_prompt_without_a_value_counts_on_neither_side() -> None:
    holes = [None, *UP[1:]]
    assert (
        decide(Gate(rule="better"), HIGHER, rated(*holes), rated(*BASE), seed=0)[1]
        == (decide(Gate(rule="better"), HIGHER, rated(*UP[1:]), rated(*BASE[1:]), seed=0)[1])
    )


def test_a_guard_that_got_worse_is_named() -> None:
    guards = {"sampled": HIGHER}
    said = worsened(guards, rated(*DOWN), rated(*BASE), seed=0)
    assert re.fullmatch(r"the guard sampled -0\.333 \[-0\.\d+, -0\.\d+\] got worse", said)
    assert (
        worsened(guards, rated(*UP), rated(*BASE), seed=0) == worsened(guards, rated(*BASE), rated(*BASE), seed=0) == ""
    )
    lower = [rated(*(-value for value in values)) for values in (UP, DOWN, BASE)]
    assert worsened({"sampled": LOWER}, lower[0], lower[2], seed=0) == ""
    assert worsened({"sampled": LOWER}, lower[1], lower[2], seed=0)


def slide(gate: Gate, measure: Measure, falls: Sequence[float]) -> list[str]:
    """What is said of each of a row of candidates, which all come to stand if the gate says nothing."""
    best, said = BestSoFar(gate, {"sampled": measure}), list[str]()
    for number, fall in enumerate(falls):
        new = rated(*(value - measure.sign * fall for value in BASE))
        said.append(best.objection(new, f"policy-{number - 1}", seed=0))
        if not said[-1]:
            best.stands(f"policy-{number}", new)
    return said


@pytest.mark.parametrize("measure", [HIGHER, LOWER])
def test_small_falls_do_not_add_up_behind_the_gate(measure: Measure) -> None:
    """Each is within the margin of the one before; the third is not within that of the first."""
    said = slide(Gate(margin=0.05), measure, [0.0, 0.04, 0.08, 0.03])
    assert said[:2] == ["", ""]
    worse = -0.08 * measure.sign
    assert said[2].startswith(f"it is worse than the best policy so far: sampled {worse:+.3f} [{worse:+.3f}, ")
    assert said[2].endswith(" against policy-0")
    assert said[3] == ""  # as good as the best, within the margin


def test_what_the_best_policy_is_follows_the_policies_that_stand() -> None:
    assert slide(Gate(margin=0.05), HIGHER, [0.0, -0.5, -0.48])[2] == ""
    assert slide(Gate(margin=0.05), HIGHER, [0.0, -0.5, -0.46, -0.42])[3].endswith(" against policy-1")


def test_guards_have_a_best_policy_too_and_other_rules_compare_nothing_else_with_it() -> None:
    assert slide(Gate(rule="always"), HIGHER, [0.0, 0.5, 0.9]) == ["", "", ""]
    guarded = Gate(rule="always", guards=("sampled",))
    assert slide(guarded, HIGHER, [0.0, 0.0, 0.01])[2].endswith("sampled -0.010 [-0.010, -0.010] against policy-0")
    assert slide(guarded, HIGHER, [0.0, -0.1, 0.0])[2] == ""  # worse than the incumbent: said by the guard itself


@dataclass(frozen=True, kw_only=True)
class Trading:
    """The candidate wins on one measure and loses on another."""

    measures: ClassVar = {"sampled": HIGHER, "other": HIGHER}

    def rate(self, run: Any, model: Model, examples: Sequence[Any], split: str) -> list[Rated]:
        better = float(model.name != "initial")
        noise = [0.1 * (at % 3) for at in range(len(examples))]
        return [
            Rated(prompt=e.prompt.id, split=split, values={"sampled": (better + n,), "other": (n - better,)})
            for e, n in zip(examples, noise, strict=True)
        ]


@pytest.mark.parametrize(("guards", "decision"), [([], "promoted"), (["other"], "kept")])
def test_an_improvement_that_costs_a_guard_is_not_promoted(guards: list[str], decision: str, tmp_path: Path) -> None:
    sections = {"run": {"iterations": 1}, "gate": {"rule": "better"}}
    path = write_recipe(tmp_path, "seed_sft", **sections)
    gate = Gate(rule="better", guards=tuple(guards))
    made = dataclasses.replace(recipe.read(path), benchmark=Trading(), gate=gate)
    boost(made, tmp_path / "run", Heard())
    last = summary(tmp_path / "run")["iterations"][-1]
    assert last["decision"] == decision
    assert ("not promoted: the guard other -1" in last["why"]) == bool(guards)


@dataclass(frozen=True, kw_only=True)
class Sliding:
    """Each new policy is a little worse than the one before."""

    measures: ClassVar = {"sampled": HIGHER}
    seen: list[str] = dataclasses.field(default_factory=list[str])

    def rate(self, run: Any, model: Model, examples: Sequence[Any], split: str) -> list[Rated]:
        if model.name not in self.seen:
            self.seen.append(model.name)
        value = -0.04 * self.seen.index(model.name)
        return [Rated(prompt=e.prompt.id, split=split, values={"sampled": (value,)}) for e in examples]


def test_a_run_does_not_slide_down_behind_its_gate(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, run={"iterations": 4, "patience": 9}, gate={"rule": "not_worse", "margin": 0.05})
    sliding = Sliding()
    boost(dataclasses.replace(recipe.read(path), benchmark=sliding), tmp_path / "run", Heard())
    entries = summary(tmp_path / "run")["iterations"]
    assert [entry["decision"] for entry in entries] == ["initial", "promoted", "kept", "kept", "kept"]
    assert entries[2]["why"].endswith(
        "not promoted: it is worse than the best policy so far: sampled -0.080 [-0.080, -0.080] against initial"
    )


def passes(*divergences: float | None) -> Passes:
    answers = [given(f"prompt {at}") for at in range(len(divergences))]
    return Passes(samples=answers, gold=(), gold_logps=(), k1=divergences)


def given(text: str) -> Answer:
    prompt = user_prompt(text, Origin(source="seed"))
    return Answer(prompt=prompt, text="an answer", prompt_ids=(1,), token_ids=(2, 3))


def test_a_candidate_beyond_the_largest_divergence_is_held_back_and_told_by_how_much() -> None:
    bound = Gate(largest_divergence=0.5)
    said = too_far(bound, passes(1.0, 2.0, None), seed=0)
    assert said == (
        "its KL divergence to the initial model is 0.75 nats per token, above gate.largest_divergence = 0.5"
    )
    assert too_far(bound, passes(1.0, 1.0), seed=0) == ""  # 0.5 itself is within
    assert too_far(Gate(), passes(9.0, 9.0), seed=0) == ""
    assert too_far(bound, passes(9.0), seed=0) == too_far(bound, None, seed=0) == ""  # nothing was measured


@pytest.mark.parametrize(("bound", "decision"), [(1e-9, "kept"), (1e6, "promoted")])
def test_the_run_promotes_nothing_that_moved_too_far(bound: float, decision: str, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, run={"iterations": 1}, gate={"rule": "always"})
    bounds = ("run.drift={prompts=5}", f"gate.largest_divergence={bound}")
    boost(recipe.read(path, bounds), tmp_path / "run", Heard())
    last = summary(tmp_path / "run")["iterations"][-1]
    assert last["decision"] == decision
    assert ("not promoted: its KL divergence" in last["why"]) == (decision == "kept")


def test_a_bound_on_the_divergence_needs_the_drift_panel(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, gate={"largest_divergence": 0.5})
    with pytest.raises(ValueError, match=r"gate.largest_divergence = 0.5: .* set run.drift.prompts above 0"):
        recipe.read(path)


def test_a_bound_on_the_divergence_changes_no_plan(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, run={"iterations": 1})
    drift = "run.drift={prompts=5}"
    bare, bound = (plan(recipe.read(path, (drift, *more))) for more in ((), ("gate.largest_divergence=0.5",)))
    assert bound.stages == bare.stages


def test_a_guard_that_the_benchmark_lacks_is_refused(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, gate={"guards": ["lenght"]})
    with pytest.raises(ValueError, match=r"gate.guards = 'lenght': .*allowed: greedy, sampled, ended"):
        recipe.read(path)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Four validation prompts can prove no gain: nothing is promoted, and patience ends the run."""
    folder = tmp_path_factory.mktemp("stopped")
    sections = {"run": {"iterations": 5, "patience": 2, "beside": ["seed_sft", "fake"]}, "gate": {"rule": "better"}}
    run(write_recipe(folder, "spin", **sections), folder / "run")
    return folder / "run", summary(folder / "run")


def test_patience_ends_a_run_without_gain(stopped: tuple[Path, dict[str, Any]]) -> None:
    root, told = stopped
    assert [i["decision"] for i in told["iterations"]] == ["initial", "kept", "stopped"]
    assert [i["iteration"] for i in told["iterations"]] == [0, 1, 2]
    assert {i["policy"] for i in told["iterations"]} == {"fake"}
    assert told["status"] == "finished"
    assert not (root / "stages" / "iteration-3").exists()


def test_the_next_iteration_starts_with_the_incumbent_not_with_the_candidate(
    stopped: tuple[Path, dict[str, Any]],
) -> None:
    root, told = stopped
    cards = {card.name: card for card in store.cards(root)}
    for t in (1, 2):
        assert cards[f"iteration-{t}/policy"].parts["start"] == cards["iteration-0/measure-held_out"].parts["model"]
        assert (
            cards[f"iteration-{t}/own-answers"].parts["model"] == cards["iteration-0/measure-held_out"].parts["model"]
        )
    assert told["iterations"][2]["pairs"] == 20


def test_gains_are_against_the_first_model_and_wins_against_the_incumbent(
    stopped: tuple[Path, dict[str, Any]],
) -> None:
    _, told = stopped
    first = told["iterations"][0]["measures"]
    assert "win_rate" not in first
    assert first["sampled"]["gain"] == 0
    for iteration in told["iterations"][1:]:
        for name, measure in iteration["measures"].items():
            if name == "win_rate":
                assert 0 <= measure["low"] <= measure["value"] <= measure["high"] <= 1
            else:
                assert measure["low"] <= measure["value"] <= measure["high"]
                assert measure["gain"] == pytest.approx(measure["value"] - first[name]["value"])


def test_models_beside_are_measured_like_the_policy(stopped: tuple[Path, dict[str, Any]]) -> None:
    root, told = stopped
    assert [found["name"] for found in told["beside"]] == ["seed_sft", "fake"]
    tuned, same = told["beside"]
    assert tuned["policy"] == "stages/prepare/seed_sft/model"
    assert (root / tuned["policy"]).is_dir()
    assert tuned["measures"].keys() == told["iterations"][0]["measures"].keys()
    assert same["measures"].keys() == tuned["measures"].keys()


def test_promotion_hands_the_candidate_on(tmp_path: Path) -> None:
    root = tmp_path / "run"
    run(write_recipe(tmp_path, "spin", run={"iterations": 2}), root)
    told = summary(root)["iterations"]
    assert [i["policy"] for i in told] == ["fake", *(f"stages/iteration-{t}/policy/model" for t in (1, 2))]
    assert all((root / i["policy"] / "fake.json").exists() for i in told[1:])
    assert [i["agreement"] for i in told] == [0.0] * 3


def test_more_iterations_go_on_where_fewer_ended(tmp_path: Path) -> None:
    path, root = write_recipe(tmp_path, "spin"), tmp_path / "run"
    first = run(path, root, "run.iterations=1")
    more = run(path, root, "run.iterations=2")
    assert first.started_stages
    assert all(stage.startswith("iteration-2/") for stage in more.started_stages)


@dataclass(frozen=True, kw_only=True)
class Shifted(Fake):
    """A trainer that sees other log-probabilities than the sampler, as with other weights."""

    by: float = 0.1
    """How far off, in nats per token."""

    def logps(self, model: Model, sequences: Sequence[Sequenced]) -> Iterator[tuple[float, ...]]:
        return (tuple(value - self.by for value in row) for row in Fake.logps(self, model, sequences))


def test_a_sampler_with_other_weights_than_the_trainer_is_found_out(tmp_path: Path) -> None:
    shifted = {"trainer": {"kind": "test_loop:Shifted"}}
    path = write_recipe(tmp_path, "spin", **shifted)
    with pytest.raises(
        ValueError, match=r"initial: log-probabilities .* differ by 0.1 nats per token.*run.agreement = 0.05"
    ):
        run(path, tmp_path / "run", trust=__name__)
    run(path, tmp_path / "more", "run.agreement=0.2", "run.iterations=1", trust=__name__)
    assert summary(tmp_path / "more")["iterations"][1]["agreement"] == pytest.approx(0.1)


def test_a_resumed_run_checks_agreement_as_the_first_did(tmp_path: Path) -> None:
    path, root = write_recipe(tmp_path, "seed_sft"), tmp_path / "run"
    run(path, root)
    once = summary(root)
    assert run(path, root).started_stages == []
    assert summary(root) == once
    assert all(i["agreement"] is not None for i in once["iterations"])


def test_no_pairs_is_one_sentence_with_the_counts(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "synpo", scorer={"threshold": 1e9})
    with pytest.raises(ValueError, match="there are no pairs to train on") as error:
        run(path, tmp_path / "run")
    assert re.fullmatch(
        r"iteration-1/policy: there are no pairs to train on: none of 24 candidate pairs was kept \(score gap below "
        r"the threshold: \d+.*\); lower method.filter.threshold, or scorer.threshold where it is not set",
        str(error.value),
    )


def test_a_run_that_breaks_off_says_why_in_its_folder(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, method={"prompts": 2, "pairs": 2}, method__filter={"threshold": 1e9})
    with pytest.raises(ValueError, match="no pairs to train on") as error:
        run(path, tmp_path / "run")
    told = summary(tmp_path / "run")
    assert (told["status"], told["error"]) == ("failed", str(error.value))
    assert len(told["iterations"]) == 1
    run(path, tmp_path / "run", "method.filter.threshold=-1e9", "method.prompts=24")
    assert summary(tmp_path / "run")["status"] == "finished"
    assert "error" not in summary(tmp_path / "run")


def test_what_a_training_lacks_is_said_before_any_work(tmp_path: Path) -> None:
    clash = {"kind": "local", "sharding": True}
    path = write_recipe(tmp_path, "spin", trainer=clash, training={"lora_rank": 4})
    with pytest.raises(ValueError, match=r"trainer.sharding = true shards full fine-tuning"):
        run(path, tmp_path / "run")
    assert not (tmp_path / "run" / "stages").exists()


def test_the_run_keeps_the_whole_recipe_and_reads_it_again_to_the_same_run(tmp_path: Path) -> None:
    path, root = write_recipe(tmp_path / "here", "spin", run={"iterations": 1}), tmp_path / "run"
    run(path, root)
    heard: Heard = run(root / "recipe.toml", root)
    assert heard.started_stages == []


def test_a_rerun_that_cannot_start_leaves_the_story_of_the_old_run(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "spin")
    run(path, tmp_path / "run")
    before = {name: (tmp_path / "run" / name).read_bytes() for name in ("run.json", "recipe.toml")}
    with pytest.raises(ValueError, match="no such file"):
        run(path, tmp_path / "run", "seed.path=nope.jsonl")
    assert {name: (tmp_path / "run" / name).read_bytes() for name in before} == before


MARKED = "from selfboost import check_function\n\n@check_function\n"


def test_a_users_own_check_that_changes_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    own = tmp_path / "own_check_of_a_test.py"
    own.write_text(MARKED + "def check(prompt, answer): return True\n")
    setting = "benchmark.scorer={kind='checks',function='own_check_of_a_test:check'}"
    path = write_recipe(tmp_path, "spin")
    run(path, tmp_path / "run", setting, trust="own_check_of_a_test")
    assert summary(tmp_path / "run")["iterations"][0]["measures"]["sampled"]["value"] == 1
    own.write_text(
        MARKED + "def check(prompt, answer): return False  # of another length, so that Python reads it again\n"
    )
    monkeypatch.delitem(sys.modules, "own_check_of_a_test")
    importlib.invalidate_caches()
    linecache.clearcache()
    run(path, tmp_path / "run", setting, trust="own_check_of_a_test")
    assert summary(tmp_path / "run")["iterations"][0]["measures"]["sampled"]["value"] == 0


def test_the_policy_itself_beside_the_policy_makes_no_difference(tmp_path: Path) -> None:
    """Another draw of samples would show a gain of nothing."""
    run(write_recipe(tmp_path, "seed_sft", run={"beside": ["seed_sft"]}), tmp_path / "run")
    told = summary(tmp_path / "run")
    assert told["beside"][0]["policy"] == told["iterations"][1]["policy"]
    assert told["beside"][0]["measures"]["sampled"] == told["iterations"][1]["measures"]["sampled"]
    assert told["beside"][0]["policy_over_it"] == {"value": 0, "low": 0, "high": 0}
