"""Rewards of rows of token ids by vLLM's servers of pooling models: a classifier's one output for each row."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from selfboost.endpoints import Endpoint
from selfboost.endpoints.ask_all import ask_all
from selfboost.endpoints.connection import longest_wait
from selfboost.endpoints.failures import Failures
from selfboost.endpoints.reading import NoReplyError, at

if TYPE_CHECKING:
    from openai import AsyncOpenAI

PATH = "/pooling"


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """A row's reward, or the reason why there is none."""

    value: float = math.nan
    reason: str = ""
    """Why it failed, if it did."""


def pool(endpoints: Sequence[Endpoint], rows: Sequence[Sequence[int]]) -> Iterator[tuple[int, Pooled]]:
    """Yield (index of the row, its reward) as they arrive, without the activation that vLLM would put on it.

    Raises:
        ValueError: nothing more can be asked; says why and what to do.
    """
    return ask_all(endpoints, [pooling_body(row) for row in rows], _pooled)


def pooling_body(row: Sequence[int]) -> Mapping[str, Any]:
    """A request to vLLM without its `model`; the row is read as it is, after which the classifier's output is taken."""
    return {"input": list(row), "task": "classify", "use_activation": False, "add_special_tokens": False}


async def _pooled(client: AsyncOpenAI, endpoint: Endpoint, body: Mapping[str, Any]) -> Pooled:
    failures = Failures(endpoint, PATH)
    address = endpoint.address.removesuffix("/v1") + PATH  # beside the API's other paths
    try:
        async with asyncio.timeout(longest_wait(endpoint)):
            reply = await client.post(address, body={"model": endpoint.model, **body}, cast_to=object)
        return Pooled(value=read_reward(reply))
    except (json.JSONDecodeError, RecursionError):
        return Pooled(reason="the reply is not JSON")
    except Exception as error:
        return Pooled(reason=failures.reason(error))


def read_reward(reply: Any) -> float:
    """The one number in a reply.

    Raises:
        NoReplyError: there is none, or there are several.
    """
    entries = at(reply, "data")
    found = at(entries[0], "data") if isinstance(entries, list) and entries else None
    values = cast("list[Any]", found) if isinstance(found, list) else []
    if len(values) != 1:
        raise NoReplyError(f"the reply has {len(values)} numbers for a row, and a reward model gives one")
    value = values[0]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NoReplyError("the reply's reward is no number")
    return float(value)
