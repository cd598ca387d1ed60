"""What a server says of itself: its models, and how it reads a conversation; new weights in its development mode."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from selfboost.endpoints import Endpoint
from selfboost.endpoints.connection import check_ready, client_settings
from selfboost.endpoints.failures import CannotGoOn, Failures
from selfboost.endpoints.reading import at
from selfboost.records import Message


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model that a server lists."""

    name: str
    """What requests call it."""
    root: str
    """The checkpoint's path or hub name; empty where the server does not say."""
    context: int | None
    """Most tokens of prompt and answer; None where the server does not say."""
    owner: str
    """`vllm`, `llamacpp` …"""


def served_models(endpoint: Endpoint) -> list[ServedModel]:
    """The models that a server lists.

    Raises:
        ValueError: it cannot be asked, or replies something else.
    """
    listed: Any = at(_sent(endpoint, "/models"), "data")
    if not isinstance(listed, list):
        raise ValueError(f"{endpoint.address}: replies no list of models; is url the base URL of a model's server?")
    return [_served(entry) for entry in cast("list[Any]", listed) if isinstance(at(entry, "id"), str)]


def _served(entry: Any) -> ServedModel:
    contexts = (at(entry, "max_model_len"), at(entry, "meta", "n_ctx"))
    return ServedModel(
        name=at(entry, "id"),
        root=str(at(entry, "root") or ""),
        context=next((found for found in contexts if isinstance(found, int) and found > 0), None),
        owner=str(at(entry, "owned_by") or ""),
    )


def reload_weights(endpoint: Endpoint, path: str) -> None:
    """Have a vLLM server in its development mode load other weights in place, and forget what it cached of the old.

    Raises:
        ValueError: it cannot.
    """
    _sent(endpoint, "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": path}})
    _sent(endpoint, "/reset_prefix_cache", {})


def chat_ids(endpoint: Endpoint, messages: Sequence[Message]) -> tuple[int, ...]:
    """The token ids that llama.cpp's server makes of a conversation, by the chat template and tokenizer of its file.

    Raises:
        ValueError: it cannot be asked, or replies something else.
    """
    turns = [{"role": message.role, "content": message.content} for message in messages]
    text: Any = at(_sent(endpoint, "/apply-template", {"messages": turns}), "prompt")
    asked = {"content": text, "add_special": True, "parse_special": True}
    ids: Any = at(_sent(endpoint, "/tokenize", asked), "tokens")
    if not isinstance(ids, list) or not all(isinstance(each, int) for each in cast("list[Any]", ids)):
        raise ValueError(f"{endpoint.address}: turns no conversation into token ids, as llama.cpp's server does")
    return tuple(cast("list[int]", ids))


def _sent(endpoint: Endpoint, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """The JSON that a server replies; posted to a path beside the API's where there is a body.

    Raises:
        ValueError: there is no such reply.
    """
    check_ready(endpoint)
    from openai import OpenAI

    base = endpoint.address.removesuffix("/v1")
    with OpenAI(**client_settings(endpoint)) as client:
        try:
            return (
                client.get(path, cast_to=object)
                if body is None
                else client.post(base + path, body=body, cast_to=object)
            )
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(
                f"{endpoint.address}: {path} replies no JSON; is url the base URL of a model's server?"
            ) from error
        except Exception as error:
            try:
                said = Failures(endpoint, path).reason(error)
            except CannotGoOn as stop:
                raise ValueError(str(stop)) from error
            raise ValueError(f"{endpoint.address}: {path} failed ({said})") from error
