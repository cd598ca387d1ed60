"""The engine behind OpenAI-compatible servers: vLLM or llama.cpp, here or elsewhere, running or started by the run.

Token ids go in and come back: a server that returns text only is refused, since training needs what was sampled and
text has more than one tokenisation. A sample depends on prompt, settings, seed and model; how much its neighbours
change it is up to the server. Leaves out chat completions, streaming and LoRA adapters that a server holds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from selfboost.endpoints import Endpoint
from selfboost.endpoints.completing import complete
from selfboost.endpoints.model_server import AT_ONCE, ModelServer, Served
from selfboost.engines import Footprint, Generation, Looked, Request
from selfboost.engines.checkpoint import resolve
from selfboost.engines.context import room_for, why_no_room
from selfboost.engines.kept_models import give_back
from selfboost.engines.outside import EndingTokenizer, OutsideEngine, failed, generation_of, require_sampling
from selfboost.records import Message, Model, Sampling
from selfboost.setting_types import SPEED_ONLY

LLAMA_CPP = "llamacpp"
"""What llama.cpp's server says of who owns its models."""
SEEDS = 2**32 - 1
"""llama.cpp's seeds are below this."""
PROBE, PROBE_TEXT = Sampling(temperature=0.0, max_tokens=2), "What is 3 and 4 ?"
REMEDY = "use vLLM's or llama.cpp's server, or engine.kind = 'local'"
Body = Callable[[Request, int, Sequence[int]], Mapping[str, Any]]
"""(request, most tokens of the answer, ids that end it) → the body of the request to a server."""


@dataclass(frozen=True, kw_only=True)
class Server(OutsideEngine, ModelServer):
    """A server of vLLM or llama.cpp, or several: running at `url`, or started by `launch`."""

    reload: bool = field(default=False, metadata=SPEED_ONLY)
    """Have the server at `url` load each model's weights in place: vLLM in its development mode."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reload and not self.url:
            raise ValueError("reload = true: is for servers at url; launch starts one for each model")

    def footprint(self) -> Footprint:
        """As vLLM holds a model."""
        return Footprint(weight_bytes=2, rows=AT_ONCE, batching="continuous" if self.launch else "none")

    def folder(self, model: Model) -> str:
        """Where a model's files lie on this machine, as servers here are told."""
        return str(resolve(model.path))

    @contextmanager
    def open(self, model: Model) -> Generator[ServerSampler]:
        """Find the model at its servers, or start one; ended at the end."""
        looked = self.look(model)
        if self.launch:
            give_back()
        with self.serving([model.path], self.folder(model), reload=self.reload) as served:
            yield self._sampler(looked, served)

    def _sampler(self, looked: Looked, served: Served) -> ServerSampler:
        address, kinds = served.endpoints[0].address, {each.owner == LLAMA_CPP for each in served.models}
        if len(kinds) > 1:
            raise ValueError("url: some of the servers are llama.cpp's and others not; give servers of one kind")
        contexts = [each for each in (looked.context_length, *(each.context for each in served.models)) if each]
        if not contexts:
            raise ValueError(f"{address}: neither the server nor the model's configuration says its context")
        sampler = ServerSampler(
            served.endpoints,
            tokenizer=cast(EndingTokenizer, looked.tokenizer),
            context_length=min(contexts),
            body=llama_cpp_body if kinds == {True} else _vllm_body,
            require_alive=served.require_alive,
        )
        for endpoint in served.endpoints:
            sampler.require_ids(endpoint)
        return sampler


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
