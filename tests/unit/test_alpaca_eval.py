"""AlpacaEval 2: the leaderboard's figures to the digit on real judgments, and the length-controlled fit."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize

from real_data import real
from selfboost.benchmarks.parts import length_control
from selfboost.benchmarks.parts.judgments import chance, read_judgments, win_rate_of, win_rates
from selfboost.benchmarks.parts.length_control import OfficialTables, fit, length_controlled, predicted, read_official
from selfboost.cli import main

GENERATOR = np.random.default_rng(0)
TRUE = np.array([-0.9, 0.6, -0.4])
"""Weights of length, difficulty and the constant that made the synthetic judgments."""


def probabilities(logits: Any) -> Any:
    return 1 / (1 + np.exp(-logits))


def gamed(count: int = 2 * 805) -> Any:
    length, difficulty = GENERATOR.normal(size=count), GENERATOR.normal(size=count)
    return np.stack([probabilities(TRUE[0] * np.tanh(length) + TRUE[1] * difficulty), length, difficulty], axis=1)


def test_real_judgments_give_the_leaderboard() -> None:
    found = win_rates(read_judgments(real("pref/alpaca_eval2_gpt4turbo_judgments.jsonl.gz")))
    with real("eval/alpaca_eval_v2_leaderboard.csv").open(newline="") as file:
        published = {row[""]: row for row in csv.DictReader(file)}
    listed = [name for name in found if name in published]
    assert len(found) == 12
    assert len(listed) >= 11
    for name in listed:
        for figure in ("win_rate", "standard_error", "discrete_win_rate"):
            assert getattr(found[name], figure) == pytest.approx(float(published[name][figure]), abs=1e-6), name
        assert found[name].n == int(published[name]["n_total"])
    assert [rate.win_rate for rate in found.values()] == sorted((r.win_rate for r in found.values()), reverse=True)


def test_figures_by_hand() -> None:
    found = win_rate_of([chance(p, "") for p in (2, 1, 1.5, 0, 1.25, None, float("nan"))])
    assert (found.n, found.missing) == (5, 2)
    assert found.win_rate == pytest.approx(45)
    assert found.standard_error == pytest.approx(100 * np.std([1, 0, 0.5, 0.5, 0.25], ddof=1) / np.sqrt(5))
    assert found.discrete_win_rate == pytest.approx(40)
    assert (found.low, found.high) == pytest.approx((100 * 2.25 / 7, 100 * 4.25 / 7))


@pytest.mark.parametrize("preference", ["2", 2.5, -1, 0.5, True, [1.5], float("inf")])
def test_what_is_no_preference_is_refused(preference: object) -> None:
    with pytest.raises(ValueError, match=r"line 3.*between 1 and 2"):
        chance(preference, "line 3")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"generator_2": "a"}], r"line 1: a judgment has `generator_2`"),
        ([{"generator_2": "a", "preference": None}], "every judgment is missing"),
        (
            [
                {"generator_1": "x", "generator_2": "a", "preference": 1},
                {"generator_1": "y", "generator_2": "a", "preference": 1},
            ],
            r"line 2.*needs one baseline",
        ),
        ([], "no judgments"),
    ],
)
def test_judgments_that_give_no_win_rate_are_refused(rows: list[object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "judgments.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    with pytest.raises(ValueError, match=message):
        win_rates(read_judgments(path))


def test_the_command_prints_win_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "judgments.jsonl"
    rows = [("good", 2), ("good", 1.5), ("bad", 1), ("bad", None)]
    path.write_text("".join(json.dumps({"generator_2": name, "preference": p}) + "\n" for name, p in rows))
    command = ["measure", "--benchmark", "alpaca_eval", "--judgments", str(path)]
    with pytest.raises(SystemExit) as end:
        main([*command, "--json"])
    assert end.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["good", "bad"]
    assert found["good"] == {
        "win_rate": 75, "standard_error": 25, "discrete_win_rate": 75, "n": 2, "missing": 0, "low": 75, "high": 75,
    }  # fmt: skip
    assert (found["bad"]["n"], found["bad"]["missing"], found["bad"]["high"]) == (1, 1, 50)
    with pytest.raises(SystemExit):
        main(command)
    shown = capsys.readouterr().out
    assert "75.00" in shown
    assert "[0.00, 50.00]" in shown


def test_the_fit_maximises_the_likelihood() -> None:
    """Against scipy's own optimiser on the likelihood written down again."""
    length, difficulty = np.tanh(GENERATOR.normal(size=400)), GENERATOR.normal(size=400)
    wins, table = GENERATOR.random(400), gamed(60)

    def loss(weights: Any) -> float:
        ours = weights[0] * length + weights[1] * difficulty + weights[2]
        theirs = weights[0] * np.tanh(table[:, 1]) + weights[1] * table[:, 2]
        return sum(
            -scale * float(np.sum(y * -np.logaddexp(0, -z) + (1 - y) * -np.logaddexp(0, z)))
            for scale, y, z in ((1, wins, ours), (0.1, table[:, 0], theirs))
        )

    reference = scipy.optimize.minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    assert fit(wins, length, difficulty, table) == pytest.approx(reference, abs=1e-5)


