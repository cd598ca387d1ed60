"""The search for beta: every value is tried on the same pairs, the best on the validation prompts trains the policy."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fake_recipes import Heard, run, summary, write_recipe
from selfboost import recipe, store
from selfboost.loop import boost
from selfboost.methods.parts.beta_search import BetaSearch
from selfboost.records import Answer, Pair, Rated, Verdict

BETAS = (2.0, 4.0, 8.0)


@dataclass(frozen=True, kw_only=True)
class Longest:
    """Of the answers to a prompt the longer one, by so many letters."""

    pairwise: ClassVar[bool] = True

    threshold: float = -1e9

    def needs(self) -> Mapping[str, str]:
        return {}

    def score(self, answers, models, trainer) -> Iterator[Verdict]:
        for answer in answers:
            yield Verdict(answer=answer.id, scorer="longest", value=float(len(answer.text)))


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


@pytest.mark.parametrize("kind", ["implicit", "longest"])
def test_the_scorer_may_choose_so_that_the_benchmarks_judge_only_reports(tmp_path: Path, kind: str) -> None:
    path = write_recipe(
        tmp_path, "synpo", method__search={"betas": BETAS, "by": "scorer"}, method__improver={"threshold": -1e9}
    )
    chosen = recipe.read(path)
    if kind == "longest":
        chosen = replace(chosen, scorer=Longest())
    boost(chosen, tmp_path / "run", Heard())
    cards = {card.name: card for card in store.cards(tmp_path / "run")}
    assert not [name for name in cards if "beta-" in name and "measure" in name]
    for t in (1, 2):
        note = summary(tmp_path / "run")["iterations"][t]["notes"]["beta_search"]
        assert note["measure"] == "the scorer's scores"
        means = {beta: rated(tmp_path / "run", cards, f"iteration-{t}/beta-{beta:g}", kind) for beta in BETAS}
        assert note["tried"] == {f"{beta:g}": pytest.approx(mean) for beta, mean in means.items()}
        assert means[note["chosen"]] == max(means.values())


def rated(root: Path, cards: dict[str, store.StageCard], place: str, kind: str) -> float:
    """The mean score of a trial's validation answers; by a pairwise scorer, of their gaps to gold."""
    assert len(store.read_rows(root, cards[f"{place}/search-answers"], Answer)) == 4
    values = [verdict.value for verdict in store.read_rows(root, cards[f"{place}/search-scores"], Verdict)]
    if kind == "longest":
        values = [own - gold for own, gold in zip(values[::2], values[1::2], strict=True)]  # type: ignore[operator]
    return sum(values) / 4  # type: ignore[arg-type]


def test_a_measure_of_the_benchmark_is_not_the_scorers() -> None:
    with pytest.raises(ValueError, match="measure = 'sampled': is the benchmark's, but by = 'scorer'"):
        BetaSearch(betas=BETAS, by="scorer", measure="sampled")


def test_check_says_who_chooses() -> None:
    assert "the benchmark's judge chooses beta" in BetaSearch(betas=BETAS).remarks()[0]
    assert BetaSearch(betas=BETAS, by="scorer").remarks() == BetaSearch().remarks() == ()
