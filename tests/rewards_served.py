"""A server of rewards in the form of vLLM's `/pooling`; as a program, `python rewards_served.py PATH PORT`, of sums."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from selfboost.endpoints.fake_server import FakeServer, Said


def pooled(*values: float) -> bytes:
    """As vLLM replies to a request of one row."""
    data = [{"index": 0, "object": "pooling", "data": list(values)}]
    return json.dumps({"id": "pool-1", "object": "list", "model": "m", "data": data, "usage": {}}).encode()


def sum_of(ids: Sequence[int]) -> float:
    """A reward that needs no model."""
    return sum(ids) / 100


@contextmanager
def rewards_served(
    path: str,
    reward: Callable[[Sequence[int]], float],
    *,
    change: Callable[[Mapping[str, Any], Said], Said] = lambda body, said: said,
    **more: Any,
) -> Iterator[FakeServer]:
    """A server of a reward model; `change` replies something else, `more` are settings of the fake server."""
    listed = json.dumps({"object": "list", "data": [{"id": "name", "root": path, "owned_by": "vllm"}]}).encode()
    routes: dict[str, Callable[[Mapping[str, Any]], Said]] = {
        "/v1/models": lambda _: listed,
        "/pooling": lambda body: change(body, pooled(reward(body["input"]))),
    }
    with FakeServer(lambda _: "a", routes=routes, model="name", **more) as server:
        yield server


if __name__ == "__main__":
    with rewards_served(sys.argv[1], sum_of, port=int(sys.argv[2])):
        time.sleep(600)
