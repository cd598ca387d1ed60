"""Checkpoints: what identifies them, what is refused."""

import shutil

import pytest
import torch
from engine_models import save_llama, save_words
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

from selfboost.engines.checkpoint import choose_device, choose_dtype, fingerprint, load_causal_model, resolve
from selfboost.engines.local import Local


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    save_llama(made)
    return made


def test_every_weight_is_the_files_own(folder):
    stored = load_file(folder / "model.safetensors")
    model = load_causal_model(str(folder), "float32", "cpu")
    loaded = dict(model.named_parameters())
    assert stored.keys() == loaded.keys()
    assert all(torch.equal(stored[name], loaded[name]) for name in stored)
    assert not model.training
    assert load_causal_model(str(folder), "bfloat16", "cpu").dtype == torch.bfloat16


def test_capped_scores_of_attention_are_capped(tmp_path):
    """PyTorch's fused attention, which some releases of transformers choose for Gemma 2, leaves the cap out."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8,
             "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
    made = Gemma2ForCausalLM(Gemma2Config(**sizes, attn_logit_softcapping=0.3))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.5)
    made.save_pretrained(str(tmp_path))
    ids = torch.arange(5, 30)[None]

    def logits(model):
        with torch.no_grad():
            return model(ids).logits

    capped = logits(AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager"))
    torch.testing.assert_close(logits(load_causal_model(str(tmp_path), "float32", "cpu")), capped)
    made.config.attn_logit_softcapping = 1e6
    made.save_pretrained(str(tmp_path))
    uncapped = logits(load_causal_model(str(tmp_path), "float32", "cpu"))
    assert float((uncapped - capped).abs().max()) > 0.1


def test_fingerprint_is_of_the_content_alone(folder, tmp_path):
    before = fingerprint(str(folder))
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("a note")
    assert fingerprint(str(tmp_path / "copy")) == before == Local().fingerprint(str(folder))
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    changed = fingerprint(str(folder))
    assert changed != before
    save_words(folder, "{{ messages[0].content }}")
    assert fingerprint(str(folder)) not in (before, changed)


def test_missing_weights_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights .*up_proj"):
        load_causal_model(str(folder))


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    for refused in (fingerprint, load_causal_model):
        with pytest.raises(ValueError, match="not safetensors but pickled"):
            refused(str(folder))


def test_incomplete_and_damaged_checkpoints(folder, tmp_path):
    (folder / "model.safetensors").write_bytes(b"\x08\x00\x00\x00")
    with pytest.raises(ValueError, match=r"model\.safetensors is not a whole safetensors file: it has 4 bytes"):
        load_causal_model(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"lacks model\.safetensors"):
        fingerprint(str(folder))
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "one.safetensors"}}')
    with pytest.raises(ValueError, match=r"lacks one\.safetensors"):
        fingerprint(str(folder))
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        resolve(str(tmp_path))


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./nowhere", "a/b/c", "~nobody/x"])
def test_a_path_that_is_nowhere(path):
    with pytest.raises(ValueError, match="there is no folder"):
        fingerprint(path)


def test_neither_folder_nor_hub_name():
    with pytest.raises(ValueError, match="neither a folder nor a model"):
        fingerprint("not a name !")


def test_settings():
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    assert choose_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert choose_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(ValueError, match="device = 'cuda'"):
            choose_device("cuda")