def made(count: int = length_control.INSTRUCTIONS) -> dict[str, Any]:
    """Judgments drawn from the model itself: by construction, the truth at equal length is known."""
    instructions = [f"instruction {at}" for at in range(count)]
    difficulty = GENERATOR.normal(size=count)
    baseline, own = GENERATOR.integers(500, 1500, size=count), GENERATOR.integers(1000, 3000, size=count)
    difference = baseline - own
    shift = np.tanh(difference / np.std(difference, ddof=1))
    wins = probabilities(TRUE[0] * shift + TRUE[1] * difficulty + TRUE[2])
    tables = OfficialTables(
        difficulty=dict(zip(instructions, map(float, difficulty), strict=True)), gamed=list(gamed())
    )
    return {
        "instructions": instructions,
        "chances": wins,
        "lengths": own,
        "baseline_lengths": baseline,
        "tables": tables,
    }


def test_the_win_rate_at_equal_length_is_found() -> None:
    given = made()
    found = length_controlled(**given)
    truth = float(100 * probabilities(TRUE[1] * np.array(list(given["tables"].difficulty.values())) + TRUE[2]).mean())
    assert found.win_rate == pytest.approx(truth, abs=1e-3)
    assert found.weights == pytest.approx(tuple(TRUE), abs=1e-4)
    assert found.low < found.win_rate < found.high
    assert float(100 * np.mean(given["chances"])) > truth + 5, "longer outputs won more often"


def test_the_order_of_instructions_does_not_matter() -> None:
    given = made()
    order = GENERATOR.permutation(len(given["instructions"]))
    shuffled = {
        name: [given[name][at] for at in order] for name in ("instructions", "chances", "lengths", "baseline_lengths")
    }
    found = length_controlled(**shuffled, tables=given["tables"])
    assert found.win_rate == pytest.approx(length_controlled(**given).win_rate, abs=1e-9)


def test_judgments_of_other_instructions_have_no_length_controlled_win_rate() -> None:
    given = made()
    few = {name: given[name][:-1] for name in ("instructions", "chances", "lengths", "baseline_lengths")}
    with pytest.raises(ValueError, match="804 instructions, 0 of them unknown"):
        length_controlled(**few, tables=given["tables"])
    given["instructions"][0] = "something else"
    with pytest.raises(ValueError, match="1 of them unknown"):
        length_controlled(**given)


@pytest.mark.slow
def test_the_interval_covers_the_truth() -> None:
    """60 experiments with judgments of 0 or 1; the binomial error of the coverage is 0.03."""
    given, inside = made(200), 0
    truth = float(100 * probabilities(TRUE[1] * np.array(list(given["tables"].difficulty.values())) + TRUE[2]).mean())
    for at in range(60):
        wins = (np.random.default_rng(at).random(200) < given["chances"]).astype(float)
        found = length_controlled(**(given | {"chances": wins}), seed=at, resamples=200)
        inside += found.low <= truth <= found.high
    assert inside / 60 == pytest.approx(0.95, abs=0.09)


def test_published_weights_of_a_separable_generator_stay_finite() -> None:
    given = made()
    found = length_controlled(**(given | {"chances": np.ones(805)}))
    assert 99 < found.win_rate <= 100
    assert np.isfinite(found.weights).all()


def written_tables(folder: Path, rows: int = 1610) -> tuple[Path, Path]:
    table, difficulty = folder / "df_gamed.csv", folder / "instruction_difficulty.csv"
    with table.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["model", "index", "preference", "std_delta_len", "instruction_difficulty", "not_gamed_baseline"])
        out.writerows(
            ["verbose", at % 805, 1 + chance_, length, hard, False]
            for at, (chance_, length, hard) in enumerate(gamed(rows))
        )
    with difficulty.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["index", "instruction_difficulty"])
        out.writerows([at, at / 805] for at in reversed(range(805)))
    return table, difficulty


