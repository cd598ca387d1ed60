"""Noise on the reference against a plain float64 derivation with the same draws, and what must hold of any noise."""

import copy
import math
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from engine_models import save_llama
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from small_architectures import ARCHITECTURES, in_float64, plain_logps
from train_records import examples, model, pair, pairs, silent
from transformers import AutoModelForCausalLM

from selfboost.losses.dpo import DPO
from selfboost.losses.noise_preference import NoisePreference
from selfboost.losses.noise_settings import Noise
from selfboost.losses.simpo import SimPO
from selfboost.recipe import build
from selfboost.train import Training
from selfboost.train.devices.parallel import ALONE
from selfboost.train.local import Local
from selfboost.train.model.logits import Head
from selfboost.train.model.logprobs import language_model
from selfboost.train.noise import module as arithmetic
from selfboost.train.noise.draws import NOISE, POLICY, NoiseDraws
from selfboost.train.noise.kept_states import states_file
from selfboost.train.noise.module import NoiseModule, NoisyHead, Strength
from selfboost.train.noise.objective import NoisyPreference, _scale_for, frozen
from selfboost.train.packs.batches import step_batches
from selfboost.train.packs.rows import pair_items
from selfboost.train.steps.collapse import STEPS, Watch
from selfboost.train.steps.objectives import PreferenceObjective, reference_logps
from selfboost.train.steps.telemetry import TIMINGS

torch.set_num_threads(1)
EXACT = {"rtol": 1e-9, "atol": 1e-10}
SETTINGS = [
    {},
    {"module": "affine"},
    {"exponential_of": "variance", "penalty_on": "variance"},
    {"largest_variance": 2.0},
    {"module": "affine", "largest_variance": 0.7, "penalty_on": "variance", "exponential_of": "variance"},
]
LENGTHS = [5, 12, 4]
HIDDEN, VOCABULARY, SCALE = 16, 50, 0.8


def drawn(draws, positions, draw, vocabulary=VOCABULARY):
    """All noise of a draw at once, in the order of the tokens."""
    epsilon_NV = torch.empty(sum(draws.lengths), vocabulary, dtype=torch.float64)
    for block in draws.blocks(positions):
        source = draws.source(block, draw, epsilon_NV.device)
        for start in range(0, vocabulary, arithmetic.SLICE):
            stop = min(start + arithmetic.SLICE, vocabulary)
            epsilon_NV[block[0][0].start : block[-1][0].stop, start:stop] = source.take(stop - start, torch.float64).T
    return epsilon_NV


def plain_sigma(settings, scale, logarithm):
    """σ by its definition."""
    raw = scale * torch.exp(logarithm)
    variance = raw**2 if settings.exponential_of == "deviation" else raw
    if bound := settings.largest_variance:
        variance = variance * bound / (variance + bound)
    return variance.sqrt()


def noise_module(settings, hidden=HIDDEN, vocabulary=VOCABULARY, seed=3):
    """A module in float64, an affine one away from its beginning at zero."""
    made = NoiseModule(settings, hidden, vocabulary, seed).double()
    if made.norm is None:
        torch.nn.init.normal_(made.linear.weight, std=0.1, generator=torch.Generator().manual_seed(seed))
        torch.nn.init.normal_(made.linear.bias, std=0.1, generator=torch.Generator().manual_seed(seed))
    return made


