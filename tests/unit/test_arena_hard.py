"""Arena-Hard: verdicts, points, intervals that cover what they say, and style held equal."""

import numpy as np
import pytest
import scipy.optimize

from selfboost.benchmarks.parts.arena_hard import (
    Game,
    Style,
    bradley_terry,
    controlled_scores,
    game,
    parse,
    score_of,
    style_features,
    style_of,
)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("My final verdict is tie: [[A=B]]", "A=B"),
        ("[[A>B]] … on reflection: [[B>>A]]", "B>>A"),
        ("final verdict: [b>a]", "B>A"),
        ("[A>>B], but [[A>B]]", "A>B"),
        ("[[A<B]]", "B>A"),
        ("A>B", None),
        ("[[A>C]]", None),
        ("[[>]]", None),
        ("", None),
    ],
)
def test_the_last_verdict_counts(text: str, verdict: str | None) -> None:
    assert parse(text) == verdict


@pytest.mark.parametrize(
    ("first", "second", "points", "battles"),
    [
        ("[[A>B]]", "[[A>B]]", 1, 2),
        ("[[B>>A]]", "[[A>>B]]", 6, 6),
        ("[[B>>A]]", "[[A=B]]", 3.5, 4),
        ("[[A=B]]", "[[A=B]]", 1, 2),
        ("[[A>>B]]", "[[B>A]]", 0, 4),
    ],
)
def test_a_prompt_is_judged_in_both_orders(first: str, second: str, points: float, battles: int) -> None:
    """The model is B in the first order, A in the second: a judge that always prefers A gives half of the points."""
    found = game("p", first, second)
    assert found == Game(prompt="p", points=points, battles=battles)


def test_a_prompt_with_one_verdict_is_left_out() -> None:
    assert game("p", "[[A>B]]", "no verdict") is None


def test_a_constant_judge_gives_one_half() -> None:
    for always in ("[[A>>B]]", "[[A>B]]", "[[A=B]]", "[[B>A]]", "[[B>>A]]"):
        games = [found for at in range(20) if (found := game(str(at), always, always))]
        found = score_of(games)
        assert (found.score, found.low, found.high) == (50, 50, 50)


def judged(count: int, seed: int) -> list[Game]:
    """Both orders of a prompt agree mostly, since prompts differ in how well the model does on them."""
    draw = np.random.default_rng(seed)
    found = []
    for at in range(count):
        chance = draw.beta(0.6, 0.6)
        points = battles = 0.0
        for _ in range(2):
            size = 3 if draw.random() < 0.4 else 1
            points, battles = points + size * (draw.random() < chance), battles + size
        found.append(Game(prompt=str(at), points=points, battles=int(battles)))
    return found


@pytest.mark.slow
def test_the_interval_covers_the_truth_where_resampled_battles_do_not() -> None:
    """Nominal 90 %, 500 prompts, 400 experiments: the binomial error of the coverage is 0.015."""
    inside = published = 0
    for seed in range(400):
        games = judged(500, seed)
        found = score_of(games, level=0.9, resamples=300, seed=seed)
        inside += found.low <= 50 <= found.high
        battles = np.concatenate([np.repeat([1.0, 0.0], [int(g.points), g.battles - int(g.points)]) for g in games])
        drawn = np.random.default_rng(seed).choice(battles, size=(100, len(battles))).mean(axis=1)
        low, high = 100 * np.quantile(drawn, (0.05, 0.95))
        published += low <= 50 <= high
    assert 0.87 <= inside / 400 <= 0.93
    assert published / 400 < 0.75


def test_the_fit_is_a_logistic_regression() -> None:
    draw = np.random.default_rng(0)
    features, battles = draw.normal(size=(200, 3)), draw.integers(1, 7, size=200).astype(float)
    points = battles * draw.random(200)

    def loss(weights: np.ndarray) -> float:
        z = features @ weights
        return float(np.sum(points * np.logaddexp(0, -z) + (battles - points) * np.logaddexp(0, z)))

    reference = scipy.optimize.minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    assert bradley_terry(features, points, battles) == pytest.approx(reference, abs=1e-5)


def test_style_is_counted_outside_code() -> None:
    answer = "# Title\n\n- one\n- two\n1. three\n**bold** and __bold__\n```python\n# no header\n- no list\n**x**\n```\n"
    assert style_of(answer, 40) == Style(tokens=40, headers=1, lists=3, bold=2)


def test_style_features_are_antisymmetric_and_zero_for_equal_styles() -> None:
    one, other = Style(tokens=100, headers=3, lists=0, bold=5), Style(tokens=50, headers=0, lists=4, bold=5)
    assert style_features(one, one) == (0, 0, 0, 0)
    assert style_features(one, other) == pytest.approx([-each for each in style_features(other, one)])
    length, headers, lists, bold = style_features(one, other)
    assert length == pytest.approx(1 / 3)
    assert headers == pytest.approx((3 / 101) / (3 / 101 + 1))
    assert lists == pytest.approx(-(4 / 51) / (4 / 51 + 1))
    assert bold == pytest.approx((5 / 101 - 5 / 51) / (5 / 101 + 5 / 51 + 1))


def test_a_model_that_wins_by_length_alone_scores_one_half_with_style_held_equal() -> None:
    draw = np.random.default_rng(0)
    games, features = {}, {}
    for name, (shift, strength) in {"long": (0.4, 0.0), "good": (-0.1, 0.8)}.items():
        games[name], features[name] = [], {}
        for at in range(500):
            length = float(np.clip(draw.normal(shift, 0.3), -1, 1))
            chance = 1 / (1 + np.exp(-(strength + 3.0 * length)))
            won = float(sum(draw.random() < chance for _ in range(2)))
            games[name].append(Game(prompt=str(at), points=won, battles=2))
            features[name][str(at)] = (length, 0.0, 0.0, 0.0)
    plain = {name: score_of(each).score for name, each in games.items()}
    controlled = controlled_scores(games, features, resamples=50)
    assert plain["long"] > plain["good"] + 5
    assert controlled["long"].score == pytest.approx(50, abs=4)
    assert controlled["good"].score == pytest.approx(100 / (1 + np.exp(-0.8)), abs=4)
    assert controlled["good"].low < controlled["good"].score < controlled["good"].high
    average = controlled_scores(games, features, style="average", resamples=2)
    shift = np.mean([f[0] for each in features.values() for f in each.values()])
    log_odds = {name: np.log(s.score / (100 - s.score)) for name, s in (controlled | average).items()}
    plain_odds = {name: np.log(s.score / (100 - s.score)) for name, s in controlled.items()}
    assert all(log_odds[name] - plain_odds[name] == pytest.approx(3.0 * shift, abs=0.2) for name in games)


def test_what_has_no_games_or_no_features_is_refused() -> None:
    with pytest.raises(ValueError, match="two verdicts"):
        score_of([])
    one = Game(prompt="p", points=1, battles=2)
    with pytest.raises(ValueError, match="b: there is no prompt"):
        controlled_scores({"a": [one], "b": []}, {"a": {"p": (0, 0, 0, 0)}, "b": {}})
    with pytest.raises(ValueError, match="a, prompt p: no style features"):
        controlled_scores({"a": [one]}, {"a": {}})
