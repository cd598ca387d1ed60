"""Our own forward pass against transformers': the same greedy texts and log-probabilities, or a stated refusal."""

import math

import engine_models  # noqa: F401  (one thread)
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from selfboost.engines import Request, llama_step
from selfboost.engines.decoding import Decoder
from selfboost.engines.llama_step import LlamaStep
from selfboost.engines.llama_weights import PART, LogitsProduct, pack
from selfboost.records import Sampling

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 64,
    "max_position_embeddings": 96,
}
GREEDY = Sampling(temperature=0.0, max_tokens=10)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def network(kind, config, **settings):
    """A random model, peaked enough that greedy has no near ties."""
    torch.manual_seed(3)
    made = kind(config(**SIZES, **settings)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.15 + (parameter.dim() == 1))
    return made


OURS = {
    "llama": lambda: network(LlamaForCausalLM, LlamaConfig),
    "tied, wide heads": lambda: network(LlamaForCausalLM, LlamaConfig, tie_word_embeddings=True, head_dim=16),
    "biases": lambda: network(LlamaForCausalLM, LlamaConfig, attention_bias=True, mlp_bias=True),
    "scaled rotation": lambda: network(
        LlamaForCausalLM, LlamaConfig, rope_parameters={**LLAMA3, "original_max_position_embeddings": 24}
    ),
    "mistral": lambda: network(MistralForCausalLM, MistralConfig, sliding_window=None),
    "qwen2": lambda: network(Qwen2ForCausalLM, Qwen2Config),
    "qwen3": lambda: network(Qwen3ForCausalLM, Qwen3Config, head_dim=8),
}
THEIRS = {
    "another activation": (lambda: network(LlamaForCausalLM, LlamaConfig, hidden_act="gelu"), "something else"),
    "learned positions": (lambda: GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64)), "'gpt2'"),
    "sliding window": (lambda: network(MistralForCausalLM, MistralConfig, sliding_window=8), "with the length"),
    "rotation by length": (
        lambda: network(LlamaForCausalLM, LlamaConfig, rope_parameters={"rope_type": "dynamic", "factor": 2.0}),
        "with the length",
    ),
    "adapter": (lambda: adapted(network(LlamaForCausalLM, LlamaConfig)), "q_proj is a Doubled, not a Linear"),
    "two number types": (lambda: half_norm(network(LlamaForCausalLM, LlamaConfig)), "2 number types"),
}


class Doubled(torch.nn.Linear):
    """Stands where an adapter's layer would."""

    def forward(self, x):
        return 2 * super().forward(x)


def adapted(model):
    inside = model.model.layers[1].self_attn
    weight = inside.q_proj.weight
    inside.q_proj = Doubled(32, 32, bias=False)
    inside.q_proj.weight = weight
    return model


def half_norm(model):
    model.model.norm.weight.data = model.model.norm.weight.data.double()
    return model


def decoder_of(model, batch_size=4):
    return Decoder(model=model, stop_ids=frozenset(), text=str, context_length=96, batch_size=batch_size)


def prompts(count=9):
    """Ragged, some of them twice."""
    return [tuple(5 + (7 * n + at) % 59 for at in range(1 + (5 * n) % 23)) for n in (*range(count), 2, 3)]


def require_generate(model, decoder):
    """Greedy texts must be transformers', and log-probabilities those of its forward over whole rows."""
    wanted = prompts(5)
    model.generation_config.eos_token_id = None
    found = dict(decoder.decode([Request(prompt_ids=ids, sampling=GREEDY, seed=0) for ids in wanted]))
    for index, ids in enumerate(wanted):
        row = torch.tensor([ids])
        made = model.generate(row, attention_mask=torch.ones_like(row), max_new_tokens=10, do_sample=False)
        assert found[index].token_ids == tuple(made[0, len(ids) :].tolist())
        with torch.no_grad():
            logps = model(made).logits[0, len(ids) - 1 : -1].log_softmax(-1).gather(-1, made[0, len(ids) :, None])
        assert found[index].logps == pytest.approx(logps[:, 0].tolist(), abs=1e-4)


