"""Any engine's model behind a server that speaks vLLM's protocol; as a program: `python served.py PATH PORT`."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from selfboost.endpoints.fake_server import FakeServer, Said
from selfboost.engines import Engine, Generation, Looked, Request
from selfboost.engines.fake import SPECIAL, Fake, FakeTokenizer, read_fake
from selfboost.engines.server import Server
from selfboost.records import Message, Model, Sampling

OWN = ("temperature", "top_p", "top_k", "min_p", "max_tokens")


def request_of(body: Mapping[str, Any]) -> Request:
    """The request that a body asks for."""
    sampling = Sampling(**{name: body[name] for name in OWN}, stop=tuple(body.get("stop", ())))
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


def llama_cpp_reply(generation: Generation) -> bytes:
    """As llama.cpp's server replies: ids beside the log-probabilities."""
    pairs = zip(generation.token_ids, generation.logps, strict=True)
    content = [{"id": identity, "token": "", "bytes": [], "logprob": logp} for identity, logp in pairs]
    usage = {"completion_tokens": len(content)}
    return json.dumps(
        {"choices": [{"index": 0, "text": "", "logprobs": {"content": content}}], "usage": usage}
    ).encode()


class Serving:
    """An opened model, asked one request at a time; another one's weights can take its place."""

    def __init__(self, engine: Engine, path: str) -> None:
        self._engine, self._lock = engine, threading.Lock()
        self._open(path)

    def _open(self, path: str) -> None:
        self._opened = self._engine.open(Model(name="served", path=path, fingerprint=""))
        self.sampler = self._opened.__enter__()

    def complete(self, body: Mapping[str, Any]) -> Generation:
        with self._lock:
            ((_, generation),) = self.sampler.sample([request_of(body)])
        return generation

    def reload(self, body: Mapping[str, Any]) -> Said:
        with self._lock:
            self.close()
            self._open(body["kwargs"]["weights_path"])
        return b'{"results": [null]}'

    def chat_ids(self, conversation: str) -> list[int]:
        messages = [Message(**turn) for turn in json.loads(conversation)]
        return list(self.sampler.tokenizer.prompt_ids(messages))

    def close(self) -> None:
        self._opened.__exit__(None, None, None)


@contextmanager
def served(
    engine: Engine,
    path: str,
    *,
    change: Callable[[Mapping[str, Any], Said], Said] = lambda body, said: said,
    reply: Callable[[Generation], bytes] = vllm_reply,
    listed: Mapping[str, Any] | None = None,
    development: bool = False,
    chat: bool = False,
    **more: Any,
) -> Iterator[FakeServer]:
    """A server of a model; `change` replies something else, `listed` changes what it says of its model.

    `development`: as vLLM's mode in which weights can be reloaded; `chat`: llama.cpp's way from a conversation to
    token ids; `more`: settings of the fake server.
    """
    model = Serving(engine, path)
    entry = {"id": path, "root": path, "owned_by": "vllm", "max_model_len": model.sampler.context_length}
    data = json.dumps({"object": "list", "data": [{**entry, **(listed or {})}]}).encode()
    routes: dict[str, Callable[[Mapping[str, Any]], Said]] = {
        "/v1/models": lambda _: data,
        "/v1/completions": lambda body: change(body, reply(model.complete(body))),
    }
    if development:
        routes |= {"/collective_rpc": model.reload, "/reset_prefix_cache": lambda _: b'{"success": true}'}
    if chat:
        routes |= {"/apply-template": lambda body: json.dumps({"prompt": json.dumps(body["messages"])}).encode()}
        routes |= {"/tokenize": lambda body: json.dumps({"tokens": model.chat_ids(body["content"])}).encode()}
    with FakeServer(lambda _: "a", routes=routes, **more) as server:
        yield server
    model.close()


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
