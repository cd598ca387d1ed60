"""LoRA: the mathematics by hand, the reference without a second model, what is written, what is refused."""

import copy
import json
import math
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from engine_models import save_llama
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file
from train_records import examples, model, pairs, silent
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
)
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from selfboost.engines.checkpoint import ADAPTER
from selfboost.losses.bradley_terry import BradleyTerry
from selfboost.losses.dpo import DPO
from selfboost.losses.simpo import SimPO
from selfboost.train import Sequenced, Training
from selfboost.train.local import Local
from selfboost.train.model.adapters import put_on
from selfboost.train.model.logprobs import language_model
from selfboost.train.packs.rows import pair_items
from selfboost.train.steps.objectives import PreferenceObjective, reference_logps

peft = pytest.importorskip("peft", reason="needs the extra `lora`")
torch.set_num_threads(1)
LORA = Training(learning_rate=1e-2, batch_size=4, epochs=3, max_length=64, lora_rank=3, lora_alpha=6.0)
EXACT = {"rtol": 1e-9, "atol": 1e-10}


def doubles(start) -> LlamaForCausalLM:
    """In float64 throughout, the norms too, where transformers has float32."""

    def norm(module, x):
        return module.weight * x * (x.square().mean(-1, keepdim=True) + module.variance_epsilon).rsqrt()

    loaded = AutoModelForCausalLM.from_pretrained(start.path, dtype=torch.float64).eval()
    for module in loaded.modules():
        if isinstance(module, LlamaRMSNorm):
            module.forward = partial(norm, module)
    return loaded


def adapted(start, training=LORA, train_head=False):
    """A language model with an adapter whose B matrices are not 0, and the bare model."""
    bare = doubles(start)
    language = language_model(copy.deepcopy(bare), Local())
    adapter = put_on(language.model, training, 0, train_head=train_head)
    with torch.no_grad():
        for name, parameter in language.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    return language, adapter, bare


def factors(language):
    return {n: p for n, p in language.model.named_parameters() if p.requires_grad}


