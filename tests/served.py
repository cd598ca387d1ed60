"""Any engine's model behind a server that speaks vLLM's protocol; as a program: `python served.py PATH PORT`."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from selfboost.endpoints.fake_server import FakeServer, Faults, Said
from selfboost.engines import Engine, Generation, Looked, Request
from selfboost.engines.fake import SPECIAL, Fake, FakeTokenizer, read_fake
from selfboost.engines.server import Server
from selfboost.records import Model, Sampling

OWN = ("temperature", "top_p", "top_k", "min_p", "max_tokens")


def request_of(body: Mapping[str, Any]) -> Request:
    """The request that a body asks for."""
    sampling = Sampling(**{name: body[name] for name in OWN}, stop=tuple(body["stop"]))
    return Request(prompt_ids=tuple(body["prompt"]), sampling=sampling, seed=body["seed"])


def vllm_reply(generation: Generation) -> bytes:
    """As vLLM replies with `return_token_ids` and `logprobs = 0`."""
    choice = {
        "index": 0,
        "text": "",
        "finish_reason": generation.finish,
        "token_ids": generation.token_ids,
        "logprobs": {"token_logprobs": generation.logps, "tokens": [], "text_offset": [], "top_logprobs": []},
    }
    return json.dumps({"object": "text_completion", "choices": [choice]}).encode()


@contextmanager
def served(
    engine: Engine,
    path: str,
    *,
    change: Callable[[Mapping[str, Any], Said], Said] = lambda body, said: said,
    listed: Mapping[str, Any] | None = None,
    port: int = 0,
    faults: Faults | None = None,
    key: str = "",
    development: bool = False,
) -> Iterator[FakeServer]:
    """A server of a model; `change` replies something else, `listed` changes what it says of its model."""
    lock, held = threading.Lock(), {"path": path}
    stack: dict[str, Any] = {}

    def open_model(where: str) -> None:
        stack["open"] = engine.open(Model(name="served", path=where, fingerprint=""))
        stack["sampler"] = stack["open"].__enter__()

    def complete(body: Mapping[str, Any]) -> Said:
        with lock:
            ((_, generation),) = stack["sampler"].sample([request_of(body)])
        return change(body, vllm_reply(generation))

    def models(_: Mapping[str, Any]) -> Said:
        entry = {"id": path, "root": path, "owned_by": "vllm", "max_model_len": stack["sampler"].context_length}
        return json.dumps({"object": "list", "data": [{**entry, **(listed or {})}]}).encode()

    def rpc(body: Mapping[str, Any]) -> Said:
        with lock:
            held["path"] = body["kwargs"]["weights_path"]
            stack["open"].__exit__(None, None, None)
            open_model(held["path"])
        return b'{"results": [null]}'

    routes: dict[str, Callable[[Mapping[str, Any]], Said]] = {"/v1/completions": complete, "/v1/models": models}
    if development:
        routes |= {"/collective_rpc": rpc, "/reset_prefix_cache": lambda _: b'{"success": true}'}
    open_model(path)
    with FakeServer(lambda _: "a", routes=routes, port=port, faults=faults, key=key) as server:
        yield server
    stack["open"].__exit__(None, None, None)


class EndingFakeTokenizer(FakeTokenizer):
    """The fake tokenizer, which says what ends an answer."""

    stop_ids = frozenset({SPECIAL["end"]})
    known_ids = frozenset(range(261))


@dataclass(frozen=True, kw_only=True)
class FakeServed(Server):
    """The engine behind a server for the models of the fake engine."""

    tokens: int = field(default=8192, metadata={"new": True})
    """Context."""

    def tokenizer(self, model: Model) -> EndingFakeTokenizer:
        read_fake(model.path)
        return EndingFakeTokenizer()

    def look(self, model: Model) -> Looked:
        return Looked(tokenizer=self.tokenizer(model), context_length=self.tokens)

    def folder(self, model: Model) -> str:
        return model.path

    def fingerprint(self, path: str) -> str:
        return read_fake(path).fingerprint


if __name__ == "__main__":
    print(f"loading {sys.argv[1]}", flush=True)
    with served(Fake(), sys.argv[1], port=int(sys.argv[2])):
        time.sleep(600)
