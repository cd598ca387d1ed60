"""Hint-δ on the fake engine: δ by hand, every reason to drop a pair, and settings that contradict each other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_recipes import run, summary, write_recipe
from selfboost import store
from selfboost.methods.hint_delta import HintDelta
from selfboost.records import Pair, Sampling, Verdict


def told(tmp_path: Path, **method: Any) -> tuple[list[float], dict[str, Any], int]:
    """δ of each prompt, the iteration's notes, and the pairs that were trained on."""
    root = tmp_path / "run"
    run(write_recipe(tmp_path, "hint_delta", run={"iterations": 1}, method=method), root)
    cards = {card.name: card for card in store.cards(root)}
    plain, hinted = (
        [verdict.value for verdict in store.read_rows(root, cards[f"iteration-1/{which}-logps"], Verdict)]
        for which in ("plain", "hinted")
    )
    pairs = store.read_rows(root, cards["iteration-1/policy"], Pair)
    deltas = [one - other for one, other in zip(plain, hinted, strict=True)]
    return deltas, summary(root)["iterations"][1]["notes"], len(pairs)


def test_pairs_between_two_quantiles_of_delta_are_kept(tmp_path: Path) -> None:
    deltas, notes, pairs = told(tmp_path, lowest=0.2, highest=0.7)
    low, high = np.quantile(deltas, [0.2, 0.7])
    within = sum(low <= delta <= high for delta in deltas)
    assert notes["hint_deltas"] == {
        "mean": pytest.approx(np.mean(deltas), abs=1e-6),
        "positive": np.mean(np.array(deltas) > 0),
        "low": pytest.approx(low, abs=1e-6),
        "high": pytest.approx(high, abs=1e-6),
        "count": 10,
    }
    assert notes["hinted_pairs"]["counts"] == {"kept": within, "δ outside the quantiles": 10 - within}
    assert pairs == within == 5


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ({"least_characters": 60}, "hinted answer shorter than allowed"),
        ({"most_characters": 40}, "hinted answer longer than allowed"),
        ({"longest_ratio": 1.0}, "hinted answer much longer than the plain one"),
    ],
)
def test_each_bound_drops_some_pairs_and_says_so(tmp_path: Path, bounds: dict[str, Any], reason: str) -> None:
    _, notes, pairs = told(tmp_path, highest=1.0, **bounds)
    counts = notes["hinted_pairs"]["counts"]
    assert counts[reason]
    assert 0 < counts["kept"] == pairs < 10
    assert sum(counts.values()) == 10


def test_settings_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lowest = 0.5: must be below highest = 0.5"):
        HintDelta(lowest=0.5)
    with pytest.raises(ValueError, match="least_characters = 200: exceeds most_characters"):
        HintDelta(least_characters=200, most_characters=100)
    with pytest.raises(ValueError, match=r"hinting.samples = 2: must be 1"):
        HintDelta(hinting=Sampling(samples=2))
    with pytest.raises(ValueError, match="hint"):
        HintDelta(hinted="{prompt}")