@pytest.mark.parametrize("name", OURS)
def test_greedy_on_ragged_prompts_equals_generate(name):
    model = OURS[name]()
    decoder = decoder_of(model)
    assert decoder.why_not_ours == ""
    require_generate(model, decoder)


@pytest.mark.parametrize("name", THEIRS)
def test_models_that_compute_otherwise_use_their_own_forward(name):
    make, why = THEIRS[name]
    model = make().eval()
    decoder = decoder_of(model)
    assert why in decoder.why_not_ours
    if name != "two number types":
        require_generate(model, decoder)


def test_bfloat16_is_within_rounding_of_float32():
    model = OURS["llama"]()
    exact, rounded = pack(model), pack(OURS["llama"]().bfloat16())
    logits = []
    for weights in (exact, rounded):
        step = LlamaStep(weights, 40)
        found = [step.add(prompts(4))]
        step.keep([0, 5, 2, 3, 4])
        found += [step.advance(torch.tensor([6, 7, 8, 9, 10])), step.advance(torch.full((5,), 11))]
        logits.append(torch.cat(found).float())
    assert (logits[0] - logits[1]).abs().max() < 0.05 * logits[0].abs().max()
    assert not decoder_of(model.bfloat16()).why_not_ours


@pytest.mark.parametrize("biased", [False, True])
def test_logits_in_parts_are_the_product(biased):
    torch.manual_seed(0)
    weight, x = torch.randn(2 * PART + 5, 8), torch.randn(3, 8)
    bias = torch.randn(len(weight)) if biased else None
    expected = torch.nn.functional.linear(x.double(), weight.double(), bias.double() if biased else None)
    assert (LogitsProduct(weight, bias)(x) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize(("dtype", "nearness"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_both_ways_to_attend_are_softmax_attention(monkeypatch, products, dtype, nearness):
    """Five rows of seven tokens at most, three key heads, beside the formula in float64."""
    monkeypatch.setattr(llama_step, "batched_products_win", lambda query: products)
    torch.manual_seed(0)
    query, key, value = (torch.randn(5, 3, tokens, 16).to(dtype) for tokens in (1, 7, 7))
    beyond = torch.arange(7) > torch.tensor([6, 0, 3, 5, 2])[:, None, None]
    mask = torch.zeros(5, 1, 7).masked_fill(beyond, -torch.inf).to(dtype)
    found = llama_step.attend_one(query, key, value, mask, 0.25).view(5, 3, 1, 16)
    score = 0.25 * query.double() @ key.double().transpose(2, 3) + mask[:, None].double()
    assert (found.double() - score.softmax(-1) @ value.double()).abs().max() <= nearness * value.abs().max()


def test_a_row_that_fails_leaves_nothing_to_those_that_take_its_place():
    model = OURS["llama"]()
    decoder = decoder_of(model, batch_size=2)
    assert decoder.why_not_ours == ""
    clean = dict(decoder.decode(wanted := [Request(prompt_ids=p, sampling=GREEDY, seed=0) for p in prompts()]))
    with torch.no_grad():
        model.model.embed_tokens.weight[1] = math.nan
        model.model.embed_tokens.weight[2, 0] = math.inf
    spoiled = [Request(prompt_ids=(7,) * 23 + (n,), sampling=GREEDY, seed=0) for n in (1, 2)]
    untouched = [request for index, request in enumerate(wanted) if not {1, 2} & set(clean[index].token_ids)]
    assert len(untouched) > 3
    found = dict(decoder.decode([*spoiled, *untouched]))
    assert [found[n].finish for n in range(len(found))] == ["failed"] * 2 + ["length"] * len(untouched)
    assert [found[n + 2].token_ids for n in range(len(untouched))] == [
        clean[wanted.index(request)].token_ids for request in untouched
    ]


def test_rows_that_stay_are_not_moved():
    step = LlamaStep(pack(OURS["llama"]()), 40)
    step.add(prompts(4))
    held = [states.clone() for states in step._slots.layer(1)]
    step.keep([0, 5, 2])
    for before, after in zip(held, step._slots.layer(1), strict=True):
        assert after[[0, 2]].equal(before[[0, 2]])
        assert after[1].equal(before[5])
