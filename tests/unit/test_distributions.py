"""What an iteration's log-probabilities come to: identities, a known shift, an estimate by hand, the same prompts."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_recipes import Heard, write_recipe
from fake_recipes import run as go
from selfboost import recipe, store
from selfboost.disk.json_files import read_json
from selfboost.drift.passes import k3
from selfboost.engines.fake import read_fake
from selfboost.measures import Estimated
from selfboost.method import Method
from selfboost.methods.parts import distributions
from selfboost.methods.parts.distributions import (
    FOLDER,
    Distributions,
    Movement,
    divergence,
    movement,
    reply,
    sampled_logps,
)
from selfboost.methods.parts.pairing import gold_pairs
from selfboost.records import Answer, Model, Origin, Pair, Sampling, Verdict, user_prompt
from selfboost.run import Run
from selfboost.statistics import mean_interval, quantiles, ratio_interval
from selfboost.train import Sequenced
from selfboost.train.fake import Fake

BETA, STEP, FIRST = 0.5, 0.25, -2.0
DEMO = Path(recipe.__file__).parent / "recipes" / "demo-spin.toml"


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
    estimates = ("kl_to_previous", "kl_per_token", "moved", "gold_shift", "margin_shift")
    left = {f.name for f in fields(Movement)} - {"beta", "moved_by_chance", *estimates}
    zeros = dict.fromkeys(estimates, zero) | dict.fromkeys(left, 0.0)
    assert replace(found, moved_by_chance=None) == Movement(beta=BETA, **zeros)
    assert found.moves is False


def test_a_shift_of_every_log_probability_is_found_exactly(tmp_path: Path) -> None:
    run = probe(tmp_path, "test_distributions:Rising")
    found = note(run)
    for name in ("chosen_shift", "rejected_shift"):
        assert getattr(found, name) == pytest.approx(STEP, abs=1e-12)
    assert ends(found.gold_shift) == pytest.approx((STEP, STEP, STEP))
    assert ends(found.margin_shift) == pytest.approx((0, 0, 0), abs=1e-12)
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
    old, new = ([v.value for v in rows(run, name, Verdict)] for name in ("gold-before", "gold-after"))
    gaps = [n - o for n, o in zip(new, old, strict=True)]
    assert ends(note(run).gold_shift)[0] == pytest.approx(sum(gaps) / len(gaps))
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


TOKENS, PROMPTS, ROUNDING = 6, 200, 0.002
Drawn = tuple[list[Answer], list[float], list[float], list[float]]


def draws(random: Random, change: float) -> Drawn:
    """Samples of a policy that moved by `change` in each logit, with its own and the former policy's log-probabilities.

    Two words at each token, at a probability that depends on the prompt; each computation of a log-probability rounds.
    Returned beside the samples: means per token of the former policy, of the new one, and of what the former wrote.
    """
    samples: list[Answer] = []
    old, new, earlier = list[float](), list[float](), list[float]()
    for prompt in range(PROMPTS):
        logit, direction = random.gauss(0, 1.5), random.choice((-1, 1))
        before, after = (_sigmoid(logit + moved) for moved in (0.0, change * direction))
        said = [random.random() < after for _ in range(TOKENS)]
        was = [random.random() < before for _ in range(TOKENS)]
        stored, mine, theirs, own = (
            [math.log(p if yes else 1 - p) + random.gauss(0, ROUNDING) for yes in words]
            for words, p in ((said, after), (said, after), (said, before), (was, before))
        )
        asked = user_prompt(f"prompt {prompt}", Origin(source="seed"))
        ids = tuple(map(int, said))
        samples.append(Answer(prompt=asked, text="", prompt_ids=(1,), token_ids=ids, logps=tuple(stored)))
        new.append(sum(mine) / TOKENS)
        old.append(sum(theirs) / TOKENS)
        earlier.append(sum(own) / TOKENS)
    return samples, old, new, earlier


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def moves(drawn: Drawn) -> bool | None:
    samples, old, new, _ = drawn
    chance = movement(samples, sampled_logps(samples), new)
    return Movement(moved=movement(samples, old, new), moved_by_chance=chance).moves


def distance_above_chance(drawn: Drawn, swaps: int = 100) -> bool:
    """Wasserstein-1 of each policy's own samples' log-probabilities, against random swaps: the measure used before."""
    _, _, new, earlier = drawn
    random = Random(0)

    def distance(one: list[float], other: list[float]) -> float:
        return sum(abs(a - b) for a, b in zip(sorted(one), sorted(other), strict=True)) / len(one)

    chances: list[float] = []
    for _ in range(swaps):
        turned = [(a, b) if random.random() < 0.5 else (b, a) for a, b in zip(new, earlier, strict=True)]
        chances.append(distance([a for a, _ in turned], [b for _, b in turned]))
    return distance(new, earlier) > quantiles(chances, (0.95,))[0]


def rates(change: float, rounds: int) -> tuple[float, float]:
    """How often the movement is seen, and how often the distance lies above chance."""
    found = [draws(Random(seed), change) for seed in range(rounds)]
    return sum(moves(each) is True for each in found) / rounds, sum(map(distance_above_chance, found)) / rounds


def test_a_movement_is_seen_that_the_distance_of_distributions_misses() -> None:
    seen, apart = rates(0.2, rounds=12)
    assert seen == 1
    assert apart <= 0.5


def test_a_policy_that_only_rounding_tells_from_the_former_has_not_moved() -> None:
    seen, _ = rates(0.0, rounds=20)
    assert seen <= 0.05


@pytest.mark.slow
def test_the_rates_over_many_simulated_iterations() -> None:
    unmoved, _ = rates(0.0, rounds=200)
    seen, apart = rates(0.2, rounds=100)
    assert unmoved <= 0.05
    assert seen >= 0.99
    assert apart <= 0.3


def test_no_score_can_have_changed_by_more_than_the_movement_allows() -> None:
    """Pinsker's inequality, on two coins: the shares of heads differ by no more than sqrt(KL / 2)."""
    for p, q in ((0.5, 0.54), (0.2, 0.3), (0.9, 0.5)):
        kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
        bound = Movement(moved=Estimated(value=kl, low=kl, high=kl)).most_changed
        assert bound is not None
        assert abs(p - q) <= bound <= 3 * abs(p - q)
    assert Movement().most_changed is None


def test_the_estimator_of_a_movement_has_the_divergence_as_its_mean() -> None:
    p, q = 0.3, 0.45
    exact = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    mean = p * k3(math.log(p), math.log(q)) + (1 - p) * k3(math.log(1 - p), math.log(1 - q))
    assert mean == pytest.approx(exact)
    assert k3(-1.0, -1.0) == 0
    assert k3(-1.0, -3.0) == pytest.approx(math.exp(-2) + 1)


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
    assert found.moves
    assert found.reward_margin > 0  # type: ignore[operator]
    assert found.chosen_shift > found.rejected_shift  # type: ignore[operator]
    sampled = rows(run, "samples", Answer, 1)
    means = [sum(answer.logps) / len(answer.logps) for answer in sampled]
    assert [v.value for v in rows(run, "samples-after", Verdict, 1)] == pytest.approx(means, abs=1e-3)
    assert {answer.model for answer in sampled} == {policy.fingerprint}