def test_the_official_tables_are_joined_by_instruction(tmp_path: Path) -> None:
    table, difficulty = written_tables(tmp_path)
    found = read_official([f"text {at}" for at in range(805)], table, difficulty)
    assert found.difficulty["text 7"] == pytest.approx(7 / 805)
    assert len(found.gamed) == 1610
    assert all(0 <= row[0] <= 1 for row in found.gamed)


def test_tables_that_are_not_the_official_ones_are_refused(tmp_path: Path) -> None:
    table, difficulty = written_tables(tmp_path, rows=1609)
    texts = [f"text {at}" for at in range(805)]
    with pytest.raises(ValueError, match="1609 rows; the official table has 1610"):
        read_official(texts, table, difficulty)
    with pytest.raises(ValueError, match="804 different instructions"):
        read_official(texts[:-1], table, difficulty)
    with pytest.raises(ValueError, match="numbers in preference"):
        read_official(texts, difficulty, difficulty)
    difficulty.write_text("index,instruction_difficulty\n0,0.1\n")
    with pytest.raises(ValueError, match="no difficulty for instruction 1"):
        read_official(texts, table, difficulty)
    with pytest.raises(ValueError, match="cannot be read"):
        read_official(texts, table, tmp_path / "missing.csv")


def recovered(weights: dict[str, Any], lengths: dict[str, Any], wins: dict[str, Any]) -> Any:
    """A difficulty of each instruction that explains the judgments of all generators, given the published weights."""
    difficulty = np.zeros(length_control.INSTRUCTIONS)
    for _ in range(50):
        slope, curvature = -difficulty, np.ones_like(difficulty)
        for name, (by_length, by_difficulty, constant) in weights.items():
            expected = probabilities(by_length * lengths[name] + by_difficulty * difficulty + constant)
            slope = slope + by_difficulty * np.nan_to_num(wins[name] - expected)
            curvature = curvature + by_difficulty**2 * np.nan_to_num(expected * (1 - expected) + 0 * wins[name])
        difficulty = difficulty + slope / curvature
    return difficulty


def test_published_weights_predict_the_published_win_rates() -> None:
    """The difficulty is recovered from the judgments; its scale and shift from all generators but the one predicted."""
    rows, baseline = (
        [json.loads(line) for line in gzip.decompress(real(path).read_bytes()).splitlines()]
        for path in ("pref/alpaca_eval2_gpt4turbo_judgments.jsonl.gz", "eval/alpaca_eval_805.jsonl.gz")
    )
    with real("eval/alpaca_eval_lc_glm_weights_baseline_gpt4_1106_preview.csv").open(newline="") as file:
        weights = {row[""]: [float(value) for name, value in row.items() if name] for row in csv.DictReader(file)}
    with real("eval/alpaca_eval_v2_leaderboard.csv").open(newline="") as file:
        published = {row[""]: float(row["length_controlled_winrate"]) for row in csv.DictReader(file)}
    judged = {row["generator_2"] for row in rows} - {"gpt4_1106_preview"}
    weights = {name: weights[name] for name in judged & weights.keys() & published.keys()}
    assert len(weights) == 10
    lengths, wins = ({name: np.full(805, np.nan) for name in weights} for _ in range(2))
    for row in rows:
        if (name := row["generator_2"]) in weights:
            wins[name][row["id"]] = chance(row["preference"], "")
            lengths[name][row["id"]] = len(baseline[row["id"]]["reference_gpt4_1106_preview"]) - len(row["output_2"])
    lengths = {name: np.tanh(each / np.nanstd(each, ddof=1)) for name, each in lengths.items()}
    difficulty = recovered(weights, lengths, wins)

    def error(name: str, scale: Any) -> float:
        return predicted(weights[name], scale[0] * difficulty + scale[1]) - published[name]

    for name in weights:
        others = sorted(weights.keys() - {name})
        fitted = scipy.optimize.minimize(lambda x, of: sum(error(one, x) ** 2 for one in of), [1.0, 0.0], (others,)).x
        assert error(name, fitted) == pytest.approx(0, abs=1.1), name
