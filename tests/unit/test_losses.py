"""The losses against formulas written out in plain Python, finite differences and the identities between them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfboost.losses import PairScores, beta_of, noisy, with_beta
from selfboost.losses.bradley_terry import BradleyTerry
from selfboost.losses.consistency_dpo import ConsistencyDPO
from selfboost.losses.dpo import DPO
from selfboost.losses.ipo import IPO
from selfboost.losses.noise_preference import NoisePreference
from selfboost.losses.noise_settings import Noise
from selfboost.losses.simpo import SimPO
from selfboost.losses.sppo import SPPO

torch.set_num_threads(1)

CHOSEN, REJECTED = [-12.0, -3.5, -40.0, -7.0], [-11.0, -9.25, -41.5, -7.0]
REFERENCE_CHOSEN, REFERENCE_REJECTED = [-13.0, -3.0, -35.0, -7.0], [-10.5, -8.0, -44.0, -7.0]
CHOSEN_TOKENS, REJECTED_TOKENS = [10.0, 1.0, 33.0, 4.0], [7.0, 5.0, 29.0, 4.0]
EVERY_LOSS = [
    DPO(),
    DPO(beta=0.5, label_smoothing=0.2),
    DPO(shape="hinge", beta=0.05),
    DPO(offset=16.0),
    DPO(shape="hinge", offset=-0.5),
    DPO(beta=2.0, log_probability="mean"),
    ConsistencyDPO(beta=0.3),
    ConsistencyDPO(beta=0.3, consistency=0.8),
    ConsistencyDPO(consistency=0.25),
    IPO(),
    IPO(tau=0.3, log_probability="mean"),
    SPPO(eta=3.0),
    SPPO(eta=20.0),
    SimPO(),
    SimPO(beta=10, gamma=3, label_smoothing=0.1, nll_weight=0.5),
    SimPO(shape="hinge"),
    BradleyTerry(),
    BradleyTerry(label_smoothing=0.3),
]


def scores(chosen=CHOSEN, rejected=REJECTED, reference=True) -> PairScores:
    def tensor(values):
        return torch.tensor(values, dtype=torch.float64)

    return PairScores(
        chosen_B=tensor(chosen).requires_grad_(),
        rejected_B=tensor(rejected).requires_grad_(),
        chosen_tokens_B=tensor(CHOSEN_TOKENS),
        rejected_tokens_B=tensor(REJECTED_TOKENS),
        reference_chosen_B=tensor(REFERENCE_CHOSEN) if reference else None,
        reference_rejected_B=tensor(REFERENCE_REJECTED) if reference else None,
    )


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def by_hand(loss, at: int) -> float:
    w, l = CHOSEN[at], REJECTED[at]  # noqa: E741
    log_ratio = (w - REFERENCE_CHOSEN[at]) - (l - REFERENCE_REJECTED[at])
    match loss:
        case DPO(log_probability="mean"):
            mean = (w - REFERENCE_CHOSEN[at]) / CHOSEN_TOKENS[at] - (l - REFERENCE_REJECTED[at]) / REJECTED_TOKENS[at]
            return -log_sigmoid(loss.beta * mean)
        case DPO(shape="hinge"):
            return max(0.0, 1 - (loss.beta * log_ratio - loss.offset))
        case DPO():
            m = loss.beta * log_ratio - loss.offset
            return -(1 - loss.label_smoothing) * log_sigmoid(m) - loss.label_smoothing * log_sigmoid(-m)
        case ConsistencyDPO():
            forth, back = log_sigmoid(loss.beta * log_ratio), log_sigmoid(loss.beta * -log_ratio)
            return loss.consistency * -forth + (1 - loss.consistency) * -back
        case IPO(log_probability="sum"):
            return (log_ratio - 1 / (2 * loss.tau)) ** 2
        case IPO():
            mean = (w - REFERENCE_CHOSEN[at]) / CHOSEN_TOKENS[at] - (l - REFERENCE_REJECTED[at]) / REJECTED_TOKENS[at]
            return (mean - 0.5 / loss.tau) ** 2
        case SPPO():
            chosen, rejected = w - REFERENCE_CHOSEN[at], l - REFERENCE_REJECTED[at]
            return (chosen - loss.eta / 2) ** 2 + (rejected + loss.eta / 2) ** 2
        case SimPO():
            mean_w, mean_l = w / CHOSEN_TOKENS[at], l / REJECTED_TOKENS[at]
            m = loss.beta * mean_w - loss.beta * mean_l - loss.gamma
            if loss.shape == "hinge":
                return max(0.0, 1 - m)
            smooth = loss.label_smoothing
            return -(1 - smooth) * log_sigmoid(m) - smooth * log_sigmoid(-m) + loss.nll_weight * -mean_w
        case BradleyTerry():
            return -(1 - loss.label_smoothing) * log_sigmoid(w - l) - loss.label_smoothing * log_sigmoid(l - w)
    raise AssertionError(loss)


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=str)
def test_equals_the_formula_written_out(loss):
    expected = torch.tensor([by_hand(loss, at) for at in range(4)], dtype=torch.float64)
    torch.testing.assert_close(loss.losses(scores()).detach(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=str)
def test_gradient_equals_finite_differences(loss):
    given_scores = scores()
    loss.losses(given_scores).sum().backward()
    step = 1e-6
    for at in range(4):
        for gradient_B, side in ((given_scores.chosen_B.grad, 0), (given_scores.rejected_B.grad, 1)):
            values = []
            for change in (step, -step):
                moved = [list(CHOSEN), list(REJECTED)]
                moved[side][at] += change
                values.append(loss.losses(scores(*moved)).sum().item())
            assert float(gradient_B[at]) == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-6)


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=str)
def test_one_loss_per_pair_that_does_not_depend_on_the_others(loss):
    all_B = loss.losses(scores())
    reversed_scores = PairScores(**{name: value.flip(0) for name, value in vars(scores()).items()})
    torch.testing.assert_close(loss.losses(reversed_scores).flip(0), all_B, rtol=0, atol=0)


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=str)
def test_rewards_carry_no_gradient_and_order_pairs_as_the_loss_does(loss):
    chosen_B, rejected_B = loss.rewards(scores())
    assert not chosen_B.requires_grad
    assert not rejected_B.requires_grad
    if isinstance(loss, IPO | SPPO | ConsistencyDPO) or getattr(loss, "label_smoothing", 0):
        return  # those two punish a margin that is too large
    losses_B = loss.losses(scores()).detach()
    losses_B = losses_B + getattr(loss, "nll_weight", 0) * scores().chosen_B.detach() / scores().chosen_tokens_B
    falling = losses_B[(chosen_B - rejected_B).argsort(descending=True)].tolist()
    assert falling == sorted(falling)


def test_simpo_gamma_is_the_margin_itself_not_its_ratio_to_beta():
    means_apart = 0.8
    pair = PairScores(
        chosen_B=torch.tensor([-1.0]),
        rejected_B=torch.tensor([-1.0 - means_apart]),
        chosen_tokens_B=torch.ones(1),
        rejected_tokens_B=torch.ones(1),
    )
    loss = SimPO(beta=2.0, gamma=1.6)  # β·Δ = 1.6 = γ, so the margin is 0; with the ratio γ/β it would not be
    assert loss.losses(pair).item() == pytest.approx(math.log(2))


def test_simpo_looks_at_means_so_repeating_an_answer_changes_nothing():
    once = scores(reference=False)
    twice = PairScores(**{n: None if v is None else v * 2 for n, v in vars(once).items()})
    torch.testing.assert_close(SimPO(nll_weight=1).losses(once), SimPO(nll_weight=1).losses(twice))


def test_dpo_at_the_reference_is_log_two_and_its_hinge_is_one():
    start = scores(REFERENCE_CHOSEN, REFERENCE_REJECTED)
    torch.testing.assert_close(DPO().losses(start).detach(), torch.full((4,), math.log(2), dtype=torch.float64))
    torch.testing.assert_close(DPO(shape="hinge").losses(start).detach(), torch.ones(4, dtype=torch.float64))


def test_dpo_with_a_constant_reference_is_bradley_terry_on_scaled_rewards():
    zero = PairScores(
        **vars(scores(reference=False)) | {"reference_chosen_B": torch.zeros(4), "reference_rejected_B": torch.zeros(4)}
    )
    scaled = scores([0.1 * x for x in CHOSEN], [0.1 * x for x in REJECTED], reference=False)
    torch.testing.assert_close(DPO(beta=0.1).losses(zero), BradleyTerry().losses(scaled))


@settings(max_examples=30, deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_losses_stay_finite_and_the_hinge_bounds_the_sigmoid_from_above_by_log_two(chosen, rejected):
    pair = scores([chosen] * 4, [rejected] * 4)
    for loss in EVERY_LOSS:
        assert loss.losses(pair).isfinite().all()
    hinge, sigmoid = DPO(shape="hinge").losses(pair), DPO().losses(pair)
    # log(1 + e^−m) ≤ log 2 + max(0, −m), and 1 − m is above the latter by at least 1 − log 2 where m ≤ 1.
    assert (sigmoid <= hinge + math.log(2) + 1e-9).all()


@pytest.mark.parametrize("loss", [DPO, SimPO])
def test_hinge_and_label_smoothing_clash(loss):
    with pytest.raises(ValueError, match=r"label_smoothing = 0\.1 with shape = 'hinge'"):
        loss(shape="hinge", label_smoothing=0.1)


@pytest.mark.parametrize("loss", [DPO, SimPO, BradleyTerry])
@pytest.mark.parametrize("value", [-0.1, 0.5, 1.0])
def test_label_smoothing_has_a_range(loss, value):
    with pytest.raises(ValueError, match=r"must be at least 0 and below 0\.5"):
        loss(label_smoothing=value)


def test_noise_is_on_sums_alone() -> None:
    with pytest.raises(ValueError, match=r'log_probability = "mean": must be "sum"'):
        NoisePreference(log_probability="mean")


def test_a_loss_says_whether_its_reference_is_noisy() -> None:
    loud = NoisePreference(beta=0.2, noise=Noise(scale=0.5))
    assert noisy(loud) is loud
    assert noisy(loud.with_noise(Noise(scale=0.0))) is None
    assert loud.with_noise(Noise(scale="auto")) == NoisePreference(beta=0.2, noise=Noise(scale="auto"))
    assert not [loss for loss in EVERY_LOSS if noisy(loss)]


def test_a_loss_with_a_beta_takes_another_and_keeps_the_rest() -> None:
    assert with_beta(SimPO(beta=2.0, gamma=3.0), 7.0) == SimPO(beta=7.0, gamma=3.0)
    assert {type(loss) for loss in EVERY_LOSS if beta_of(loss) is None} == {IPO, SPPO, BradleyTerry}
    assert beta_of(DPO(beta=0.5)) == 0.5