def plain_loss(bare, weights, items):
    """SimPO's loss, summed over pairs, by transformers' own forward with other weights."""
    values = []
    for item in items:
        for row in item.rows:
            ids = torch.tensor([[*row.prompt_ids, *row.token_ids]])
            logits_TV = torch.func.functional_call(bare, weights, args=(ids,)).logits[0]
            begin = len(row.prompt_ids)
            logps_N = logits_TV.log_softmax(-1)[torch.arange(begin - 1, ids.shape[1] - 1), ids[0, begin:]]
            values.append(logps_N.mean())
    margins_B = torch.stack(values[::2]) - torch.stack(values[1::2])
    return -torch.nn.functional.logsigmoid(SimPO().beta * margins_B - SimPO().gamma).sum()


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "layers.1.mlp.down_proj")])
def test_loss_and_gradients_are_those_of_merged_weights(start, targets):
    language, adapter, bare = adapted(start, replace(LORA, lora_targets=targets))
    items = pair_items(pairs(), 100)
    objective = PreferenceObjective(language, SimPO(), None)
    total, _, _ = objective.losses(items)
    total.backward()
    inputs = {name: p.detach().clone().requires_grad_() for name, p in factors(language).items()}
    merged = {name: p.detach().clone() for name, p in bare.named_parameters()}
    for layer in adapter.targets:  # W + B·A · alpha / rank, by hand
        a, b = (inputs[f"{layer}.lora_{side}.default.weight"] for side in "AB")
        merged[f"{layer}.weight"] = merged[f"{layer}.weight"] + (b @ a) * (6.0 / 3)
    expected = plain_loss(bare, merged, items)
    torch.testing.assert_close(total, expected, **EXACT)
    gradients = torch.autograd.grad(expected, list(inputs.values()))
    for (name, parameter), gradient in zip(factors(language).items(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, **EXACT, msg=name)
    assert len(inputs) == 2 * len(adapter.targets)


def test_what_is_not_the_adapter_is_frozen(start):
    language, adapter, _ = adapted(start)
    PreferenceObjective(language, SimPO(), None).losses(pair_items(pairs(), 100))[0].backward()
    for name, parameter in language.model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad == ("lora_" in name), name
    kinds = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert {name.rpartition(".")[2] for name in adapter.targets} == set(kinds)
    assert len(adapter.targets) == 2 * len(kinds)


def test_an_adapter_starts_as_nothing(start):
    bare = doubles(start)
    language = language_model(copy.deepcopy(bare), Local())
    items = pair_items(pairs(), 100)
    before = reference_logps(language, items)
    put_on(language.model, LORA, 0, train_head=False)
    assert reference_logps(language, items) == before


def test_the_reference_is_the_model_without_its_adapter(start):
    bare = doubles(start)
    language = language_model(copy.deepcopy(bare), Local())
    items = pair_items(pairs(), 100)
    before = reference_logps(language, items)
    adapter = put_on(language.model, LORA, 0, train_head=False)
    with torch.no_grad():
        for name, parameter in language.model.named_parameters():
            if "lora_" in name:
                parameter.add_(0.1)
    assert reference_logps(language, items) != before
    with adapter.wrapped.disable_adapter():
        assert reference_logps(language, items) == before


def test_a_reference_equal_to_the_start_is_never_loaded(start, tmp_path):
    nowhere = replace(start, path=str(tmp_path / "nowhere"))  # known to be the same by its fingerprint alone
    result = Local().prefer(start, nowhere, pairs(), DPO(), LORA, into=fresh(tmp_path / "out"), seed=0, progress=silent)
    assert result.history[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert result.history[-1]["margin"] > 0.05


def test_merging_changes_nothing_but_rounding(start):
    language, adapter, bare = adapted(start)
    items = pair_items(pairs(), 100)
    before = torch.tensor(reference_logps(language, items))
    adapter.merge()
    torch.testing.assert_close(torch.tensor(reference_logps(language, items)), before, **EXACT)
    assert language.model.state_dict().keys() == bare.state_dict().keys()
    without = torch.tensor(reference_logps(language_model(bare, Local()), items))
    assert (before - without).abs().min() > 1e-4


def test_bfloat16_weights_are_merged_in_float32():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    bare = GPT2LMHeadModel(config).to(torch.bfloat16).eval()  # its layers hold their matrices the other way round
    changed = copy.deepcopy(bare)
    adapter = put_on(changed, replace(LORA, lora_targets=("c_attn",)), 0, train_head=False)
    layer = changed.get_submodule("transformer.h.0.attn.c_attn")
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_(0, 0.05)
    a, b = (getattr(layer, f"lora_{side}")["default"].weight.detach().float() for side in "AB")
    assert layer.lora_A["default"].weight.dtype == torch.bfloat16
    before = bare.transformer.h[0].attn.c_attn.weight
    expected = (before.float() + (b @ a).T * 2).bfloat16()
    adapter.merge()
    after = changed.transformer.h[0].attn.c_attn.weight
    assert torch.equal(after, expected)
    assert not torch.equal(after, before)


def fresh(folder):
    folder.mkdir()
    return folder


def logits(loaded, ids):
    with torch.no_grad():
        return loaded.eval()(ids).logits.float()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_folder_is_a_plain_model_and_holds_the_adapter_too(start, dtype, tmp_path):
    into, ids = fresh(tmp_path / "out"), torch.randint(5, 64, (2, 20))
    result = Local(dtype=dtype).finetune(start, examples(), LORA, into=into, seed=0, progress=silent)
    assert result.history[-1]["loss"] < result.history[0]["loss"] - 0.3
    kind = getattr(torch, dtype)
    base = AutoModelForCausalLM.from_pretrained(start.path, dtype=kind)
    merged, info = AutoModelForCausalLM.from_pretrained(into, output_loading_info=True)
    assert not any(info.values())
    assert merged.dtype == kind
    assert {name: t.shape for name, t in load_file(into / "model.safetensors").items()} == {
        name: t.shape for name, t in load_file(f"{start.path}/model.safetensors").items()
    }
    beside = logits(peft.PeftModel.from_pretrained(base, into / ADAPTER), ids)
    difference = (logits(merged, ids) - beside).abs().max() / beside.abs().max()
    assert difference < (1e-5 if dtype == "float32" else 0.03)
    bare = logits(AutoModelForCausalLM.from_pretrained(start.path, dtype=kind), ids)
    assert (beside - bare).abs().max() / beside.abs().max() > 0.05
    sequences = [Sequenced(prompt_ids=e.prompt_ids, token_ids=e.answer.token_ids) for e in examples()]
    assert sum(map(sum, Local().logps(model(into), sequences))) > sum(map(sum, Local().logps(start, sequences)))


def test_the_adapter_s_bytes_do_not_tell_where_the_start_lies(start, tmp_path):
    moved = fresh(tmp_path / "moved")
    save_llama(moved)
    folders = []
    for number, same in enumerate((start, replace(start, path=str(moved)))):
        folders.append(fresh(tmp_path / f"{number}") / ADAPTER)
        Local().finetune(same, examples(), LORA, into=folders[-1].parent, seed=0, progress=silent)
    found = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert found[0] == found[1]
    assert set(found[0]) == {"adapter_config.json", "adapter_model.safetensors"}
    settings = json.loads(found[0]["adapter_config.json"])
    assert settings["base_model_name_or_path"] is None
    assert settings["target_modules"] == sorted(settings["target_modules"])


def test_gradient_checkpointing_changes_nothing_but_rounding(start, tmp_path):
    tensors = []
    for name, recompute in (("kept", False), ("recomputed", True)):
        into = fresh(tmp_path / name)
        local = Local(gradient_checkpointing=recompute)
        local.prefer(start, None, pairs(), SimPO(), LORA, into=into, seed=0, progress=silent)
        tensors.append(load_file(into / "model.safetensors"))
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensor, tensors[1][name], rtol=0, atol=1e-4, msg=name)
    assert any(
        not torch.equal(tensor, load_file(f"{start.path}/model.safetensors")[n]) for n, tensor in tensors[0].items()
    )


def test_a_reward_model_trains_its_head_whole_and_keeps_it_with_the_adapter(start, tmp_path):
    into = fresh(tmp_path / "out")
    training = replace(LORA, epochs=8)
    result = Local().prefer(start, None, pairs(), BradleyTerry(), training, into=into, seed=0, progress=silent)
    assert result.history[-1]["loss"] < 0.5 < result.history[0]["loss"]
    base = AutoModelForSequenceClassification.from_pretrained(start.path, num_labels=1, pad_token_id=0)
    beside = peft.PeftModel.from_pretrained(base, into / ADAPTER).eval()
    rows = [(p.prompt_ids, side.token_ids) for p in pairs() for side in (p.chosen, p.rejected)]
    found = Local().rewards(model(into), [Sequenced(prompt_ids=p, token_ids=c) for p, c in rows])
    for (prompt_ids, token_ids), reward in zip(rows, found, strict=True):
        with torch.no_grad():
            assert reward == pytest.approx(beside(torch.tensor([[*prompt_ids, *token_ids]])).logits.item(), abs=1e-4)


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens", "proj", "input_layernorm"])
def test_a_target_that_is_no_linear_layer_is_refused_with_the_allowed_ones(start, target, tmp_path):
    training = replace(LORA, lora_targets=("q_proj", target))
    with pytest.raises(
        ValueError,
        match=rf"lora_targets: LlamaForCausalLM has no linear layer '{target}' below its head; "
        r"allowed: 'all-linear', or a list of: down_proj, gate_proj, k_proj",
    ):
        Local().finetune(start, examples(), training, into=fresh(tmp_path / "out"), seed=0, progress=silent)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "setting",
    [{"lora_rank": -1}, {"lora_alpha": 0}, {"lora_targets": 3}, {"ema_decay": 1.0}, {"ema_decay": -0.1}],
)
def test_impossible_settings_are_refused(setting):
    with pytest.raises(ValidationError):
        TypeAdapter(Training).validate_python(setting)


@pytest.mark.parametrize("targets", [(), "q_proj", ""])
def test_targets_are_all_or_a_list(targets):
    with pytest.raises(ValueError, match=r"lora_targets = .*: must be 'all-linear', or a list such as \['q_proj'"):
        Training(lora_targets=targets)


def test_without_peft_one_sentence_says_how_to_install_it(start, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)  # as where it is not installed
    with pytest.raises(ValueError, match=r"training\.lora_rank needs peft, .*: pip install 'selfboost\[lora\]'$"):
        Local().finetune(start, examples(), LORA, into=fresh(tmp_path / "out"), seed=0, progress=silent)
    assert list((tmp_path / "out").iterdir()) == []
