"""llama.cpp's own server for a Llama in transformers' form or a GGUF file: `llama_cpp_server.py PATH PORT ATTENTION`.

Run by the Python of an environment with the packages xllamacpp (llama.cpp's server, built) and gguf; of this project
only the benchmark's writer of GGUF files is imported, which needs no more. ATTENTION: `exact` computes it in float32;
`default` is llama.cpp's own, in 16 bits.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks.generation_gguf import FLOAT32, begun, end, read_config

SLOTS = 16
"""Requests decoded at a time."""
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
"""Types of token in llama.cpp's vocabularies."""


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
    config = read_config(folder)
    words, scores, types = vocabulary(json.loads((folder / "tokenizer.json").read_text()))
    writer = begun(to, config)
    writer.add_token_list(words)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    end(writer, folder, config, FLOAT32)


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
