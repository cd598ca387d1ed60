"""The search for beta: every value is tried on the same pairs, the best on the validation prompts trains the policy."""

from pathlib import Path
from typing import Any

import pytest

from fake_recipes import run, summary, write_recipe
from selfboost import recipe, store
from selfboost.methods.parts.beta_search import BetaSearch
from selfboost.records import Pair, Rated

BETAS = (2.0, 4.0, 8.0)


def searched(tmp_path: Path, **search: Any) -> tuple[Path, dict[str, store.StageCard], list[dict[str, Any]]]:
    root = tmp_path / "run"
    run(write_recipe(tmp_path, "synpo", method__search={"betas": BETAS} | search), root)
    notes = [iteration["notes"]["beta_search"] for iteration in summary(root)["iterations"][1:]]
    return root, {card.name: card for card in store.cards(root)}, notes


def measured(root: Path, card: store.StageCard) -> float:
    ratings = store.read_rows(root, card, Rated)
    return sum(sum(rated.values["sampled"]) / len(rated.values["sampled"]) for rated in ratings) / len(ratings)  # type: ignore[arg-type]


def test_the_policy_is_the_candidate_that_is_best_on_validation(tmp_path: Path) -> None:
    root, cards, notes = searched(tmp_path)
    for t, note in enumerate(notes, start=1):
        found = {beta: measured(root, cards[f"iteration-{t}/beta-{beta:g}/measure-validation"]) for beta in BETAS}
        assert note["tried"] == {f"{beta:g}": pytest.approx(found[beta]) for beta in BETAS}
        assert note["measure"] == "sampled"
        assert found[note["chosen"]] == max(found.values())
        assert f"iteration-{t}/policy" not in cards
        policy = summary(root)["iterations"][t]["policy"]
        assert policy == f"stages/iteration-{t}/beta-{note['chosen']:g}/policy/model"
        for beta in BETAS:
            card = cards[f"iteration-{t}/beta-{beta:g}/policy"]
            assert card.parts["loss"]["beta"] == beta
            assert card.parts["loss"]["gamma"] == 1.6
            assert len(store.read_rows(root, card, Pair)) == 6 * t
    assert not [name for name in cards if "beta-" in name and "held_out" in name]


def test_a_small_budget_tries_on_few_pairs_and_trains_on_all(tmp_path: Path) -> None:
    root, cards, notes = searched(tmp_path, pairs=3)
    for t, note in enumerate(notes, start=1):
        tried = [
            [pair.id for pair in store.read_rows(root, cards[f"iteration-{t}/beta-{beta:g}/policy"], Pair)]
            for beta in BETAS
        ]
        final = cards[f"iteration-{t}/policy"]
        whole = [pair.id for pair in store.read_rows(root, final, Pair)]
        assert tried[0] == tried[1] == tried[2]
        assert len(tried[0]) == 3
        assert set(tried[0]) < set(whole)
        assert len(whole) == 6 * t
        assert final.parts["loss"]["beta"] == note["chosen"]


def test_a_search_in_the_first_iteration_alone_keeps_its_choice(tmp_path: Path) -> None:
    root, cards, notes = searched(tmp_path, iterations="first")
    assert notes[1] == {"chosen": notes[0]["chosen"], "tried": {}, "measure": ""}
    assert cards["iteration-2/policy"].parts["loss"]["beta"] == notes[0]["chosen"]
    assert not [name for name in cards if name.startswith("iteration-2/beta")]
    # A resumed run finds the choice again.
    run(tmp_path / "recipe.toml", root, "run.iterations=3")
    third = {card.name: card for card in store.cards(root)}["iteration-3/policy"]
    assert third.parts["loss"]["beta"] == notes[0]["chosen"]


def test_the_measure_that_decides_has_a_name(tmp_path: Path) -> None:
    _, _, notes = searched(tmp_path, measure="ended")
    assert all(note["tried"][f"{note['chosen']:g}"] == max(note["tried"].values()) for note in notes)
    assert {note["measure"] for note in notes} == {"ended"}


@pytest.mark.parametrize(
    ("measure", "why"),
    [
        ("greedi", r"the benchmark has no such measure \(did you mean 'greedy'\?\)"),
        ("length", "neither higher nor lower is better"),
    ],
)
def test_a_measure_that_cannot_decide_is_refused_before_any_work(tmp_path: Path, measure: str, why: str) -> None:
    with pytest.raises(
        ValueError, match=rf"method.search.measure = '{measure}': {why}; allowed: greedy, sampled, ended"
    ):
        searched(tmp_path, measure=measure)
    assert not (tmp_path / "run" / "stages").exists()


def test_what_cannot_be_searched_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"betas = \[2.0, 2.0\]: must all be different"):
        BetaSearch(betas=(2.0, 2.0))
    path = write_recipe(tmp_path, "synpo", method__search={"betas": [1.0]}, loss={"kind": "ipo"})
    read = recipe.read(path)
    with pytest.raises(ValueError, match=r"method.search.betas: the loss ipo has no beta"):
        read.method.check(read, [])
    with pytest.raises(ValueError, match=r"betas = \[-1\]"):
        recipe.read(path, ["method.search.betas=[-1]"])
