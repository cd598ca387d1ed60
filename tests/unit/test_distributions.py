"""What an iteration's log-probabilities come to: identities, a known shift, an estimate by hand, the same prompts."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_recipes import Heard, write_recipe
from fake_recipes import run as go
from selfboost import recipe, store
from selfboost.disk.json_files import read_json
from selfboost.engines.fake import read_fake
from selfboost.measures import Estimated
from selfboost.method import Method
from selfboost.methods.parts import distributions
from selfboost.methods.parts.distributions import FOLDER, Distributions, Movement, divergence, reply
from selfboost.methods.parts.pairing import gold_pairs
from selfboost.records import Answer, Model, Origin, Pair, Sampling, Verdict, user_prompt
from selfboost.run import Run
from selfboost.statistics import mean_interval, ratio_interval, wasserstein, wasserstein_by_chance
from selfboost.train import Sequenced
from selfboost.train.fake import Fake

BETA, STEP, FIRST = 0.5, 0.25, -2.0
DEMO = Path(recipe.__file__).parent / "recipes" / "demo-spin.toml"
VALUES = st.lists(st.floats(-9, 0), min_size=1, max_size=30)


@dataclass(frozen=True, kw_only=True)
class Probe(Method):
    """Gold over own; the policy is trained on that, or stays as it is."""

    trains: bool = True
    """Whether there is a training."""
    distributions: Distributions = field(default_factory=Distributions)
    """What is under test."""

    def iterate(self, run: Run) -> Model:
        """One round."""
        own = run.sample("own", run.previous, [seed.prompt for seed in run.seeds], Sampling(max_tokens=40))
        pairs = gold_pairs(run, own)
        policy = run.prefer("policy", pairs, start=run.previous) if self.trains else run.previous
        self.distributions.record(run, run.previous, policy, pairs, BETA)
        return policy


@dataclass(frozen=True, kw_only=True)
class Rising(Fake):
    """A trainer whose trainings make every token likelier by the same."""

    def logps(self, model: Model, sequences: Sequence[Sequenced]) -> Iterator[tuple[float, ...]]:
        value = FIRST + STEP * len(read_fake(model.path).lineage)
        return ((value,) * len(s.token_ids) for s in sequences)


def probe(folder: Path, trainer: str = "fake", trains: bool = True, **settings: int) -> Run:
    """A run of two iterations, without measuring."""
    method = {"kind": "test_distributions:Probe", "trains": trains}
    sizes = {"pairs": 500, "prompts": 200, "max_tokens": 40} | settings
    path = write_recipe(
        folder, "spin", method=method, method__distributions=sizes, trainer={"kind": trainer}, run={"agreement": 9}
    )
    run = Run(recipe.read(path, trust=__name__), folder / "run", Heard())
    run.begin(1, run.initial)
    run.begin(2, run.recipe.method.iterate(run))
    run.recipe.method.iterate(run)
    return run


def note(run: Run) -> Movement:
    found = run.notes.get(Movement)
    assert found is not None
    return found


def ends(found: Estimated | None) -> tuple[float | None, float | None, float | None]:
    assert found is not None
    return found.value, found.low, found.high


def rows(run: Run, name: str, kind: type[Any], iteration: int = 2) -> list[Any]:
    name = name if "/" in name else f"iteration-{iteration}/{FOLDER}/{name}"
    card = store.read_card(run.root / "stages" / name)
    assert card is not None, name
    return store.read_rows(run.root, card, kind)


def test_a_model_that_stays_has_moved_by_nothing(tmp_path: Path) -> None:
    found = note(probe(tmp_path, trains=False))
    zero = Estimated(value=0, low=0, high=0)
    zeros = {f.name: zero if f.name.startswith("kl") else 0.0 for f in fields(Movement) if f.name != "beta"}
    assert found == Movement(beta=BETA, **zeros)


def test_a_shift_of_every_log_probability_is_found_exactly(tmp_path: Path) -> None:
    run = probe(tmp_path, "test_distributions:Rising")
    found = note(run)
    for name in ("distance_of_gold", "distance_of_generated", "chosen_shift", "rejected_shift"):
        assert getattr(found, name) == pytest.approx(STEP, abs=1e-12)
    assert ends(found.kl_per_token) == pytest.approx((STEP, STEP, STEP))
    lengths = [len(answer.token_ids) for answer in rows(run, "samples", Answer)]
    assert ends(found.kl_to_previous)[0] == pytest.approx(STEP * sum(lengths) / len(lengths))
    pairs = rows(run, "iteration-2/policy", Pair)
    gaps = [len(pair.chosen.token_ids) - len(pair.rejected.token_ids) for pair in pairs]
    assert found.reward_margin == pytest.approx(BETA * STEP * sum(gaps) / len(gaps))
    assert found.chosen_reward is not None
    assert found.rejected_reward is not None
    assert found.chosen_reward - found.rejected_reward == pytest.approx(found.reward_margin)


def test_the_divergence_is_the_mean_that_a_person_computes(tmp_path: Path) -> None:
    run = probe(tmp_path)
    before, after = run.previous, Model(name="", path=str(run.root / "stages/iteration-2/policy/model"), fingerprint="")
    answers = rows(run, "samples", Answer)
    assert all(answer.sampling == Sampling(temperature=1.0, max_tokens=40) for answer in answers)
    asked = [Sequenced(prompt_ids=a.prompt_ids, token_ids=a.token_ids) for a in answers]
    ratios = [
        sum(new) - sum(old)
        for new, old in zip(run.trainer.logps(after, asked), run.trainer.logps(before, asked), strict=True)
    ]
    found = note(run)
    value, low, high = ends(found.kl_to_previous)
    assert value == pytest.approx(sum(ratios) / len(ratios))
    assert ends(found.kl_per_token)[0] == pytest.approx(sum(ratios) / sum(len(a.token_ids) for a in answers))
    interval = mean_interval(ratios)
    assert (low, high) == pytest.approx((interval.low, interval.high), rel=0.01)


def test_every_iteration_asks_the_same_prompts_and_compares_with_the_samples_before(tmp_path: Path) -> None:
    run = probe(tmp_path, prompts=5)
    stages = [rows(run, "samples", Answer, i) for i in (1, 2)] + [rows(run, distributions.INITIAL, Answer)]
    asked = [[answer.prompt.id for answer in stage] for stage in stages]
    assert asked[0] == asked[1] == asked[2]
    assert len(set(asked[0])) == 5
    assert [s.prompt.id for s in Distributions(prompts=5).drawn_seeds(run)] == asked[0]
    names = ("samples-after", "samples-after", f"{distributions.INITIAL}-logps")
    earlier, new = ([v.value for v in rows(run, names[i], Verdict, i + 1)] for i in (0, 1))
    assert note(run).distance_of_generated == pytest.approx(wasserstein(earlier, new))
    assert not (run.root / "stages" / f"iteration-2/{FOLDER}/before-samples").exists()


def test_stages_hold_both_sides_of_a_draw_under_both_models(tmp_path: Path) -> None:
    run = probe(tmp_path, pairs=3)
    pairs = {reply(pair, side).id for pair in rows(run, "iteration-2/policy", Pair) for side in distributions.SIDES}
    for side in distributions.SIDES:
        old, new = (rows(run, f"{side}-{when}", Verdict) for when in ("before", "after"))
        assert [v.answer for v in old] == [v.answer for v in new]
        assert len({v.answer for v in old} & pairs) == 3
        scorers = {v.scorer for v in old}, {v.scorer for v in new}
        assert scorers == ({"likelihood(iteration 1)"}, {"likelihood(iteration 2)"})


def test_nothing_is_kept_where_it_is_switched_off(tmp_path: Path) -> None:
    run = probe(tmp_path / "none", pairs=0, prompts=0)
    assert run.notes.get(Movement) is None
    assert not list((run.root / "stages").rglob(FOLDER))
    assert not (run.root / "stages" / distributions.INITIAL).exists()
    assert note(probe(tmp_path / "pairs", prompts=0)).kl_to_previous is None
    assert note(probe(tmp_path / "prompts", pairs=0)).reward_margin is None


def test_a_resumed_run_finds_the_same_without_work(tmp_path: Path) -> None:
    method = {"kind": "test_distributions:Probe"}
    path = write_recipe(tmp_path, "spin", method=method, method__distributions={"pairs": 5, "prompts": 5})
    assert go(path, tmp_path / "run", trust=__name__).started_stages
    told = read_json(tmp_path / "run" / "run.json")["iterations"]
    assert go(path, tmp_path / "run", trust=__name__).started_stages == []
    assert read_json(tmp_path / "run" / "run.json")["iterations"] == told
    assert FOLDER in told[2]["notes"]


def test_a_side_written_for_another_request_is_a_reply_to_the_pairs_prompt() -> None:
    asked, other = (user_prompt(text, Origin(source="seed")) for text in ("asked", "rewrite"))
    answer = Answer(prompt=other, text="a", prompt_ids=(9,), token_ids=(5, 6))
    pair = Pair(iteration=1, prompt=asked, prompt_ids=(1, 2), chosen=answer, rejected=answer)
    assert reply(pair, "chosen") == replace(answer, prompt=asked, prompt_ids=(1, 2))


def test_answers_without_a_value_are_left_out_and_none_gives_no_estimate() -> None:
    prompt = user_prompt("asked", Origin(source="seed"))
    answers = [Answer(prompt=prompt, text="a", prompt_ids=(1,), token_ids=(1,) * n) for n in (2, 3, 4)]
    by_answer, by_token = divergence(answers, [-1.0, None, -1.0], [-0.5, -0.5, -0.25])
    assert ends(by_answer)[0] == pytest.approx((2 * 0.5 + 4 * 0.75) / 2)
    assert ends(by_token)[0] == pytest.approx((2 * 0.5 + 4 * 0.75) / 6)
    assert divergence(answers, [None] * 3, [None] * 3) == (None, None)


@pytest.mark.parametrize("name", ["pairs", "prompts", "max_tokens"])
def test_a_size_below_the_least_is_refused(name: str, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "spin", method={"kind": "test_distributions:Probe"}, method__distributions={name: -1})
    with pytest.raises(ValueError, match=f"method.distributions.{name}"):
        recipe.read(path, trust=__name__)


@given(VALUES, st.floats(-3, 3))
def test_the_distance_of_shifted_values_is_the_shift(values: list[float], shift: float) -> None:
    assert wasserstein(values, [value + shift for value in values]) == pytest.approx(abs(shift), abs=1e-9)
    assert wasserstein(values, list(reversed(values))) == pytest.approx(0, abs=1e-12)


def test_chance_bounds_what_alike_models_show_and_not_what_others_do() -> None:
    draw = random.Random(0)
    below = 0
    for seed in range(60):
        one, other = ([draw.gauss(-1, 0.5) for _ in range(40)] for _ in range(2))
        below += wasserstein(one, other) <= wasserstein_by_chance(one, other, seed=seed)
    assert below >= 52
    one, other = [draw.gauss(-1, 0.1) for _ in range(40)], [draw.gauss(-0.5, 0.1) for _ in range(40)]
    assert wasserstein(one, other) > wasserstein_by_chance(one, other)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(1, 20)), min_size=2, max_size=12))
def test_a_ratio_is_the_ratio_of_sums_within_its_interval(rows: list[tuple[float, int]]) -> None:
    totals, counts = [total for total, _ in rows], [float(count) for _, count in rows]
    found = ratio_interval(totals, counts)
    assert found.value == pytest.approx(sum(totals) / sum(counts))
    assert found.low <= found.value + 1e-9
    assert found.high >= found.value - 1e-9


def test_a_ratio_over_ones_is_a_mean() -> None:
    totals = [0.5, -1.0, 2.25, 0.75, 3.0]
    alike, mean = ratio_interval(totals, [1.0] * 5), mean_interval(totals)
    assert (alike.value, alike.low, alike.high) == pytest.approx((mean.value, mean.low, mean.high))


def test_a_trained_model_moves_from_the_one_before_it(tmp_path: Path) -> None:
    """The embedded model, a few steps: its own samples are likelier under it, so the divergence is above 0."""
    changes = [
        "method={kind='test_distributions:Probe', distributions={pairs=6, prompts=24, max_tokens=20}}",
        "seed.limit=24",
        "training={learning_rate=1e-3, batch_size=8, epochs=2, optimizer='adamw'}",
    ]
    run = Run(recipe.read(DEMO, changes, trust=__name__), tmp_path, Heard())
    run.begin(1, run.initial)
    policy = run.recipe.method.iterate(run)
    found = note(run)
    assert None not in (found.reward_margin, found.chosen_shift, found.rejected_shift)
    assert ends(found.kl_to_previous)[0] > 0  # type: ignore[operator]
    assert found.reward_margin > 0  # type: ignore[operator]
    assert found.chosen_shift > found.rejected_shift  # type: ignore[operator]
    sampled = rows(run, "samples", Answer, 1)
    means = [sum(answer.logps) / len(answer.logps) for answer in sampled]
    assert [v.value for v in rows(run, "samples-after", Verdict, 1)] == pytest.approx(means, abs=1e-3)
    assert {answer.model for answer in sampled} == {policy.fingerprint}
