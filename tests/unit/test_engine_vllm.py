"""A trained model as its adapter on a base that stays loaded: samples as of merged weights, and nothing read again."""

from dataclasses import replace

import pytest
from engine_models import save_llama
from fake_vllm import FakeLLM, install
from train_records import examples, silent

from selfboost import recipe
from selfboost.engines import Request
from selfboost.engines.checkpoint import ADAPTER
from selfboost.engines.local import Local
from selfboost.engines.vllm import VLLM
from selfboost.records import Message, Model, Sampling
from selfboost.train import Training
from selfboost.train.local import Local as Trainer

LORA = Training(learning_rate=1e-2, batch_size=4, epochs=3, max_length=64, lora_rank=3, lora_alpha=6.0)
GREEDY = Sampling(temperature=0.0, max_tokens=12)
TEXTS = ("w1 w2", "w3", "w40 w41 w42")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base, and two models that were trained from it by adapters."""
    folder = tmp_path_factory.mktemp("models")
    save_llama(folder / "base")
    made = [Model(name="base", path=str(folder / "base"), fingerprint="base")]
    for name, seed in (("one", 0), ("two", 1)):
        (into := folder / name).mkdir()
        Trainer().finetune(made[0], examples(seed=seed), LORA, into=into, seed=seed, progress=silent)
        made.append(Model(name=name, path=str(into), fingerprint=name, start=made[0]))
    return made


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    install(monkeypatch)
    yield
    VLLM().release()


def sampled(engine, model):
    with engine.open(model) as sampler:
        prompts = [sampler.tokenizer.prompt_ids([Message(role="user", content=text)]) for text in TEXTS]
        found = dict(sampler.sample([Request(prompt_ids=ids, sampling=GREEDY, seed=1) for ids in prompts]))
    return [found[i] for i in range(len(TEXTS))]


def require_alike(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (one.token_ids, one.finish) == (other.token_ids, other.finish)
        assert one.logps == pytest.approx(other.logps, abs=1e-3)


@pytest.mark.parametrize("rank", [0, 8])
def test_samples_are_those_of_merged_weights_and_an_adapter_reads_no_weights(models, rank):
    engine, base = VLLM(max_lora_rank=rank), models[0]
    texts = set()
    for model in (base, models[1], models[2], models[1], base):
        found = sampled(engine, model)
        require_alike(found, sampled(Local(device="cpu", dtype="float32"), model))
        texts.add(tuple(each.token_ids for each in found))
    assert len(texts) == 3, "three models that answer differently"
    (engine,) = FakeLLM.started
    calls = engine.calls
    if rank:
        assert "reload_weights" not in calls
        assert "sleep 2" not in calls
        assert [call for call in calls if "lora" in call] == ["add_lora", "remove_lora"] * 3
        assert (engine.arguments.enable_lora, engine.arguments.max_lora_rank) == (True, 8)
    else:
        assert calls.count("reload_weights") == 4
        assert not any("lora" in call for call in calls)
        assert not hasattr(engine.arguments, "enable_lora")


def test_the_engine_is_gone_before_a_training_and_says_what_it_gave_back(models):
    engine = VLLM(max_lora_rank=8)
    assert engine.release() == {}, "there is none yet"
    sampled(engine, models[1])
    assert FakeLLM.started[0].calls[-1] == "sleep 1"
    assert engine.release().keys() == {"free_bytes_before", "free_bytes_after"}
    assert FakeLLM.started[0].calls[-1] == "shutdown"
    sampled(engine, models[0])
    assert len(FakeLLM.started) == 2


def test_the_first_model_may_be_a_trained_one(models):
    engine = VLLM(max_lora_rank=8)
    found = sampled(engine, models[1])
    require_alike(found, sampled(Local(device="cpu", dtype="float32"), models[1]))
    assert FakeLLM.started[0].arguments.model == models[0].path


def test_a_model_without_an_adapter_or_a_start_is_loaded_as_it_is(models, tmp_path):
    save_llama(tmp_path)
    whole = Model(name="whole", path=str(tmp_path), fingerprint="whole", start=models[0])
    for model in (whole, replace(models[1], start=None)):
        found = sampled(VLLM(max_lora_rank=8), model)
        require_alike(found, sampled(Local(device="cpu", dtype="float32"), model))
    assert [call for call in FakeLLM.started[0].calls if "lora" in call] == []
    assert "reload_weights" in FakeLLM.started[0].calls


def test_an_adapter_that_cannot_be_put_on_is_named_with_what_would_do(models, monkeypatch):
    with pytest.raises(ValueError, match=r"max_lora_rank = 1: the adapter of 'one' has rank 3; raise it .*0 loads"):
        sampled(VLLM(max_lora_rank=1), models[1])
    monkeypatch.setattr(FakeLLM, "refuses", "vLLM does not yet support DoRA.\nmore")
    with pytest.raises(ValueError, match=rf"take the adapter '.*{ADAPTER}' \(vLLM does not yet .*\); set .*rank = 0"):
        sampled(VLLM(max_lora_rank=8), models[1])
    assert FakeLLM.started[-1].calls[-1] == "shutdown"


def test_a_recipe_whose_adapters_are_too_large_is_refused_before_any_work():
    settings = ["engine.kind=vllm", "engine.max_lora_rank=8", "method.generator.training.lora_rank=16"]
    wrong = r"method.generator.training.lora_rank = 16: is above engine.max_lora_rank = 8; raise that, or set it to 0"
    with pytest.raises(ValueError, match=wrong):
        recipe.read(recipe.find("synpo-lora-8b-one-gpu"), settings)
    recipe.read(recipe.find("synpo-lora-8b-one-gpu"), ["engine.kind=vllm", "engine.max_lora_rank=64"])
    with pytest.raises(ValueError, match=r"engine.max_lora_rank = 7: must be 0, 1, 8, .* or 512"):
        recipe.read(recipe.find("smoke"), ["engine.kind=vllm", "engine.max_lora_rank=7"])
