"""The local engine against transformers itself: greedy decoding, log-probabilities, ends, batches."""

import math
from dataclasses import replace

import pytest
import torch
from engine_models import save_llama
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from real_data import real
from selfboost.engines import Request
from selfboost.engines.decoding import Decoder
from selfboost.engines.local import Local
from selfboost.records import Model, Sampling

SETTINGS = (
    Sampling(temperature=0.0, max_tokens=24),
    Sampling(temperature=0.7, top_p=0.9, max_tokens=40),
    Sampling(temperature=1.0, top_k=8, max_tokens=17),
    Sampling(temperature=1.0, min_p=0.05, max_tokens=31),
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    return save_llama(folder), Model(name="tiny", path=str(folder), fingerprint="tiny")


def requests(count=17):
    """Ragged prompts, every kind of setting."""
    return [
        Request(
            prompt_ids=tuple(5 + (7 * number + place) % 59 for place in range(1 + (5 * number) % 23)),
            sampling=SETTINGS[number % 4],
            seed=number,
        )
        for number in range(count)
    ]


def sampled(model, wanted, **settings):
    with Local(**settings).open(model) as sampler:
        return dict(sampler.sample(wanted))


def full_logps(network, request, generation):
    """Log-probabilities by one forward over the whole sequence."""
    ids = torch.tensor([[*request.prompt_ids, *generation.token_ids]])
    with torch.no_grad():
        logps = network(ids).logits[0].log_softmax(-1)
    start = len(request.prompt_ids)
    return logps[start - 1 : -1].gather(-1, ids[0, start:, None])[:, 0].tolist()


def same(one, other):
    assert (one.token_ids, one.finish, one.reason) == (other.token_ids, other.finish, other.reason)
    assert one.logps == pytest.approx(other.logps, abs=1e-4)


def test_one_alone_equals_one_among_seventeen(llama):
    _, model = llama
    wanted = requests()
    together = sampled(model, wanted)
    assert together.keys() == set(range(17))
    with Local().open(model) as sampler:
        for index, request in enumerate(wanted):
            same(dict(sampler.sample([request]))[0], together[index])


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_rows_that_leave_and_join_change_nothing(llama, batch_size):
    _, model = llama
    wanted = requests()
    together, narrow = sampled(model, wanted), sampled(model, wanted, batch_size=batch_size)
    for index in range(17):
        same(narrow[index], together[index])


def test_the_same_call_gives_the_same_bits(llama):
    _, model = llama
    assert list(sampled(model, requests(), batch_size=5).items()) == list(
        sampled(model, requests(), batch_size=5).items()
    )


def test_logps_equal_one_full_forward(llama):
    network, model = llama
    for index, generation in sampled(model, requests(), batch_size=6).items():
        assert generation.logps == pytest.approx(full_logps(network, requests()[index], generation), abs=1e-4)


def test_greedy_equals_generate(llama):
    network, model = llama
    wanted = [replace(request, sampling=SETTINGS[0]) for request in requests()]
    for index, generation in sampled(model, wanted, batch_size=7).items():
        ids = torch.tensor([wanted[index].prompt_ids])
        made = network.generate(ids, max_new_tokens=24, do_sample=False, pad_token_id=0, eos_token_id=2)
        assert generation.token_ids == tuple(made[0, ids.shape[1] :].tolist())
        assert generation.finish == ("stop" if generation.token_ids[-1] == 2 else "length")


@pytest.mark.parametrize("name", ["stories260K-hf", "tinystories-bit1M-hf"])
def test_greedy_equals_generate_on_real_models(name):
    path = str(real(f"model/{name}"))
    network = AutoModelForCausalLM.from_pretrained(path)
    with Local(batch_size=2).open(Model(name=name, path=path, fingerprint="real")) as sampler:
        texts = ["Once upon a time", "Lily saw a big red dog and", "The"]
        prompts = [sampler.tokenizer.raw(text)["input_ids"] for text in texts]
        wanted = [Request(prompt_ids=tuple(ids), sampling=SETTINGS[0], seed=0) for ids in prompts]
        for index, generation in sampler.sample(wanted):
            made = network.generate(torch.tensor([prompts[index]]), max_new_tokens=24, do_sample=False)
            assert generation.token_ids == tuple(made[0, len(prompts[index]) :].tolist())
            assert generation.logps == pytest.approx(full_logps(network, wanted[index], generation), abs=1e-3)


NETWORKS = {
    "learned positions": lambda: GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64)),
    "sliding window": lambda: MistralForCausalLM(
        MistralConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=64,
            vocab_size=64,
            sliding_window=8,
        )
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_other_architectures(name):
    torch.manual_seed(1)
    network = NETWORKS[name]().eval()
    decoder = Decoder(model=network, stop_ids=frozenset({2}), text=str, context_length=96, batch_size=4)
    for index, generation in decoder.decode(requests(9)):
        assert generation.logps == pytest.approx(full_logps(network, requests(9)[index], generation), abs=1e-4)


