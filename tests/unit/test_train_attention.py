"""Attention over packs against dense attention with an explicit mask, in float64: outputs and all gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfboost.train.model import pieces
from selfboost.train.model.blocks import Scoring, attend_by_blocks
from selfboost.train.model.pieces import Block, SmallTrees, pieces_of
from selfboost.train.packs.layout import Pack
from selfboost.train.packs.rows import Item, Row

DENSE = {"rtol": 1e-10, "atol": 1e-12}
LENGTHS = st.tuples(st.integers(1, 40), st.lists(st.integers(0, 40), min_size=1, max_size=3))


def pack_of(lengths):
    """A pack of trees, each a prompt's length and its completions' lengths."""
    items = [
        Item("", tuple(Row((1,) * prompt, (2,) * completion) for completion in completions))
        for prompt, completions in lengths
    ]
    return Pack(tuple(items), torch.device("cpu"))


def dense(query_HTD, key_KTD, value_KTD, pack, scoring):
    """softmax(q·kᵀ·scale)·v over all tokens at once; padding at the pack's end sees nothing and gives 0."""
    tokens = pack.tokens
    tree, branch, place = (x[:tokens] for x in (pack.tree_T, pack.branch_T, pack.positions_T))
    order = torch.arange(tokens)
    sees = (tree[:, None] == tree) & ((branch == 0) | (branch[:, None] == branch)) & (order[:, None] >= order)
    if scoring.window:
        sees &= place[:, None] - place < scoring.window
    groups = len(query_HTD) // len(key_KTD)
    key, value = (x[:, :tokens].repeat_interleave(groups, 0) for x in (key_KTD, value_KTD))
    scores = query_HTD[:, :tokens] @ key.transpose(1, 2) * scoring.scale
    if scoring.softcap:
        scores = scoring.softcap * torch.tanh(scores / scoring.softcap)
    output = scores.masked_fill(~sees, float("-inf")).softmax(-1) @ value
    return torch.nn.functional.pad(output, (0, 0, 0, query_HTD.shape[1] - tokens)).transpose(0, 1)


def with_gradients(attend, inputs, *rest):
    own = [x.clone().requires_grad_() for x in inputs]
    output = attend(*own, *rest)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    return output.detach(), *torch.autograd.grad((output * weights).sum(), own)


@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize(("heads", "key_heads"), [(2, 2), (4, 2)])
@given(
    lengths=st.lists(LENGTHS, min_size=1, max_size=7),
    small=st.sampled_from([0, 30, 96]),
    together=st.sampled_from([1, 2**13, 2**18]),
    seed=st.integers(0, 99),
)
@settings(max_examples=12)
def test_pieces_of_any_kind_give_dense_attention(heads, key_heads, window, softcap, lengths, small, together, seed):
    pack = pack_of(lengths)
    generator = torch.Generator().manual_seed(seed)
    tokens = len(pack.ids_T)
    sizes = ((heads, tokens, 8), (key_heads, tokens, 8), (key_heads, tokens, 6))
    inputs = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    scoring = Scoring(0.3, window, softcap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "SMALL", small)
        patch.setattr(pieces, "TOGETHER", together)
        found = with_gradients(attend_by_blocks, inputs, pack, scoring)
    expected = with_gradients(dense, inputs, pack, scoring)
    torch.testing.assert_close(found, expected, **DENSE)


def kinds(pack, heads=4):
    return [(type(piece), piece.scores) for piece in pieces_of(pack, None, heads)]


def test_trees_of_a_few_tokens_are_computed_together_and_long_rows_by_blocks():
    pack = pack_of([(200, [10]), (20, [6, 6]), (20, [4, 4]), (3, [2])])
    assert kinds(pack) == [
        (Block, 128 * 128),
        (Block, 72 * 200),
        (Block, 10 * 210),
        (SmallTrees, 2 * 32 * 32),
        (SmallTrees, 5 * 5),  # too short to be padded to the others' length
    ]


def test_small_trees_are_together_up_to_a_number_of_scores():
    pack = pack_of([(20, [12])] * 200)
    assert {kind for kind, _ in kinds(pack)} == {SmallTrees}
    assert all(4 * scores <= pieces.TOGETHER for _, scores in kinds(pack))
    assert len(kinds(pack)) == 4
