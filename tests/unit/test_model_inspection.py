"""What a look at a checkpoint finds before it is loaded, and that a row's results are its own."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_models import TEMPLATE, save_llama, save_words
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    FNetConfig,
    FNetForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from selfboost.engines import Request
from selfboost.engines.context import context_of
from selfboost.engines.local import Local
from selfboost.records import Answer, Message, Model, Origin, Sampling, user_prompt
from selfboost.scorers import notes_of
from selfboost.scorers.implicit import Implicit
from selfboost.scorers.likelihood import Likelihood
from selfboost.scorers.reward_model import RewardModel
from selfboost.train.local import Local as Trainer
from selfboost.train.local_settings import LocalSettings
from selfboost.train.model.logprobs import language_model
from selfboost.train.packs.rows import Item, Row
from selfboost.train.steps.checkpoints import save_model

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    save_llama(made)
    return made


def model(folder):
    return Model(name="m", path=str(folder), fingerprint="m")


def change_config(folder, **settings):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def cut(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def with_nan(weights):
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")


def only_adapter(folder):
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")


def as_encoder(folder):
    BertForMaskedLM(BertConfig(**SIZES)).save_pretrained(str(folder))


def with_index(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("{}")


FAULTS = {
    "a list": (lambda f: (f / "config.json").write_text("[]"), "holds a list, expected a JSON object"),
    "empty": (lambda f: (f / "config.json").write_text("{}"), "names no model_type"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "not readable as JSON"),
    "unknown": (lambda f: change_config(f, model_type="lama"), "'lama', which transformers"),
    "quantised": (lambda f: change_config(f, quantization_config={"bits": 4}), "is quantised"),
    "encoder": (as_encoder, "type bert, which is no language model"),
    "other sizes": (lambda f: change_config(f, hidden_size=64), "do not fit together"),
    "fewer embeddings": (lambda f: change_config(f, vocab_size=32), "do not fit together"),
    "more layers": (lambda f: change_config(f, num_hidden_layers=3), "lacks 9 weights"),
    "cut off": (cut, "is damaged"),
    "ten bytes": (lambda f: (f / "model.safetensors").write_bytes(b"0123456789"), "not a whole safetensors file"),
    "huge header": (
        lambda f: (f / "model.safetensors").write_bytes((2**60).to_bytes(8, "little") + b"{}"),
        "not a whole safetensors file",
    ),
    "NaN": (lambda f: change_weights(f, with_nan), "not finite"),
    "adapter": (only_adapter, "holds an adapter alone"),
    "index": (with_index, "has no weight_map"),
    "template": (
        lambda f: (f / "chat_template.jinja").write_text("{{ 'Hello <end>' }}"),
        "ignores what messages say",
    ),
    "end": (lambda f: (f / "generation_config.json").write_text('{"eos_token_id": "x"}'), "eos_token_id = 'x'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_look_finds_what_opening_would(folder, fault):
    spoil, sentence = FAULTS[fault]
    spoil(folder)
    with pytest.raises(ValueError, match=sentence) as looked:
        Local().look(model(folder))
    with pytest.raises(ValueError, match=sentence), Local(device="cpu").open(model(folder)):
        pass
    assert "\n" not in str(looked.value)


def test_a_sound_model_is_seen_whole(folder):
    looked = Local().look(model(folder))
    assert (looked.context_length, list(looked.notes)) == (96, [])


def test_weights_of_the_bare_body_serve_as_they_do_in_transformers(folder):
    """A checkpoint saved from the model without its head names weights without `model.`; only the head is missing."""

    def bare(weights):
        for name in list(weights):
            weights[name.removeprefix("model.")] = weights.pop(name)

    change_weights(folder, bare)
    assert Local().look(model(folder)).context_length == 96


def test_a_tokenizer_larger_than_its_model_is_refused(folder):
    tokenizer = Local().tokenizer(model(folder)).raw
    tokenizer.add_tokens(["<answer>"])
    tokenizer.save_pretrained(str(folder))
    sentence = r"has ids \(64\) that the model's 64 embeddings lack"
    with pytest.raises(ValueError, match=sentence):
        Local().look(model(folder))
    with pytest.raises(ValueError, match=sentence), Local(device="cpu").open(model(folder)):
        pass


def test_rows_of_the_head_without_a_token_are_never_drawn(tmp_path):
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SIZES | {"vocab_size": 256})).save_pretrained(str(tmp_path))
    save_words(tmp_path)
    requests = [
        Request(prompt_ids=(5, 6, 7), sampling=Sampling(temperature=t, max_tokens=20), seed=seed)
        for seed, t in enumerate([0.0, 1.0, 1.0, 1.0])
    ]
    with Local(device="cpu").open(model(tmp_path)) as sampler:
        found = dict(sampler.sample(requests))
    assert all(token < 64 for made in found.values() for token in made.token_ids)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = plain(torch.tensor([[5, 6, 7]])).logits[0, -1].log_softmax(-1)
    first = found[1]
    np.testing.assert_allclose(first.logps[0], float(expected[first.token_ids[0]]), atol=1e-4)  # the model's own share


ROTARY = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    "llama3": {
        "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "longrope": {
        "rope_type": "longrope", "factor": 4.0, "short_factor": [1.0] * 4, "long_factor": [4.0, 6.0, 8.0, 9.0],
        "original_max_position_embeddings": 32,
    },
}  # fmt: skip
CONTEXTS = {"longrope": 32}


@pytest.mark.parametrize("kind", ROTARY)
def test_a_row_is_its_own_whatever_the_rotary_embedding(tmp_path, kind):
    made = save_llama(tmp_path, 128, rope_parameters={"rope_theta": 10000.0, **ROTARY[kind]})
    context = CONTEXTS.get(kind, 128)
    assert context_of(made.config) == context
    sampling = Sampling(temperature=1.0, max_tokens=200)
    prompts = [tuple(5 + (at * 7 + 3 * n) % 50 for at in range(n)) for n in (4, context - 8)]
    requests = [Request(prompt_ids=ids, sampling=sampling, seed=seed) for seed, ids in enumerate(prompts)]
    with Local(device="cpu", dtype="float32").open(model(tmp_path)) as sampler:
        assert sampler.context_length == context
        together = dict(sampler.sample(requests))
        alone = [dict(sampler.sample([request]))[0] for request in requests]
    for at, expected in enumerate(alone):
        assert together[at].token_ids == expected.token_ids
        np.testing.assert_allclose(together[at].logps, expected.logps, atol=1e-4)
    for packing in (True, False):
        settings = LocalSettings(packing=packing, device="cpu")
        opened = language_model(AutoModelForCausalLM.from_pretrained(tmp_path).eval(), settings)
        rows = [Row(ids, alone[at].token_ids) for at, ids in enumerate(prompts)]
        with torch.no_grad():
            beside = opened.logps([Item("", (row,)) for row in rows])
        for at, found in enumerate(beside):
            np.testing.assert_allclose(found, alone[at].logps, atol=1e-3)


def test_a_context_that_is_cut_is_said(tmp_path):
    save_llama(tmp_path, 128, rope_parameters={"rope_theta": 10000.0, **ROTARY["longrope"]})
    (note,) = Local().look(model(tmp_path)).notes
    assert note.startswith("rows have at most 32 tokens of the model's 128")


def judged(folder, words):
    prompt = user_prompt("w1 w2", Origin(source="seed"))
    answer = Answer(prompt=prompt, text=" ".join(["w3"] * words), prompt_ids=(5,), token_ids=(7, 8), finish="stop")
    (verdict,) = RewardModel(path=str(folder)).score([answer], {"reward": model(folder)}, Trainer())
    return verdict


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_what_a_reward_model_cannot_read_has_no_value_and_a_reason(tmp_path, kind):
    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, num_labels=1, pad_token_id=0)
        GPT2ForSequenceClassification(config).save_pretrained(str(tmp_path))
    else:
        config = LlamaConfig(**SIZES, max_position_embeddings=64, num_labels=1, pad_token_id=0)
        LlamaForSequenceClassification(config).save_pretrained(str(tmp_path))
    save_words(tmp_path)
    long = judged(tmp_path, 120)
    assert (long.value, long.reason) == (None, "126 tokens, the reward model reads 64")
    assert isinstance(judged(tmp_path, 20).value, float)


@pytest.mark.parametrize("scorer", [Implicit(), Likelihood()])
def test_an_answer_longer_than_a_model_reads_has_no_value_and_a_reason(tmp_path, scorer):
    """The models differ in what they read: the shorter one decides, and all other answers are scored."""
    save_llama(tmp_path / "policy", context=32)
    save_llama(tmp_path / "reference", context=96)
    models = {role: replace(model(tmp_path / role), name=role) for role in scorer.needs()}
    prompt = user_prompt("w1", Origin(source="seed"))
    answers = [
        Answer(prompt=prompt, text="x", prompt_ids=(5,) * 20, token_ids=(7,) * tokens, finish="stop", index=tokens)
        for tokens in (12, 13, 3)
    ]
    found = list(scorer.score(answers, models, Trainer(device="cpu")))
    assert [verdict.reason for verdict in found] == ["", "33 tokens, the model policy reads 32", ""]
    assert [verdict.value is None for verdict in found] == [False, True, False]
    (alone,) = scorer.score(answers[2:], models, Trainer(device="cpu"))
    assert alone.value == pytest.approx(found[2].value, abs=1e-4)


def test_a_reward_model_without_a_template_is_said_by_its_name(tmp_path):
    LlamaForSequenceClassification(LlamaConfig(**SIZES, num_labels=1, pad_token_id=0)).save_pretrained(str(tmp_path))
    save_words(tmp_path, None)
    (note, *_) = notes_of(RewardModel(path=str(tmp_path)))
    assert note.startswith(f"scorer RewardModel, {tmp_path}: the tokenizer has no chat template: the default template")


def test_an_architecture_that_mixes_neighbours_is_refused_by_name(tmp_path):
    FNetForSequenceClassification(FNetConfig(**SIZES, num_labels=1)).save_pretrained(str(tmp_path))
    save_words(tmp_path)
    with pytest.raises(ValueError, match="of type fnet, whose results for a row depend on the rows beside it"):
        notes_of(RewardModel(path=str(tmp_path)))
    with pytest.raises(ValueError, match="of type fnet"):
        judged(tmp_path, 3)


GENERATE = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = sys.argv[1]
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
ids = tokenizer.apply_chat_template(json.loads(sys.argv[2]), add_generation_prompt=True, return_dict=False)
made = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=40)
print(json.dumps([ids, made[0, len(ids):].tolist()]))
"""


