"""Completions of token ids by one or several OpenAI-compatible servers, many requests in flight, as they arrive.

vLLM's form of a reply is understood (`return_token_ids`) and llama.cpp's (ids beside the log-probabilities). The
openai SDK sends the requests and repeats what failed for a moment. Nothing is cached, and there is no budget.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from selfboost.endpoints import Endpoint
from selfboost.endpoints.ask_all import ask_all
from selfboost.endpoints.connection import longest_wait
from selfboost.endpoints.failures import Failures
from selfboost.endpoints.reading import NoReplyError, at, first_choice

if TYPE_CHECKING:
    from openai import AsyncOpenAI

ROUNDING = 1e-3
"""A log-probability may be above 0 by rounding; more is an error of the server's."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """One completion, or the reason why there is none."""

    token_ids: tuple[int, ...] = ()
    logps: tuple[float, ...] = ()
    """Natural log-probability of each token."""
    text: str = ""
    reason: str = ""
    """Why it failed, if it did."""


def complete(endpoints: Sequence[Endpoint], bodies: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, Completed]]:
    """Yield (index of the body, its completion) as they arrive; a server that is faster gets more of them.

    A body is a request's without its `model`. May be called from several threads.

    Raises:
        ValueError: nothing more can be asked; says why and what to do.
    """
    return ask_all(endpoints, bodies, _completed)


async def _completed(client: AsyncOpenAI, endpoint: Endpoint, body: Mapping[str, Any]) -> Completed:
    failures = Failures(endpoint, "/completions")
    rest = {name: value for name, value in body.items() if name != "prompt"}
    try:
        async with asyncio.timeout(longest_wait(endpoint)):
            create = cast(Any, client.completions.with_raw_response).create
            response = await create(model=endpoint.model, prompt=body["prompt"], extra_body=rest)
        return read_completion(response.http_response.content)
    except Exception as error:
        return Completed(reason=failures.reason(error))


def read_completion(body: bytes) -> Completed:
    """The completion in the body of a response; without ids where the server gives none.

    Raises:
        NoReplyError: it is no completion, or its parts do not fit together; says why.
    """
    data, choice = first_choice(body)
    text = at(choice, "text")
    entries = at(choice, "logprobs", "content")
    if isinstance(entries, list):  # llama.cpp's form
        ids = [at(entry, "id") for entry in cast("list[Any]", entries)]
        logps = [at(entry, "logprob") for entry in cast("list[Any]", entries)]
        _require_all(len(ids), at(data, "usage", "completion_tokens"))
    else:
        ids, logps = at(choice, "token_ids"), at(choice, "logprobs", "token_logprobs")
    return Completed(
        token_ids=_ids(ids) if ids is not None else (),
        logps=_logps(logps) if logps is not None else (),
        text=text if isinstance(text, str) else "",
    )


def _require_all(listed: int, drawn: Any) -> None:
    """Refuse a reply without some of its tokens: llama.cpp lists none that ends within a character."""
    if isinstance(drawn, int) and listed != drawn:
        raise NoReplyError(
            f"the reply lists {listed} of {drawn} tokens; llama.cpp leaves out those that end within a character"
        )


def _ids(found: Any) -> tuple[int, ...]:
    values: list[Any] = cast("list[Any]", found) if isinstance(found, list) else [None]
    if not all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values):
        raise NoReplyError("the reply's token ids are no list of whole numbers")
    return tuple(values)


def _logps(found: Any) -> tuple[float, ...]:
    values: list[Any] = cast("list[Any]", found) if isinstance(found, list) else [None]
    if not all(isinstance(value, int | float) and -math.inf < value <= ROUNDING for value in values):
        raise NoReplyError("the reply's log-probabilities are no list of numbers up to 0")
    return tuple(min(float(value), 0.0) for value in values)
