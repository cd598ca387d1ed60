"""The engine behind OpenAI-compatible servers: vLLM or llama.cpp, here or elsewhere, running or started by the run.

Token ids go in and come back: a server that returns text only is refused, since training needs what was sampled and
text has more than one tokenisation. A sample depends on prompt, settings, seed and model; how much its neighbours
change it is up to the server. Leaves out chat completions, streaming and LoRA adapters that a server holds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field

from selfboost.endpoints import Endpoint
from selfboost.endpoints.completing import complete
from selfboost.endpoints.connection import check_ready
from selfboost.endpoints.launching import started
from selfboost.endpoints.serving import ServedModel, reload_weights, served_models
from selfboost.engines import Footprint, Generation, Looked, Request
from selfboost.engines.checkpoint import resolve
from selfboost.engines.context import room_for, why_no_room
from selfboost.engines.outside import EndingTokenizer, OutsideEngine, failed, generation_of, require_sampling
from selfboost.records import Message, Model, Sampling
from selfboost.setting_types import SPEED_ONLY, CommandLine, ServerUrls, Text
from selfboost.suggestions import shown
from selfboost.trust import words_of

LLAMA_CPP = "llamacpp"
"""What llama.cpp's server says of who owns its models."""
SEEDS = 2**32 - 1
"""llama.cpp's seeds are below this."""
ROWS = 256
"""Rows that vLLM decodes at a time by default, for estimates."""
PROBE, PROBE_TEXT = Sampling(temperature=0.0, max_tokens=2), "What is 3 and 4 ?"
REMEDY = "use vLLM's or llama.cpp's server, or engine.kind = 'local'"
Body = Callable[[Request, int, Sequence[int]], Mapping[str, Any]]
"""(request, most tokens of the answer, ids that end it) → the body of the request to a server."""


@dataclass(frozen=True, kw_only=True)
class Server(OutsideEngine):
    """A server of vLLM or llama.cpp, or several: running at `url`, or started by `launch`."""

    # Where a model is served changes no result: that it is this model is checked when it is opened, and by the
    # comparison of log-probabilities with the trainer's in every iteration.
    url: ServerUrls = field(default="", metadata=SPEED_ONLY)
    """Base URL of a running server, or a list of several that share the work: http://127.0.0.1:8000/v1."""
    launch: CommandLine = field(default="", metadata=SPEED_ONLY)
    """Command that starts a server for each model, `vllm serve` with {path} and {port} in it; needs `--trust`."""
    reload: bool = field(default=False, metadata=SPEED_ONLY)
    """Have the server at `url` load each model's weights in place: vLLM in its development mode."""
    start_seconds: Annotated[float, Field(ge=1, le=86_400)] = field(default=1800.0, metadata=SPEED_ONLY)
    """Longest wait for a server that `launch` starts."""
    key_variable: Text = field(default="", metadata=SPEED_ONLY)
    """Name of the environment variable that holds the server's key; empty for a server that asks for none."""
    concurrent: Annotated[int, Field(ge=1, le=1024)] = field(default=ROWS, metadata=SPEED_ONLY)
    """Requests in flight at a time, for each server and block."""
    timeout_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = field(default=1200.0, metadata=SPEED_ONLY)
    """Longest wait for an answer, before the request is sent again."""
    retries: Annotated[int, Field(ge=0, le=100)] = field(default=5, metadata=SPEED_ONLY)
    """How often a request is sent again after a time-out, a dropped connection, or status 408, 409, 429 or 5xx."""

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.launch):
            raise ValueError("url, launch: one of them must be set, and not both")
        if self.reload and not self.url:
            raise ValueError("reload = true: is for servers at url; launch starts one for each model")
        if self.launch:
            words = words_of("launch", self.launch)
            if missing := [name for name in ("{path}", "{port}") if not any(name in word for word in words)]:
                raise ValueError(f"launch = {shown(self.launch)}: has no {missing[0]}, where the run fills it in")
        for url in self.urls:
            self._endpoint(url)  # which refuses what is none

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers at `url`."""
        return self.url if isinstance(self.url, tuple) else (self.url,) if self.url else ()

    def footprint(self) -> Footprint:
        """As vLLM holds a model."""
        return Footprint(weight_bytes=2, rows=ROWS, batching="continuous" if self.launch else "none")

    def folder(self, model: Model) -> str:
        """Where a model's files lie on this machine, as servers here are told."""
        return str(resolve(model.path))

    @contextmanager
    def open(self, model: Model) -> Generator[ServerSampler]:
        """Find the model at its servers, or start one; ended at the end."""
        looked = self.look(model)
        if self.launch:
            with self._launched(model, looked) as sampler:
                yield sampler
            return
        endpoints = [self._endpoint(url) for url in self.urls]
        for endpoint in endpoints:
            check_ready(endpoint)
            if self.reload:
                reload_weights(endpoint, self.folder(model))
        yield self._sampler(looked, endpoints, [self._found(endpoint, model) for endpoint in endpoints])

    @contextmanager
    def _launched(self, model: Model, looked: Looked) -> Generator[ServerSampler]:
        path, command = self.folder(model), words_of("launch", self.launch)
        with started(command, {"path": path}, self._endpoint, self.start_seconds) as server:
            endpoint = self._endpoint(server.url)
            listed = served_models(endpoint)
            found = next((each for each in listed if _is(each, path)), listed[0])
            yield self._sampler(looked, [endpoint], [found], server.require_alive)

    def _found(self, endpoint: Endpoint, model: Model) -> ServedModel:
        """The model as a server lists it.

        Raises:
            ValueError: the server has others; says what to do.
        """
        listed = served_models(endpoint)
        found = [each for each in listed if _is(each, model.path) or _is(each, self.folder(model))]
        if not found and not (self.reload and listed):
            names = ", ".join(repr(each.root or each.name) for each in listed) or "no model"
            raise ValueError(
                f"{endpoint.address}: serves {names}, not {model.path!r}; models that a run trains need "
                "engine.launch, a command such as vllm serve with {path} and {port} in it, or engine.reload = true for "
                "vLLM in its development mode"
            )
        return (found or listed)[0]

    def _sampler(
        self,
        looked: Looked,
        endpoints: Sequence[Endpoint],
        found: Sequence[ServedModel],
        require_alive: Callable[[], None] = lambda: None,
    ) -> ServerSampler:
        named = [replace(endpoint, model=each.name) for endpoint, each in zip(endpoints, found, strict=True)]
        if len(kinds := {each.owner == LLAMA_CPP for each in found}) > 1:
            raise ValueError("url: some of the servers are llama.cpp's and others not; give servers of one kind")
        contexts = [each for each in (looked.context_length, *(each.context for each in found)) if each is not None]
        if not contexts:
            raise ValueError(f"{named[0].address}: neither the server nor the model's configuration says its context")
        sampler = ServerSampler(
            named,
            tokenizer=cast(EndingTokenizer, looked.tokenizer),
            context_length=min(contexts),
            body=llama_cpp_body if kinds == {True} else _vllm_body,
            require_alive=require_alive,
        )
        for endpoint in named:
            sampler.require_ids(endpoint)
        return sampler

    def _endpoint(self, url: str) -> Endpoint:
        return Endpoint(
            url=url,
            model="any",
            key_variable=self.key_variable,
            concurrent=self.concurrent,
            timeout_seconds=self.timeout_seconds,
            retries=self.retries,
        )