def test_an_exported_model_ends_its_answers_as_ours_do(tmp_path):
    """The start's generation settings know neither the end-of-turn token of the template nor the template itself."""
    start, into = tmp_path / "start", tmp_path / "made"
    made = save_llama(start)
    end = 9  # a word that the template writes behind an answer
    file = start / "tokenizer.json"
    vocabulary = json.loads(file.read_text())
    vocabulary["added_tokens"].append(vocabulary["added_tokens"][0] | {"id": end, "content": "w2"})
    file.write_text(json.dumps(vocabulary))
    (start / "chat_template.jinja").write_text(TEMPLATE.replace("<end>", "w2"))
    with torch.no_grad():  # the end-of-turn token is likely, so that answers end
        made.lm_head.weight[end] += 3 * made.lm_head.weight.mean(0) + 0.5
    made.save_pretrained(str(start))
    (start / "generation_config.json").write_text('{"eos_token_id": 2}')
    save_model(made, str(start), make(into), trust_remote_code=False)
    settings = json.loads((into / "generation_config.json").read_text())
    assert settings["eos_token_id"] == [end, 2]
    messages = [Message(role="user", content="w5 w6 w7")]
    assert "w2" in (into / "chat_template.jinja").read_text()
    with Local(device="cpu", dtype="float32").open(model(into)) as sampler:
        ids = sampler.tokenizer.prompt_ids(messages)
        request = Request(prompt_ids=ids, sampling=Sampling(temperature=0.0, max_tokens=40), seed=0)
        ours = dict(sampler.sample([request]))[0]
    assert (ours.finish, ours.token_ids[-1]) == ("stop", end)
    asked = json.dumps([{"role": m.role, "content": m.content} for m in messages])
    run = subprocess.run([sys.executable, "-c", GENERATE, str(into), asked], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout.splitlines()[-1]) == [list(ids), list(ours.token_ids)]


def make(folder):
    folder.mkdir()
    return folder