def test_answers_end_at_the_context(llama):
    _, model = llama
    sampling = Sampling(temperature=1.0, max_tokens=1000)
    lengths = (95, 96, 97, 60, 0)
    wanted = [Request(prompt_ids=(7,) * length, sampling=sampling, seed=3) for length in lengths]
    found = sampled(model, wanted)
    assert len(found[0].token_ids) == 1
    assert len(found[3].token_ids) <= 36
    for index, reason in ((1, "no room"), (2, "no room"), (4, "empty")):
        assert found[index].finish == "failed"
        assert reason in found[index].reason
        assert found[index].token_ids == ()


def test_stop_texts_end_only_the_rows_that_have_them(llama):
    _, model = llama
    base = Request(prompt_ids=(9, 8, 7), sampling=Sampling(temperature=1.5, max_tokens=30), seed=5)
    with Local().open(model) as sampler:
        free = dict(sampler.sample([base]))[0]
        stop = sampler.tokenizer.text(free.token_ids[6:8])
        held = replace(base, sampling=replace(base.sampling, stop=("never said", stop)))
        found = dict(sampler.sample([held, base]))
        assert found[1].token_ids == free.token_ids
        assert found[0].finish == "stop"
        said = sampler.tokenizer.text(found[0].token_ids)
        assert said.endswith(stop)
        assert stop not in sampler.tokenizer.text(found[0].token_ids[:-1])


def test_logits_that_are_not_finite_fail_their_row_alone(llama):
    network, _ = llama
    broken = type(network)(network.config).eval()
    broken.load_state_dict(network.state_dict())
    with torch.no_grad():
        broken.model.embed_tokens.weight[33] = math.nan
    decoder = Decoder(model=broken, stop_ids=frozenset({2}), text=str, context_length=96, batch_size=4)
    greedy = Sampling(temperature=0.0, max_tokens=5)
    wanted = [Request(prompt_ids=ids, sampling=greedy, seed=0) for ids in ((7, 33), (7, 9), (33,))]
    found = dict(decoder.decode(wanted))
    assert [found[index].finish for index in range(3)] == ["failed", "length", "failed"]
    assert "not finite" in found[0].reason


def test_many_samples_of_one_prompt_differ_and_follow_their_seed(llama):
    _, model = llama
    sampling = Sampling(temperature=1.0, max_tokens=12)
    wanted = [Request(prompt_ids=(7, 8), sampling=sampling, seed=seed) for seed in (1, 2, 3, 4, 1)]
    found = sampled(model, wanted)
    assert found[0].token_ids == found[4].token_ids
    assert len({found[index].token_ids for index in range(4)}) == 4


def test_nothing_wanted_gives_nothing(llama):
    assert sampled(llama[1], []) == {}


def test_block_and_context(llama):
    engine = Local(batch_size=5)
    assert engine.block_size == 20
    with engine.open(llama[1]) as sampler:
        assert sampler.context_length == 96
