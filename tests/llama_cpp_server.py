"""llama.cpp's own server for a Llama in transformers' form or a GGUF file: `llama_cpp_server.py PATH PORT ATTENTION`.

Run by the Python of an environment with the packages xllamacpp (llama.cpp's server, built) and gguf; nothing of this
project is imported. ATTENTION: `exact` computes it in float32; `default` is llama.cpp's own, in 16 bits.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SLOTS = 16
"""Requests decoded at a time."""
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
"""Types of token in llama.cpp's vocabularies."""


def tensors_of(file: Path) -> dict[str, np.ndarray]:
    """Name → tensor of a safetensors file in float32."""
    raw = file.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    found = {}
    for name, about in json.loads(raw[8:start]).items():
        if name != "__metadata__":
            assert about["dtype"] == "F32", f"{name} is of type {about['dtype']}"
            first, end = (start + place for place in about["data_offsets"])
            found[name] = np.frombuffer(raw[first:end], np.float32).reshape(about["shape"])
    return found


def name_of(name: str) -> str:
    """A tensor's name in llama.cpp's files."""
    stem = name.removesuffix(".weight")
    if not stem.startswith("model.layers."):
        return f"{NAMES[stem]}.weight"
    layer, inner = stem.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[inner]}.weight"


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys in llama.cpp's order: the two halves that a rotation pairs, one from each in turn."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def vocabulary(tokenizer: dict[str, Any]) -> tuple[list[str], list[float], list[int]]:
    """Tokens in the order of their ids, their scores and types; an earlier merge has a higher score."""
    model = tokenizer["model"]
    words = sorted(model["vocab"], key=model["vocab"].__getitem__)
    made = {"".join(pair): -float(rank) for rank, pair in enumerate(model["merges"])}
    special = {each["content"] for each in tokenizer["added_tokens"]}

    def type_of(word: str) -> int:
        if word in special:
            return UNKNOWN if word == model["unk_token"] else CONTROL
        return BYTE if len(word) == 6 and word.startswith("<0x") else NORMAL

    return words, [made.get(word, -1e4) for word in words], [type_of(word) for word in words]


def convert(folder: Path, to: Path) -> None:
    """Write a checkpoint as one of llama.cpp's files, all weights in float32."""
    import gguf

    config = json.loads((folder / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    words, scores, types = vocabulary(json.loads((folder / "tokenizer.json").read_text()))
    writer = gguf.GGUFWriter(to, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    for name, weight in tensors_of(folder / "model.safetensors").items():
        turned = {"q_proj": heads, "k_proj": kv_heads}.get(name.split(".")[-2])
        writer.add_tensor(name_of(name), interleaved(weight, turned) if turned else weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(file: Path, name: str, port: int, attention: str) -> None:
    """Serve a file under a name; does not return."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = str(file), {name}
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_parallel, params.n_ctx = SLOTS, 0
    if attention == "exact":
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    print(f"listening at {server.listening_address}", flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    path, port, attention = sys.argv[1:]
    if path.endswith(".gguf"):
        serve(Path(path), path, int(port), attention)
    with tempfile.TemporaryDirectory() as folder:
        convert(Path(path), Path(folder) / "model.gguf")
        serve(Path(folder) / "model.gguf", path, int(port), attention)
