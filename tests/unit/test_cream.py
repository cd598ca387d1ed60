"""CREAM's consistency: Kendall's τ against scipy's, prompts without a ranking, and what its loss must have."""

from pathlib import Path

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from fake_recipes import run, summary, write_recipe
from selfboost import store
from selfboost.losses import ConsistencyLoss, PairScores
from selfboost.losses.consistency_dpo import ConsistencyDPO
from selfboost.losses.dpo import DPO
from selfboost.methods.cream import agreements
from selfboost.records import Verdict
from selfboost.statistics import kendall_tau

SCORES = st.integers(-3, 3).map(float)


def verdicts(*values: float | None) -> list[Verdict]:
    return [Verdict(answer=f"a-{i}", scorer="some", value=value) for i, value in enumerate(values)]


@given(st.lists(st.tuples(SCORES, SCORES), min_size=2, max_size=9))
def test_tau_is_that_of_scipy_on_ordinal_ranks(scores: list[tuple[float, float]]) -> None:
    """As the public code computes it: equal scores are ranked in order."""
    ranks = [scipy.stats.rankdata(side, method="ordinal") for side in zip(*scores, strict=True)]
    expected = scipy.stats.kendalltau(*ranks).statistic
    assert kendall_tau(*zip(*scores, strict=True)) == pytest.approx(expected, abs=1e-12)


def test_agreement_is_by_prompt_and_needs_every_answer_scored_twice() -> None:
    ours = verdicts(3, 2, 1, 3, 2, 1, 3, 2, 1, 3, None, 1)
    theirs = verdicts(30, 20, 10, 1, 2, 3, 2, 3, 1, 3, 2, 1)
    assert agreements(ours, theirs, 3) == pytest.approx([1, 0, 2 / 3])


def test_another_loss_is_refused_before_any_work(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "cream", loss={"kind": "dpo"})
    with pytest.raises(ValueError, match=r'loss.kind = "dpo": cream needs .*"consistency_dpo"'):
        run(path, tmp_path / "run")
    assert isinstance(ConsistencyDPO(), ConsistencyLoss)
    assert not isinstance(DPO(), ConsistencyLoss)


def test_a_rejected_candidate_leaves_both_models_as_they_were(tmp_path: Path) -> None:
    """No candidate is clearly better: both iterations begin with the model fine-tuned on the seed."""
    root = tmp_path / "run"
    run(write_recipe(tmp_path, "cream", gate={"rule": "better"}), root)
    assert [each["decision"] for each in summary(root)["iterations"]] == ["initial", "kept", "kept"]
    cards = {card.name: card for card in store.cards(root)}
    for name in ("own-rewards", "past-rewards"):
        first, second = (cards[f"iteration-{t}/{name}"].parts["models"] for t in (1, 2))
        assert first == second


def test_the_loss_is_dpos_with_label_smoothing_and_its_own_mirror_image() -> None:
    generator = torch.Generator().manual_seed(0)
    chosen, rejected, *reference = torch.randn((4, 7), generator=generator, dtype=torch.float64) * 9

    def loss(kind: DPO | ConsistencyDPO, *, swapped: bool = False) -> torch.Tensor:
        sides = {"chosen_B": chosen, "rejected_B": rejected}
        references = dict(zip(("reference_chosen_B", "reference_rejected_B"), reference, strict=True))
        names = {"chosen": "rejected", "rejected": "chosen"}
        found = sides | references
        if swapped:
            found = {name.replace(old, names[old]): found[name] for name in found for old in names if old in name}
        return kind.losses(PairScores(**found, chosen_tokens_B=torch.ones(7), rejected_tokens_B=torch.ones(7)))

    soft = ConsistencyDPO(beta=0.3, consistency=0.7)
    torch.testing.assert_close(loss(soft), loss(DPO(beta=0.3, label_smoothing=0.3)))
    torch.testing.assert_close(loss(soft), loss(soft.with_consistency(0.3), swapped=True))
    torch.testing.assert_close(loss(soft.with_consistency(1.0)), loss(DPO(beta=0.3)))
