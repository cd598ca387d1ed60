"""What makes a step: cuts to the longest length, data order, micro-batches, learning rate, the optimiser."""

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from train_records import examples, pair, pairs

from selfboost.train import Training
from selfboost.train.packs.batches import in_order, micro_batches, step_batches, steps_of
from selfboost.train.packs.rows import Row, example_items, hash_items, pair_items
from selfboost.train.steps.optimizers import Optimizer, learning_rate

torch.set_num_threads(1)
quick = settings(max_examples=60, deadline=None)
counts = st.integers(1, 40)


@quick
@given(counts, counts, counts, st.integers(2, 50))
def test_cuts_keep_the_end_of_the_prompt_and_the_start_of_completions(prompt, chosen, rejected, longest):
    whole = pair(0, range(prompt), range(100, 100 + chosen), range(200, 200 + rejected))
    (item,) = pair_items([whole], longest)
    for row, side in zip(item.rows, (whole.chosen, whole.rejected), strict=True):
        assert len(row) <= longest
        assert row.prompt_ids
        assert row.token_ids
        assert whole.prompt_ids[-len(row.prompt_ids) :] == row.prompt_ids
        assert side.token_ids[: len(row.token_ids)] == row.token_ids
    assert item.rows[0].prompt_ids == item.rows[1].prompt_ids
    if prompt + max(chosen, rejected) <= longest:
        assert item.cuts == 0
        assert item.tokens == 2 * prompt + chosen + rejected
    else:
        assert item.cuts >= 1
        assert item.longest == longest


def test_only_what_is_too_long_is_cut():
    def cut(prompt, completion, longest):
        (item,) = pair_items([pair(0, range(prompt), range(completion), range(1))], longest)
        return len(item.rows[0].prompt_ids), len(item.rows[0].token_ids), item.cuts

    assert cut(90, 20, 100) == (80, 20, 1)
    assert cut(20, 90, 100) == (20, 80, 1)
    assert cut(90, 90, 100) == (50, 50, 2)
    assert cut(50, 50, 100) == (50, 50, 0)
    assert cut(5, 5, 2) == (1, 1, 2)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((4, 0, 3), "chosen completion has no tokens"),
        ((4, 3, 0), "rejected completion has no tokens"),
        ((0, 3, 3), "prompt has no tokens"),
    ],
)
def test_an_empty_side_is_refused_by_the_name_of_its_record(sizes, message):
    bad = pair(7, *(range(5, 5 + size) for size in sizes))
    with pytest.raises(ValueError, match=f"{bad.id}: its {message}"):
        pair_items([*pairs(), bad], 100)


def test_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match="no example to train on"):
        example_items([], 100)
    with pytest.raises(ValueError, match="no pair to train on"):
        pair_items([], 100)


def test_items_are_known_by_everything_that_is_trained_on():
    items = pair_items(pairs(), 100)
    assert hash_items(items) == hash_items(pair_items(pairs(), 1000))
    assert hash_items(items) != hash_items(items[::-1])
    assert hash_items(items) != hash_items(pair_items(pairs(), 10))


@quick
@given(counts, st.integers(1, 17), st.sampled_from([0.1, 0.5, 1, 1.5, 2, 3.25]), st.integers(0, 3))
def test_every_epoch_is_a_permutation_and_a_fraction_is_a_part_of_one(count, batch_size, epochs, seed):
    batches = step_batches(count, batch_size, epochs, seed)
    order = [at for batch in batches for at in batch]
    assert len(order) == max(1, round(count * epochs))
    for start in range(0, len(order), count):
        epoch = order[start : start + count]
        assert len(set(epoch)) == len(epoch)
        assert set(epoch) <= set(range(count))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches) == steps_of(count, batch_size, epochs)
    assert batches == step_batches(count, batch_size, epochs, seed)


def test_the_seed_decides_the_order():
    assert step_batches(50, 8, 1, 0) != step_batches(50, 8, 1, 1)
    first, second = step_batches(50, 50, 2, 0)
    assert first != second  # every epoch has an order of its own


@quick
@given(st.lists(st.tuples(counts, counts, counts), min_size=1, max_size=20), st.integers(1, 300))
def test_micro_batches_hold_every_item_once_within_the_limit(lengths, tokens):
    items = pair_items(pairs(lengths), 1000)
    groups = micro_batches(items, tokens)
    assert sorted(item.id for group in groups for item in group) == sorted(item.id for item in items)
    for group in groups:
        assert len(group) == 1 or sum(item.shared_tokens for item in group) <= tokens