@pytest.fixture(scope="module")
def states():
    """A frozen head, hidden states before it, and targets."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(HIDDEN, VOCABULARY, dtype=torch.float64)
    count = sum(LENGTHS)
    return Head(layer), torch.randn(count, HIDDEN, dtype=torch.float64), torch.randint(0, VOCABULARY, (count,))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(("rows", "entries"), [(1, 64), (4, 16), (1000, 7)])
def test_blocks_give_the_numbers_and_gradients_of_logits_held_whole(settings, rows, entries, states, monkeypatch):
    monkeypatch.setattr(arithmetic, "SLICE", entries)
    head, hidden_ND, targets_N = states
    noise = Noise(**settings)
    module = noise_module(noise)
    draws = NoiseDraws(0, 4, ["a", "b", "c"], LENGTHS)
    noisy = NoisyHead(head, module, Strength(noise, SCALE), rows * VOCABULARY)
    found = noisy.logps(hidden_ND, targets_N, draws)
    by_logp_N, by_size_N = torch.randn(2, len(targets_N), dtype=torch.float64)
    ours = torch.autograd.grad((found.noise_N * by_logp_N + found.size_N * by_size_N).sum(), list(module.parameters()))

    logits_NV = head.layer(hidden_ND).detach()
    sigma_NV = plain_sigma(noise, SCALE, module.linear(module.features(hidden_ND)))
    at_policy_N, at_noise_N = (
        (logits_NV + sigma_NV * drawn(draws, rows, draw)).log_softmax(1).gather(1, targets_N[:, None])[:, 0]
        for draw in (POLICY, NOISE)
    )
    size_N = (sigma_NV if noise.penalty_on == "deviation" else sigma_NV**2).mean(1)
    plain = torch.autograd.grad((at_noise_N * by_logp_N + size_N * by_size_N).sum(), list(module.parameters()))
    torch.testing.assert_close(found.policy_N, at_policy_N.detach(), **EXACT)
    torch.testing.assert_close(found.noise_N, at_noise_N, **EXACT)
    torch.testing.assert_close(found.size_N, size_N, **EXACT)
    torch.testing.assert_close(found.sigma_N, sigma_NV.detach().mean(1), **EXACT)
    assert not found.policy_N.requires_grad
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def test_an_answer_has_the_same_noise_whatever_lies_beside_it():
    alone = drawn(NoiseDraws(0, 1, ["b"], [12]), 5, POLICY)
    beside = drawn(NoiseDraws(0, 1, ["a", "b", "c"], LENGTHS), 5, POLICY)[5:17]
    assert torch.equal(alone, beside)
    for other in (NoiseDraws(1, 1, ["b"], [12]), NoiseDraws(0, 2, ["b"], [12]), NoiseDraws(0, 1, ["a"], [12])):
        assert not torch.equal(alone, drawn(other, 5, POLICY))
    assert not torch.equal(alone, drawn(NoiseDraws(0, 1, ["b"], [12]), 5, NOISE))
    assert torch.unique(alone).numel() == alone.numel()  # no part repeats another's


def test_the_noise_is_standard_normal():
    many = torch.cat([drawn(NoiseDraws(0, step, ["a", "b"], [40, 60]), 16, POLICY).flatten() for step in range(20)])
    count = many.numel()
    moments = [float(many.pow(k).mean()) for k in (1, 2, 3, 4)]
    # Mean and standard deviation of the moments' estimates under a standard normal: Var of x^k is E x^2k − (E x^k)².
    for found, expected, spread in zip(moments, (0, 1, 0, 3), (1, 2, 15, 96), strict=True):
        assert abs(found - expected) < 4 * math.sqrt(spread / count)


@pytest.mark.slow
def test_the_mean_log_probability_is_a_monte_carlo_estimate_of_its_own(states):
    head, hidden_ND, targets_N = states
    noise = Noise()
    module = noise_module(noise)
    noisy = NoisyHead(head, module, Strength(noise, SCALE))
    with torch.no_grad():
        ours = [
            noisy.logps(hidden_ND, targets_N, NoiseDraws(0, at, ["a"], [21])).policy_N.numpy() for at in range(3000)
        ]
        logits = head.layer(hidden_ND).numpy()
        sigma = plain_sigma(noise, SCALE, module.linear(module.features(hidden_ND))).numpy()
    generator = np.random.default_rng(0)
    theirs = []
    for _ in range(3000):
        made = logits + sigma * generator.standard_normal(logits.shape)
        made -= made.max(1, keepdims=True)
        theirs.append(made[np.arange(21), targets_N.numpy()] - np.log(np.exp(made).sum(1)))
    difference = np.mean(ours, 0) - np.mean(theirs, 0)
    error = np.sqrt((np.var(ours, 0) + np.var(theirs, 0)) / 3000)
    assert np.all(np.abs(difference) < 4.5 * error)
    clean = torch.tensor(logits).log_softmax(1).gather(1, targets_N[:, None])[:, 0].numpy()
    assert np.mean(theirs) < np.mean(clean)  # what makes m begin below 0: log-sum-exp is convex


# The objective on a whole model.


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(3)
    return in_float64(ARCHITECTURES["llama"]().double().eval())


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(8)
    return in_float64(ARCHITECTURES["llama"]().double().eval())


def objective(policy, reference, loss, folder, training=Training(), rows=5):  # noqa: B008 - frozen
    """The objective on copies, with blocks of a few positions."""
    items = pair_items(pairs(), 64)
    opened, other = (language_model(copy.deepcopy(m), Local()) for m in (policy, reference))
    known = dict(zip((item.id for item in items), reference_logps(other, items), strict=True))
    head = frozen(other.head, copied=True, kind=torch.float64)
    folder.mkdir(exist_ok=True)
    kept = states_file(folder, items).open(items, head.weight_VD, ALONE, torch.no_grad()(other.states))
    made = NoisyPreference(opened, loss, known, kept, head, training, seed=1)
    made.noisy = replace(made.noisy, block_elements=rows * 64)
    return made, items


def plain(made, items, policy, reference, turn=("policy", "noise")):
    """What the objective adds up to, from full logits; differentiable in the policy and in the noise module."""
    noise, loss, total = made.noise, made.loss, 0.0
    draws = made._given(items)[2]
    epsilons = [drawn(draws, made.noisy.positions, draw, 64) for draw in (POLICY, NOISE)]
    start = 0
    for item in items:
        chosen, rejected = item.rows
        lp = [plain_logps(policy, row.prompt_ids, row.token_ids).sum() for row in (chosen, rejected)]
        with torch.no_grad():
            ref = plain_logps(reference, chosen.prompt_ids, chosen.token_ids).sum()
            ids = torch.tensor([[*rejected.prompt_ids, *rejected.token_ids]])
            states_TD = reference.model(ids).last_hidden_state[0, len(rejected.prompt_ids) - 1 : -1]
            logits_TV = reference.lm_head(states_TD)
        module = made.noisy.module
        sigma_TV = plain_sigma(noise, made.noisy.strength.scale, module.linear(module.features(states_TD)))
        targets_T = torch.tensor(rejected.token_ids)[:, None]
        stop = start + len(rejected.token_ids)
        seen, learned = (
            (logits_TV + s * e[start:stop]).log_softmax(1).gather(1, targets_T).sum()
            for s, e in ((sigma_TV.detach(), epsilons[0]), (sigma_TV, epsilons[1]))
        )
        if "policy" in turn:
            total = total - torch.log(torch.sigmoid(loss.beta * ((lp[0] - lp[1]) - (ref - seen))))
        if "noise" in turn:
            margin = (lp[0] - lp[1]).detach() - (ref - learned)
            size = sigma_TV if noise.penalty_on == "deviation" else sigma_TV**2
            total = total + torch.log(torch.sigmoid(loss.beta * margin)) + noise.penalty_weight * size.mean()
        start = stop
    return total


def gradients(total, *modules):
    found = {}
    for module in modules:
        module.zero_grad()
    total.backward()
    for at, module in enumerate(modules):
        found |= {(at, n): None if p.grad is None else p.grad.clone() for n, p in module.named_parameters()}
    return found


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_loss_and_both_gradients_are_those_of_the_plain_derivation(settings, llama, reference, tmp_path):
    loss = NoisePreference(beta=0.3, noise=Noise(scale=SCALE, penalty_weight=0.7, **settings))
    made, items = objective(llama, reference, loss, tmp_path)
    total, each_B, _ = made.losses(items)
    ours = gradients(total, made.language_model.model, made.noisy.module)
    expected = plain(made, items, llama, reference)
    theirs = gradients(expected, llama, made.noisy.module)
    torch.testing.assert_close(total, expected, **EXACT)
    policy_part = plain(made, items, llama, reference, ("policy",))
    torch.testing.assert_close(each_B.sum(), policy_part.detach(), **EXACT)
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, **EXACT)


def test_neither_gradient_has_a_path_through_the_other(llama, reference, tmp_path):
    loss = NoisePreference(beta=0.3, noise=Noise(scale=SCALE))
    made, items = objective(llama, reference, loss, tmp_path)
    both = gradients(made.losses(items)[0], made.language_model.model, made.noisy.module)
    policy_alone = plain(made, items, llama, reference, ("policy",))
    alone = gradients(policy_alone, llama, made.noisy.module)
    for (at, name), gradient in alone.items():
        if at == 0:
            torch.testing.assert_close(both[at, name], gradient, **EXACT)
        else:
            assert gradient is None, "the policy's loss reaches the noise"
    noise_alone = gradients(plain(made, items, llama, reference, ("noise",)), llama, made.noisy.module)
    for (at, name), gradient in noise_alone.items():
        if at == 1:
            torch.testing.assert_close(both[at, name], gradient, **EXACT)
        else:
            assert gradient is None, "the noise's loss reaches the policy"


def test_turns_train_one_and_leave_the_other(llama, reference, tmp_path):
    loss = NoisePreference(beta=0.3, noise=Noise(scale=SCALE, schedule="alternating", turn=2))
    made, items = objective(llama, reference, loss, tmp_path)
    assert [made.begin(step) for step in range(5)] == [(False, True)] * 2 + [(True, False)] * 2 + [(False, True)]
    for step, trained in ((0, 1), (2, 0)):
        made.begin(step)
        found = gradients(made.losses(items)[0], made.language_model.model, made.noisy.module)
        theirs = gradients(
            plain(made, items, llama, reference, ("noise" if trained else "policy",)), llama, made.noisy.module
        )
        for (at, name), gradient in found.items():
            if at == trained:
                torch.testing.assert_close(gradient, theirs[at, name], **EXACT)
            else:
                assert gradient is None


def test_noise_of_nearly_nothing_is_dpo(llama, reference, tmp_path):
    loss = NoisePreference(beta=0.3, noise=Noise(scale=1e-12))
    made, items = objective(llama, reference, loss, tmp_path)
    _, each_B, measures = made.losses(items)
    _, plain_B, dpo = PreferenceObjective(made.language_model, DPO(beta=0.3), made.references).losses(items)
    torch.testing.assert_close(each_B, plain_B, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(measures["margin"], dpo["margin"], rtol=1e-8, atol=1e-9)


def test_a_micro_batch_cut_otherwise_gives_the_same_sum(llama, reference, tmp_path):
    loss = NoisePreference(beta=0.3, noise=Noise(scale=SCALE))
    made, items = objective(llama, reference, loss, tmp_path)
    whole = made.losses(items)[0]
    parts = made.losses(items[:3])[0] + made.losses(items[3:])[0]
    torch.testing.assert_close(whole, parts, **EXACT)


def test_the_hinge_is_mirrored_too(llama, reference, tmp_path):
    loss = NoisePreference(beta=0.3, shape="hinge", noise=Noise(scale=SCALE, penalty_weight=0.0))
    made, items = objective(llama, reference, loss, tmp_path)
    margin = torch.tensor([0.2, 3.0], dtype=torch.float64)
    torch.testing.assert_close(loss.curve(margin), torch.tensor([0.8, 0.0], dtype=torch.float64))
    total, each_B, measures = made.losses(items)
    torch.testing.assert_close(each_B, torch.relu(1 - measures["margin"]), **EXACT)
    assert total.isfinite()


@pytest.mark.slow
@pytest.mark.parametrize("start", [0.5, 4.0])
def test_an_automatic_scale_takes_as_much_of_the_margin_as_is_wished(start, llama, reference, tmp_path):
    loss = NoisePreference(beta=0.5, noise=Noise(scale="auto", start=start))
    made, items = objective(llama, reference, loss, tmp_path)
    facts = made.found(items)
    made.settle(facts)
    assert facts["noise_start"] == pytest.approx(-start, rel=0.02)
    assert made.found(items) == facts  # whatever the scale is now
    # The same by many draws, one after the other.
    shifts = []
    for step in range(300):
        made.begin(step)
        with torch.no_grad():
            shifts += made.losses(items)[2]["noise_shift"].tolist()
    mean, error = np.mean(shifts), np.std(shifts) / math.sqrt(len(shifts))
    assert abs(0.5 * mean + start) < 5 * 0.5 * error + 0.15 * start  # the scale was found on one draw and its negative


@pytest.mark.parametrize(("wanted", "needed"), [(1.0, 5e5), (1.0, 1e-5), (3.0, 1.0)])
def test_a_scale_is_found_wherever_it_is(wanted, needed):
    found = _scale_for(lambda scale: -wanted * (scale / needed) ** 2, wanted)
    assert found == pytest.approx(needed, rel=0.01)


@pytest.mark.parametrize("start", [lambda scale: -0.5, lambda scale: math.nan, lambda scale: -scale / 1e7])
def test_a_scale_that_is_nowhere_is_said(start):
    with pytest.raises(ValueError, match=r"noise\.scale = 'auto': (no scale up to 1e\+06|the reference)"):
        _scale_for(start, 1.0)


@pytest.mark.parametrize("setting", ["scale", "start", "largest_variance", "penalty_weight"])
@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan, "automatic"])
def test_a_noise_that_is_no_number_is_refused(setting, value):
    with pytest.raises(ValueError, match=rf"noise\.{setting} = {value!r}: "):
        build(NoisePreference, {"noise": {setting: value}})


# The training as a whole.


@pytest.fixture(scope="module")
def begin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("begin")
    save_llama(folder)
    return model(folder)


TRAINING = Training(
    learning_rate=1e-3, batch_size=4, epochs=2, optimizer="rmsprop", schedule="linear", collapse="ignore"
)


def prefer(start, into, loss, training=TRAINING, reference=None, local=None, progress=silent):
    into.mkdir(parents=True, exist_ok=True)
    trainer = local or Local()
    return trainer.prefer(start, reference or start, pairs(), loss, training, into=into, seed=0, progress=progress)


def weights(folder):
    return load_file(folder / "model.safetensors")


def untimed(result):
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in result.history]


def test_no_noise_is_dpo_to_the_bit(begin, tmp_path):
    one = prefer(begin, tmp_path / "noiseless", NoisePreference(noise=Noise(scale=0.0)))
    other = prefer(begin, tmp_path / "dpo", DPO())
    assert untimed(one) == untimed(other)
    first, second = weights(tmp_path / "noiseless"), weights(tmp_path / "dpo")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_training_tells_of_its_noise_and_leaves_no_file_of_its_own(begin, tmp_path):
    result = prefer(begin, tmp_path / "out", NoisePreference(noise=Noise(scale="auto", start=2.0)))
    assert result.facts["noise_start"] == pytest.approx(-2.0, rel=0.02)
    first = result.history[0]
    # Policy and reference are the same at first, so that β·m is what the noise takes.
    assert first["margin"] == pytest.approx(0.1 * first["noise_shift"], rel=1e-4)
    for name in ("noise_loss", "noise_sigma", "noise_sigma_first", "noise_sigma_middle", "noise_sigma_last"):
        assert all(math.isfinite(row[name]) for row in result.history)
    assert not list((tmp_path / "out").glob("reference-states*"))


def test_a_noise_that_is_far_too_strong_is_told_of(begin, tmp_path):
    loud = prefer(begin, tmp_path / "loud", NoisePreference(beta=1.0, noise=Noise(scale=30.0)))
    assert loud.facts["noise_start"] < -5
    assert loud.warnings[-1].startswith(f"the noise began with a mean β·m of {loud.facts['noise_start']:.3g}: beyond")
    assert not prefer(begin, tmp_path / "calm", NoisePreference(noise=Noise(scale=0.1))).warnings


def test_fixed_noise_does_not_learn(begin, tmp_path):
    noise = Noise(scale=1.0, learning_rate=0.02, module="affine", penalty_weight=10.0)
    fixed = prefer(begin, tmp_path / "fixed", NoisePreference(noise=replace(noise, trained=False)))
    trained = prefer(begin, tmp_path / "trained", NoisePreference(noise=noise))
    sigma = [[row["noise_sigma"] for row in result.history] for result in (fixed, trained)]
    assert sigma[0] == pytest.approx([1.0] * len(sigma[0]))
    assert sigma[1][-1] < 0.97
    assert "noise_gradient_norm" not in fixed.history[0]


def test_the_penalty_shrinks_the_noise_and_the_margin_grows_it(begin, tmp_path):
    heavy = Noise(module="affine", learning_rate=0.05, penalty_weight=100.0)
    light = replace(heavy, penalty_weight=0.0)
    ends = [
        prefer(begin, tmp_path / name, NoisePreference(noise=noise)).history[-1]["noise_sigma"]
        for name, noise in (("heavy", heavy), ("light", light))
    ]
    assert ends[0] < 0.95
    assert ends[1] > 1.0


def test_turns_of_a_whole_training(begin, tmp_path):
    noise = Noise(schedule="alternating")
    result = prefer(begin, tmp_path / "out", NoisePreference(noise=noise))
    policy = [row["gradient_norm"] > 0 for row in result.history]
    other = ["noise_gradient_norm" in row for row in result.history]
    assert other == [step % 2 == 0 for step in range(len(other))]
    assert policy == [not turn for turn in other]


@pytest.mark.parametrize("noise", [Noise(scale="auto"), Noise(schedule="alternating")], ids=["auto", "turns"])
def test_an_interrupted_training_ends_with_the_same_bits(begin, noise, tmp_path):
    class Interrupted(Exception):
        pass

    def interrupt(done, total, tokens):
        if done == 3:
            raise Interrupted

    local = Local(checkpoint_steps=2)
    whole = prefer(begin, tmp_path / "whole", NoisePreference(noise=noise), local=local)
    with pytest.raises(Interrupted):
        prefer(begin, tmp_path / "cut", NoisePreference(noise=noise), local=local, progress=interrupt)
    assert list((tmp_path / "cut").glob("reference-states*"))  # where there is no cache
    resumed = prefer(begin, tmp_path / "cut", NoisePreference(noise=noise), local=local)
    assert untimed(whole) == untimed(resumed)
    assert whole.facts == resumed.facts
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not list((tmp_path / "cut").glob("reference-states*"))


def test_a_reference_other_than_the_start_has_its_own_states(begin, tmp_path):
    folder = tmp_path / "other"
    save_llama(folder, tie_word_embeddings=True)
    other = model(folder, "other")
    result = prefer(begin, tmp_path / "out", NoisePreference(), reference=other)
    twice = prefer(begin, tmp_path / "again", NoisePreference(), reference=other)
    assert untimed(result) == untimed(twice)
    row, items = result.history[0], pair_items(pairs(), 64)
    batch = [items[at] for at in step_batches(len(items), 4, 2, 0)[0]]
    with torch.no_grad():
        own, theirs = (
            [plain_logps(loaded(folder), r.prompt_ids, r.token_ids).sum() for item in batch for r in item.rows]
            for folder in (begin.path, folder)
        )
    shifts = [(o - t) / len(item.rows[0].token_ids) for o, t, item in zip(own[::2], theirs[::2], batch, strict=True)]
    assert row["chosen_shift"] == pytest.approx(float(sum(shifts)) / 4, rel=1e-4)
    margins = [(own[2 * i] - own[2 * i + 1]) - (theirs[2 * i] - theirs[2 * i + 1]) for i in range(4)]
    assert row["margin"] == pytest.approx(0.1 * (float(sum(margins)) / 4 + row["noise_shift"]), rel=1e-4)


def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def test_states_of_another_training_are_not_taken(begin, tmp_path):
    items = pair_items(pairs(), 64)
    opened = language_model(loaded(begin.path), Local())
    like = opened.head.weight_VD
    compute = torch.no_grad()(opened.states)
    first = states_file(tmp_path, items, "one").open(items, like, ALONE, compute)
    called = []

    def told(pack):
        called.append(len(pack))
        return compute(pack)

    again = states_file(tmp_path, items, "one").open(items, like, ALONE, told)
    assert not called
    assert torch.equal(first.states_SD, again.states_SD)
    states_file(tmp_path, items, "two").open(items, like, ALONE, told)
    assert sum(called) == len(items)
    row = items[0].rows[1]
    with torch.no_grad():
        plain_TD = loaded(begin.path).model(torch.tensor([[*row.prompt_ids, *row.token_ids]])).last_hidden_state[0]
    torch.testing.assert_close(first.of(items[:1], torch.device("cpu")), plain_TD[len(row.prompt_ids) - 1 : -1])


def test_a_kill_while_states_are_computed_leaves_none_that_are_taken(begin, tmp_path):
    items = pair_items(pairs(), 64)
    opened = language_model(loaded(begin.path), Local())
    compute = torch.no_grad()(opened.states)

    class Killed(BaseException):
        pass

    def dies(pack):
        raise Killed

    with pytest.raises(Killed):
        states_file(tmp_path, items).open(items, opened.head.weight_VD, ALONE, dies)
    assert list(tmp_path.iterdir())
    found = states_file(tmp_path, items).open(items, opened.head.weight_VD, ALONE, compute)
    whole = states_file(tmp_path / "other", items).open(items, opened.head.weight_VD, ALONE, compute)
    assert torch.equal(found.states_SD, whole.states_SD)
    assert found.states_SD.abs().sum(1).min() > 0


def test_other_settings_find_the_states_of_a_training_that_was_stopped(begin, tmp_path):
    """A first look at a published scale, then an automatic one: the same reference, computed once."""

    class Stopped(BaseException):
        pass

    def stop(done, total, tokens):
        raise Stopped

    cache = tmp_path / "cache"
    given = {"seed": 0, "cache": cache}
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(Stopped):
        Local().prefer(begin, begin, pairs(), NoisePreference(), TRAINING, into=into, progress=stop, **given)
    (states,) = cache.glob("reference-states*.bin")
    before = states.stat().st_mtime_ns, states.read_bytes()
    auto = NoisePreference(noise=Noise(scale="auto"))
    with pytest.raises(Stopped):
        Local().prefer(begin, begin, pairs(), auto, TRAINING, into=into, progress=stop, **given)
    assert (states.stat().st_mtime_ns, states.read_bytes()) == before
    Local().prefer(begin, begin, pairs(), auto, TRAINING, into=into, progress=silent, **given)
    assert not list(cache.glob("reference-states*"))


@pytest.mark.parametrize("settings", [{"lora_rank": 4, "lora_alpha": 8.0}, {}], ids=["lora", "bfloat16"])
def test_adapters_and_bfloat16_see_the_noise_of_a_whole_training(begin, settings, tmp_path):
    if "lora_rank" in settings:
        pytest.importorskip("peft")
    loss = NoisePreference(noise=Noise(trained=False))
    local = Local() if settings else Local(dtype="bfloat16")
    other = prefer(begin, tmp_path / "other", loss, replace(TRAINING, **settings), local=local)
    whole = prefer(begin, tmp_path / "whole", loss)
    close = {"rel": 1e-5} if settings else {"rel": 0.05, "abs": 0.1}
    found, expected = ([row["noise_shift"] for row in result.history] for result in (other, whole))
    assert found == pytest.approx(expected, **close)


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    items = pair_items(pairs(), 64)
    file = states_file(tmp_path, items, "x")
    with pytest.raises(ValueError, match=r"keeps its hidden states, 0\.0 GB in .*: No space left on device"):
        file.open(items, torch.zeros(1, 16), ALONE, partial(list))
    assert not list(tmp_path.iterdir())


# What a preference training is watched for, and how much of it is done.


@pytest.fixture(scope="module")
def certain(begin, tmp_path_factory):
    """A model that is nearly certain of the chosen answers: a wild training can only lose them."""
    into = tmp_path_factory.mktemp("certain")
    training = Training(learning_rate=0.01, batch_size=4, epochs=40)
    Local().finetune(begin, examples(), training, into=into, seed=0, progress=silent)
    return model(into, "certain")


@pytest.mark.parametrize("loss", [SimPO(), DPO(), NoisePreference()], ids=["simpo", "dpo", "noise"])
def test_lost_chosen_answers_are_told_of_or_stop_the_training(certain, loss, tmp_path):
    wild = replace(TRAINING, learning_rate=0.02, epochs=10, warmup=0.0, collapse="warn", collapse_bound=0.5)
    (told,) = prefer(certain, tmp_path / "warned", loss, wild).warnings
    assert "the chosen answers have lost" in told
    assert "training.collapse_bound = 0.5" in told
    with pytest.raises(
        ValueError, match=r"at step \d+ of 23 the chosen answers have lost .* collapse = 'warn' continues"
    ):
        prefer(certain, tmp_path / "stopped", loss, replace(wild, collapse="stop"))
    assert not prefer(certain, tmp_path / "ignored", loss, replace(wild, collapse="ignore")).warnings


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_the_watch_compares_the_last_steps_with_the_first(shifts):
    watch = Watch(Training(collapse_bound=0.5))
    shifts = [0.0, *shifts]  # policy and reference are one model at first
    for step, shift in enumerate(shifts, 1):
        watch.see({"step": step, "chosen_shift": shift}, len(shifts), str)
        recent = shifts[max(0, step - min(STEPS, len(shifts) // 2)) : step]
        if (fallen := shifts[0] - sum(recent) / len(recent)) > 0.5:
            assert (
                f"at step {step} of {len(shifts)} the chosen answers have lost {fallen:.2g} nats" in watch.warnings[0]
            )
            break
        assert not watch.warnings


@pytest.mark.parametrize(
    ("name", "steps", "warned"), [("chosen_shift", 2, 1), ("chosen_logp", 3, 0), ("chosen_logp", 4, 1)]
)
def test_a_training_of_a_few_steps_is_watched_too(name, steps, warned):
    watch = Watch(Training())
    for step in range(1, steps + 1):
        watch.see({"step": step, name: -1.5 * (step - 1)}, steps, str)
    assert len(watch.warnings) == warned


def test_a_policy_that_begins_elsewhere_than_its_reference_raises_no_alarm(begin, certain, tmp_path):
    """The distance of two models differs from batch to batch; nothing is lost where nothing is learned."""
    still = replace(TRAINING, learning_rate=1e-12, batch_size=1, epochs=3, collapse="stop", collapse_bound=0.8)
    for seed in range(4):
        into = tmp_path / str(seed)
        into.mkdir()
        Local().prefer(certain, begin, pairs(), DPO(), still, into=into, seed=seed, progress=silent)


def test_a_stopped_training_goes_on_when_it_shall_only_warn(certain, tmp_path):
    steps = []
    wild = replace(TRAINING, learning_rate=0.02, epochs=10, warmup=0.0, collapse="stop", collapse_bound=0.5)
    local = Local(checkpoint_steps=1)
    with pytest.raises(ValueError, match=r"the last state before it is kept in .*step-"):
        prefer(certain, tmp_path / "out", DPO(), wild, local=local)
    into = tmp_path / "out"
    result = local.prefer(
        certain,
        certain,
        pairs(),
        DPO(),
        replace(wild, collapse="warn"),
        into=into,
        seed=0,
        progress=lambda done, total, tokens: steps.append(done),
    )
    assert steps[0] > 1
    assert len(result.warnings) == 1


def test_a_calm_training_warns_of_nothing(begin, tmp_path):
    assert prefer(begin, tmp_path / "out", DPO(), replace(TRAINING, collapse="warn")).warnings == []


def test_a_schedule_can_be_left_early(begin, tmp_path):
    whole = prefer(begin, tmp_path / "whole", DPO(), replace(TRAINING, epochs=4))
    half = prefer(begin, tmp_path / "half", DPO(), replace(TRAINING, epochs=4, stop_after=2))
    assert (half.steps, whole.steps) == (5, 9)
    assert untimed(half) == untimed(whole)[: half.steps]
    with pytest.raises(ValueError, match=r"stop_after = 5: must be at most epochs = 4"):
        replace(TRAINING, epochs=4, stop_after=5)


def test_a_prompt_has_a_limit_of_its_own():
    long = pair(0, range(5, 35), range(40, 44), range(44, 50))
    (item,) = pair_items([long], 64, 10)
    assert item.prompt_ids == tuple(range(25, 35))
    assert item.cuts == 1
    (whole,) = pair_items([long], 64)
    assert whole.prompt_ids == tuple(range(5, 35))
    (short,) = pair_items([long], 12, 10)  # the whole row's limit is the tighter one
    assert short.longest == 12
