"""A policy's stage stores the pairs of its own iteration, and refers to those of earlier ones."""

import json
from pathlib import Path

from fake_recipes import run, write_recipe
from selfboost import store

ITERATIONS = 2


def test_pairs_of_earlier_iterations_are_not_stored_again(tmp_path: Path) -> None:
    run(write_recipe(tmp_path, "synpo", run={"iterations": ITERATIONS}), tmp_path / "run")
    trained, own = [], []
    for iteration in range(1, ITERATIONS + 1):
        folder = tmp_path / "run" / store.STAGES / f"iteration-{iteration}" / "policy"
        card = store.read_card(folder)
        assert card is not None
        stored = [json.loads(line) for line in (folder / store.ROWS).read_text(encoding="utf-8").splitlines()]
        assert {pair["iteration"] for pair in stored} == {iteration}
        assert [each.name for each in card.earlier] == [f"iteration-{t}/policy" for t in range(1, iteration)]
        own.append(len(stored))
        trained.append(card.rows)
    assert trained == [sum(own[: t + 1]) for t in range(ITERATIONS)]
    assert trained[-1] > own[-1] > 0