@quick
@given(st.lists(st.tuples(counts, counts), max_size=30), st.integers(1, 200))
def test_values_come_in_the_order_of_the_rows(lengths, tokens):
    rows = [Row(tuple(range(a)), tuple(range(b))) for a, b in lengths]

    def lengths_of(group):
        return [len(row) for item in group for row in item.rows]

    assert list(in_order(rows, tokens, lengths_of)) == [a + b for a, b in lengths]


def test_many_answers_to_one_prompt_share_it_within_the_limit():
    rows = [Row((1, 2, 3), (4,) * length) for length in (5, 5, 5, 40, 1, 1)]
    packs = []

    def compute(group):
        packs.append(group)
        return [len(row.token_ids) for item in group for row in item.rows]

    assert list(in_order(rows, 20, compute)) == [5, 5, 5, 40, 1, 1]
    for group in packs:
        rows_of = [row for item in group for row in item.rows]
        assert len(rows_of) == 1 or sum(item.shared_tokens for item in group) <= 20
    assert len(packs) < len(rows)


def rates(**values):
    training = Training(learning_rate=1.0, **values)
    return [learning_rate(step, 10, training) for step in range(10)]


def test_learning_rates():
    assert rates(schedule="constant", warmup=0) == [1.0] * 10
    assert rates(schedule="constant", warmup=0.4) == [0.25, 0.5, 0.75, 1.0, 1, 1, 1, 1, 1, 1]
    assert rates(schedule="linear", warmup=0.2) == pytest.approx(
        [0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    )
    cosine = [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert rates(schedule="cosine", warmup=0.2) == pytest.approx([0.5, 1.0, *cosine])


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_no_step_is_spent_at_a_rate_of_nothing(schedule, steps):
    training = Training(learning_rate=3e-4, schedule=schedule, warmup=0.1)
    found = [learning_rate(step, steps, training) for step in range(steps)]
    assert all(0 < rate <= 3e-4 for rate in found)
    assert max(found) == 3e-4


def test_adamw_is_the_formula():
    """Two steps of AdamW (arXiv 1711.05101, algorithm 2) by hand; vectors are not decayed."""
    matrix, vector = torch.ones(1, 1, requires_grad=True), torch.ones(1, requires_grad=True)
    optimizer = Optimizer([matrix, vector], Training(learning_rate=0.1, weight_decay=0.5, max_gradient_norm=1e9))
    expected, first, second = [1.0, 1.0], 0.0, 0.0
    for step, gradient in enumerate((2.0, -1.0), start=1):
        matrix.grad, vector.grad = torch.full((1, 1), gradient), torch.full((1,), gradient)
        optimizer.step(0.1)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        move = 0.1 * (first / (1 - 0.9**step)) / (math.sqrt(second / (1 - 0.999**step)) + 1e-8)
        expected = [expected[0] * (1 - 0.1 * 0.5) - move, expected[1] - move]
    assert [matrix.item(), vector.item()] == pytest.approx(expected, rel=1e-6)


def test_rmsprop_is_the_formula():
    weight = torch.ones(1, 1, requires_grad=True)
    optimizer = Optimizer([weight], Training(optimizer="rmsprop"))
    weight.grad = torch.full((1, 1), 3.0)
    optimizer.step(0.1)
    assert weight.item() == pytest.approx(1 - 0.1 * 3 / (math.sqrt(0.01 * 9) + 1e-8), abs=1e-6)


def test_rmsprop_is_pytorch_s_as_it_stands():
    """Hugging Face's trainers, which SPIN's recipes give `optim: rmsprop`, hand over the learning rate alone."""
    torch.manual_seed(0)
    ours = torch.randn(4, 3, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    optimizer = Optimizer([ours], Training(optimizer="rmsprop"))
    plain = torch.optim.RMSprop([theirs], lr=0.01)
    for _ in range(5):
        theirs.grad = torch.randn(4, 3)
        ours.grad = theirs.grad.clone()
        optimizer.step(0.01)
        plain.step()
    assert torch.equal(ours, theirs)


def descend(optimizer_name, steps=150):
    """A least-squares fit; returns the losses and the optimiser."""
    torch.manual_seed(0)
    inputs_BD, outputs_BV = torch.randn(64, 128), torch.randn(64, 64)
    weight_VD = torch.zeros(64, 128, requires_grad=True)
    optimizer = Optimizer([weight_VD], Training(optimizer=optimizer_name, max_gradient_norm=1e9))
    losses = []
    for _ in range(steps):
        loss = (inputs_BD @ weight_VD.T - outputs_BV).square().mean()
        loss.backward()
        losses.append(loss.item())
        optimizer.step(3e-3)
    return losses, optimizer


def test_adamw_with_moments_in_8_bits_descends_like_adamw():
    pytest.importorskip("bitsandbytes", reason="needs the extra `eight-bit`")
    exact, optimizer = descend("adamw")
    rough, eight_bit = descend("adamw_8bit")
    assert rough[-1] < 0.05 * rough[0]
    for step in (10, 50, 149):
        assert rough[step] == pytest.approx(exact[step], rel=0.1, abs=0.01)
    (state,) = eight_bit.state()["moments"]["state"].values()
    moments = state["__bnb_optimizer_quant_state__"]
    assert moments["state1"].dtype == moments["state2"].dtype == torch.uint8
    assert moments["state1"].shape == (64, 128)
    (whole,) = optimizer.state()["moments"]["state"].values()

    def taken(state):
        return sum(tensor.nbytes for tensor in state.values() if isinstance(tensor, torch.Tensor))

    assert taken(moments) < 0.3 * taken(whole)  # a quarter and the scales of the blocks


def test_without_bitsandbytes_one_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # as where it is not installed
    weight = torch.ones(1, 1, requires_grad=True)
    with pytest.raises(
        ValueError, match=r"optimizer = 'adamw_8bit' needs bitsandbytes, .*: pip install 'selfboost\[eight-bit\]'$"
    ):
        Optimizer([weight], Training(optimizer="adamw_8bit"))


def test_gradients_are_clipped_to_the_norm():
    weight = torch.zeros(2, 2, requires_grad=True)
    optimizer = Optimizer([weight], Training(max_gradient_norm=0.5))
    weight.grad = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert optimizer.clip() == pytest.approx(5.0)
    torch.testing.assert_close(weight.grad, torch.tensor([[0.3, 0.0], [0.0, 0.4]]), rtol=1e-4, atol=0)


def test_bfloat16_weights_keep_the_small_steps_their_masters_take():
    weight = torch.ones(1, 1, dtype=torch.bfloat16, requires_grad=True)
    optimizer = Optimizer([weight], Training())
    for _ in range(40):  # a step of 1e-3 is lost in bfloat16, whose numbers near 1 are 4e-3 apart
        weight.sum().backward()
        optimizer.step(1e-3)
    assert weight.item() == pytest.approx(0.96, abs=4e-3)


def test_micro_batch_gradients_of_bfloat16_weights_add_up_in_float32():
    weight = torch.ones(1, 1, dtype=torch.bfloat16, requires_grad=True)
    optimizer = Optimizer([weight], Training(max_gradient_norm=1e9))
    for value in (256.0, 1.0):  # 257 is no bfloat16
        (value * weight).sum().backward()
    assert optimizer.clip() == 257.0


def test_a_weight_without_a_gradient_in_a_step_keeps_none_from_the_step_before():
    weights = [torch.ones(1, 1, dtype=torch.bfloat16, requires_grad=True) for _ in range(2)]
    optimizer = Optimizer(weights, Training(max_gradient_norm=1e9))
    (3 * weights[0] + 4 * weights[1]).sum().backward()
    assert optimizer.clip() == 5.0
    optimizer.step(1e-3)
    (2 * weights[0]).sum().backward()
    assert optimizer.clip() == 2.0


def test_gradients_take_no_memory_between_steps():
    weights = [torch.ones(2, 2, dtype=kind, requires_grad=True) for kind in (torch.bfloat16, torch.float32)]
    optimizer = Optimizer(weights, Training())
    sum(weight.float().sum() for weight in weights).backward()
    assert weights[0].grad is None  # its master has it
    assert len(optimizer.gradients()) == 2
    optimizer.step(1e-3)
    assert optimizer.gradients() == []


def test_weight_decay_with_rmsprop_is_refused():
    with pytest.raises(ValueError, match=r"weight_decay = 0\.1 with optimizer = 'rmsprop'"):
        Training(optimizer="rmsprop", weight_decay=0.1)


def test_examples_have_one_row():
    assert all(len(item.rows) == 1 for item in example_items(examples(), 100))
