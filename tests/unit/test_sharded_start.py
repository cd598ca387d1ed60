"""A sharded model starts empty, is read in parts, saved in parts and brought together: here by one process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from engine_models import save_llama
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from selfboost.engines.checkpoint import load_causal_model
from selfboost.train.devices.sharding import mesh_of, processes_mesh, shard, whole_weights
from selfboost.train.local_settings import LocalSettings
from selfboost.train.model.logprobs import LanguageModel, unopened_model
from selfboost.train.model.mapped import open_unread, read_parts
from selfboost.train.steps.sharded_states import joined, look_at_tensors, read_tensors, split, write_tensors

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def alone() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def sharded(folder: Path) -> LanguageModel:
    model = unopened_model(open_unread(str(folder), trust_remote_code=False))
    assert all(parameter.is_meta for parameter in model.parameters())
    shard(model, processes_mesh(1, 1, CPU), CPU, torch.float32)
    read_parts(str(folder), model.model)
    return model


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_read_in_parts_is_what_is_opened_whole(tmp_path: Path, kind: torch.dtype, tied: bool) -> None:
    save_llama(tmp_path, tie_word_embeddings=tied).to(kind).save_pretrained(tmp_path)
    model, expected = sharded(tmp_path), load_causal_model(str(tmp_path), "float32", "cpu")
    (out := tmp_path / "out").mkdir()
    found = whole_weights(model.model, torch.float32, out)
    for name, tensor in expected.named_parameters():
        assert torch.equal(found[name], tensor)
    assert {name for name, _ in expected.named_parameters()} == found.keys()
    for name, buffer in expected.named_buffers():
        assert torch.equal(model.model.get_buffer(name), buffer)
    files = [file for file in out.iterdir() if file.suffix == ".weight"]
    assert sum(file.stat().st_size for file in files) == 4 * sum(tensor.numel() for tensor in found.values())
    model.open(LocalSettings(device="cpu", dtype="float32"))


def test_a_model_stored_under_other_names_is_mapped(tmp_path: Path) -> None:
    save_llama(tmp_path)
    file = tmp_path / "model.safetensors"
    stored = {name.removeprefix("model."): tensor for name, tensor in load_file(file).items()}
    save_file(stored, file, metadata={"format": "pt"})
    model = open_unread(str(tmp_path), trust_remote_code=False)
    assert not any(parameter.is_meta for parameter in model.parameters())
    assert torch.equal(model.get_input_embeddings().weight, stored["embed_tokens.weight"])  # type: ignore[union-attr]


def test_a_weight_that_is_no_number_is_named(tmp_path: Path) -> None:
    config = save_llama(tmp_path).config
    config.hidden_size = 256
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    stored = load_file(file)
    name = next(name for name, tensor in stored.items() if tensor.numel() > 10_000)
    stored[name].view(-1)[stored[name].numel() // 2] = float("nan")  # neither near the beginning nor the end
    save_file(stored, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"not finite \(infinite or NaN\): '" + name):
        sharded(tmp_path)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 5)
    shard(model, processes_mesh(1, 1, CPU), CPU, torch.float32)
    state = {"masters": [model.weight.detach(), model.bias.detach()], "moments": {0: {"step": torch.tensor(3.0)}}}
    rest, tensors = split(state | {"groups": [{"lr": 0.5, "params": [0, 1]}], "none": None})
    (tmp_path / "state").mkdir()
    write_tensors(tmp_path / "state", tensors)
    for mesh in (mesh_of(model.parameters()), None):
        found = joined(rest, read_tensors(tmp_path / "state", look_at_tensors(tmp_path / "state"), mesh))
        assert found["groups"] == [{"lr": 0.5, "params": [0, 1]}]
        assert found["none"] is None
        assert float(found["moments"][0]["step"]) == 3
        assert (mesh_of(found["masters"]) is None) == (mesh is None)
        for tensor, expected in zip(found["masters"], state["masters"], strict=True):
            whole = [each.full_tensor() if hasattr(each, "full_tensor") else each for each in (tensor, expected)]
            assert torch.equal(*whole)