class ServerSampler:
    """A model at its servers."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        tokenizer: EndingTokenizer,
        context_length: int,
        body: Body,
        require_alive: Callable[[], None],
    ) -> None:
        self.tokenizer, self.context_length = tokenizer, context_length
        self._endpoints, self._body, self._require_alive = endpoints, body, require_alive

    def sample(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yield (index of the request, its sample) as the answers arrive. May be called from several threads.

        Raises:
            ValueError: a server cannot be asked any more, or settings are out of its range.
        """
        limits = [room_for(request, self.context_length) for request in requests]
        asked = [i for i, limit in enumerate(limits) if limit > 0]
        for i, request in enumerate(requests):
            if limits[i] < 1:
                yield i, failed(why_no_room(request, self.context_length))
        bodies = [self._asked(requests[i], limits[i]) for i in asked]
        try:
            for place, found in complete(self._endpoints, bodies):
                i = asked[place]
                sample = generation_of(self.tokenizer, requests[i], limits[i], found.token_ids, found.logps)
                yield i, failed(found.reason) if found.reason else sample
        except ValueError:
            self._require_alive()
            raise

    def require_ids(self, endpoint: Endpoint) -> None:
        """Try a server with two tokens, and refuse one that does not return their ids and log-probabilities.

        Raises:
            ValueError: it does not, or it fails.
        """
        prompt = self.tokenizer.prompt_ids([Message(role="user", content=PROBE_TEXT)])
        body = self._asked(Request(prompt_ids=prompt, sampling=PROBE, seed=0), PROBE.max_tokens)
        ((_, found),) = complete([endpoint], [body])
        if found.reason:
            raise ValueError(f"{endpoint.address}: a first request of token ids failed ({found.reason}); {REMEDY}")
        if not found.token_ids or len(found.token_ids) != len(found.logps):
            raise ValueError(
                f"{endpoint.address}: returns no token ids with log-probabilities, and a text has more than one "
                f"tokenisation: what is trained on must be what was sampled; {REMEDY}"
            )

    def _asked(self, request: Request, limit: int) -> Mapping[str, Any]:
        require_sampling(request.sampling)
        return self._body(request, limit, sorted(self.tokenizer.stop_ids))


def _is(served: ServedModel, path: str) -> bool:
    """Whether a server's model is the one at a path, or of a hub name."""
    names = [name for name in (served.root, served.name) if name]
    return path in names or (Path(path).exists() and any(_same_place(name, path) for name in names))


def _same_place(one: str, other: str) -> bool:
    return Path(one).is_absolute() and Path(one).resolve() == Path(other).resolve()


def _vllm_body(request: Request, limit: int, stop_ids: Sequence[int]) -> Mapping[str, Any]:
    """A request to vLLM; every setting is given, since the server's defaults may come from the model's files."""
    wanted = request.sampling
    return {
        "prompt": list(request.prompt_ids),
        "n": 1,
        "seed": request.seed,
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "top_k": wanted.top_k,
        "min_p": wanted.min_p,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_tokens": limit,
        "ignore_eos": True,  # the ids below are those that end an answer
        "stop_token_ids": list(stop_ids),
        "stop": list(wanted.stop),
        "skip_special_tokens": False,
        "logprobs": 0,
        "return_token_ids": True,
    }


def llama_cpp_body(request: Request, limit: int, stop_ids: Sequence[int] = ()) -> Mapping[str, Any]:
    """A request to llama.cpp's server, which ends answers by its own ids; stop texts are cut off here."""
    del stop_ids
    wanted = request.sampling
    return {
        "prompt": list(request.prompt_ids),
        "seed": request.seed % SEEDS,
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "top_k": wanted.top_k,
        "min_p": wanted.min_p,
        "samplers": ["temperature", "top_k", "top_p", "min_p"],  # in this order, and no others
        "max_tokens": limit,
        "logprobs": 1,
    }
