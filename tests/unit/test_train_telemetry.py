"""Useful operations against a count of the products that PyTorch really does; rates and memory within reason."""

import copy
import time
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from train_records import examples, pair, pairs
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from selfboost.train import Training
from selfboost.train.model.adapters import put_on
from selfboost.train.packs.rows import example_items, pair_items
from selfboost.train.steps.telemetry import TIMINGS, StepMeter, keys_seen, memory_mb, product_rate, work_of

torch.set_num_threads(1)
SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip


def llama(**settings):
    return LlamaForCausalLM(LlamaConfig(**SIZES, attn_implementation="eager", **settings))


def rotation_products(model, tokens):
    """Products that angles of rotary embeddings take, which no work counts; newer transformers make them without."""
    with FlopCounterMode(display=False) as counter:
        model.model.rotary_emb(torch.zeros(1, tokens, 1), torch.arange(tokens)[None])
    return counter.get_total_flops()


@given(st.integers(0, 20), st.integers(0, 20), st.none() | st.integers(1, 25))
def test_keys_are_counted_as_they_are_seen(start, length, window):
    expected = sum(min(place + 1, window or place + 1) for place in range(start, start + length))
    assert keys_seen(start, start + length, window) == expected


def test_products_are_those_that_pytorch_counts():
    """One row without a prompt to speak of: all positions but the first are predicted, attention sees all keys."""
    model, tokens = llama(), 40
    ids_BT = torch.arange(1, tokens + 1)[None]
    with FlopCounterMode(display=False) as counter:
        model(ids_BT).logits.sum().backward()
    (item,) = example_items(examples([(1, tokens - 1, 1)])[:1], 100)
    work = work_of(model)
    counted = counter.get_total_flops() - rotation_products(model, tokens)
    # PyTorch multiplies with hidden keys too, and predicts after the last token.
    hidden = work.per_key * 2 * (tokens**2 - keys_seen(0, tokens, None))
    assert work.operations([item]) + hidden + work.per_prediction == counted


def test_frozen_weights_have_no_gradient_of_their_own():
    model = llama()
    whole = work_of(model)
    with FlopCounterMode(display=False) as counter:
        frozen = copy.deepcopy(model)
        frozen.requires_grad_(False)
        hidden = frozen.model.embed_tokens(torch.arange(1, 41)[None]).requires_grad_()
        frozen(inputs_embeds=hidden).logits.sum().backward()
    work = work_of(frozen)
    assert work.per_token == pytest.approx(whole.per_token * 4 / 6)
    assert work.per_prediction == pytest.approx(whole.per_prediction * 4 / 6)
    counted = counter.get_total_flops() - rotation_products(model, 40)
    assert counted == 40 * (work.per_token + work.per_prediction + 2 * 40 * work.per_key)


def test_an_adapter_s_own_matrices_count_whole():
    pytest.importorskip("peft", reason="needs the extra `lora`")
    model = llama()
    frozen = work_of(model).per_token * 4 / 6
    put_on(model, Training(lora_rank=2, lora_targets=("q_proj",)), 0, train_head=False)
    assert work_of(model).per_token == frozen + 6 * 2 * (32 * 2 + 2 * 32)


def test_a_shared_prompt_counts_once():
    work = work_of(llama())
    (both,) = pair_items([pair(0, range(30), range(7), range(9))], 100)
    first, second = (example_items(examples([(30, n, 1)]), 100)[0] for n in (7, 9))
    prompt = 30 * work.per_token + 2 * work.per_key * keys_seen(0, 30, None)
    assert work.operations([both]) == work.operations([first, second]) - prompt


def test_windows_and_experts_cost_what_is_used():
    narrow = work_of(MistralForCausalLM(MistralConfig(**SIZES, sliding_window=5)))
    assert narrow.windows == [5, 5]
    mixed = work_of(Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=8, sliding_window=5)))
    assert mixed.windows == [5, None]
    sparse = {"num_local_experts": 4, "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48}
    found = [
        work_of(MixtralForCausalLM(MixtralConfig(**{**SIZES, **sparse}, num_experts_per_tok=active))).per_token
        for active in (1, 2, 3)
    ]
    steps = [after - before for before, after in pairwise(found)]
    assert steps == [6 * 2 * 3 * 32 * 48] * 2  # an expert of each layer has three matrices


def test_the_rate_is_measured_once_in_a_moment_and_plausible():
    start = time.perf_counter()
    rate = product_rate(torch.float32, torch.device("cpu"))
    assert time.perf_counter() - start < 1
    start = time.perf_counter()
    assert product_rate(torch.float32, torch.device("cpu")) == rate
    assert time.perf_counter() - start < 0.01
    assert 1e8 < rate < 1e14


def test_memory_holds_what_was_held():
    before = memory_mb(torch.device("cpu"))
    block = torch.ones((int(before) + 64) * 2**18)  # more than was ever held, in MB of float32
    assert memory_mb(torch.device("cpu")) >= before + 64
    del block


def test_a_row_of_measures():
    model, items = llama(), pair_items(pairs(), 100)
    row = StepMeter(model).row(items, 2.0)
    assert tuple(row) == TIMINGS
    assert row["seconds"] == 2
    assert row["tokens_per_second"] == sum(item.tokens for item in items) / 2
    rate = product_rate(torch.float32, torch.device("cpu"))
    assert row["utilisation"] == round(work_of(model).operations(items) / 2 / rate, 4)
