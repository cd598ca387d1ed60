"""Language models behind OpenAI-compatible servers: what is asked of them, and what they reply.

`asking.ask` asks. The key is read from the environment when a request is sent; it is stored and printed nowhere.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from selfboost.records import Message, content_hash
from selfboost.setting_types import MOST_ROWS, MOST_TOKENS, SPEED_ONLY, Name, ServerUrl, Text

VARIABLE = re.compile("([A-Z_][A-Z0-9_]*)?")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A language model behind an OpenAI-compatible server, and how much may be asked of it."""

    # The address is part of fingerprints and of cache keys: two servers may serve different weights, quantisations or
    # chat templates under one model name, so what one replied says nothing about the other.
    url: ServerUrl
    """Base URL of the server, as far as `/chat/completions`: http://127.0.0.1:8000/v1."""
    model: Name
    """The model's name on that server."""
    key_variable: Text = field(default="OPENAI_API_KEY", metadata=SPEED_ONLY)
    """Name of the environment variable that holds the key; empty for a server that asks for none."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = field(default="max_tokens", metadata=SPEED_ONLY)
    """What the server calls the most tokens of a reply; some newer models accept only `max_completion_tokens`."""
    concurrent: Annotated[int, Field(ge=1, le=1024)] = field(default=32, metadata=SPEED_ONLY)
    """Requests in flight at a time."""
    timeout_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = field(default=120.0, metadata=SPEED_ONLY)
    """Longest wait for a reply, before the request is sent again."""
    retries: Annotated[int, Field(ge=0, le=100)] = field(default=5, metadata=SPEED_ONLY)
    """How often a request is sent again after a time-out, a dropped connection, or status 408, 409, 429 or 5xx."""
    most_requests: Annotated[int, Field(ge=0, le=MOST_ROWS)] = field(default=0, metadata=SPEED_ONLY)
    """Budget: most replies of this model that a run's folder may hold, over all restarts (0 = no limit)."""
    most_tokens: Annotated[int, Field(ge=0, le=10**12)] = field(default=0, metadata=SPEED_ONLY)
    """Budget: no more requests once these many tokens were read and written, over all restarts (0 = no limit)."""

    def __post_init__(self) -> None:
        if wrong := _objection(self.url):
            raise ValueError(f"url: {wrong}; write it like http://127.0.0.1:8000/v1")
        if not VARIABLE.fullmatch(self.key_variable):  # not quoted: it might be the key
            raise ValueError(
                "key_variable: must be the name of an environment variable, in capital letters, digits and "
                'underscores, or ""; the key itself is never part of a recipe'
            )

    @property
    def address(self) -> str:
        """The URL without a slash at its end."""
        return self.url.rstrip("/")


def _objection(url: str) -> str:
    """What is wrong with a base URL; empty if nothing is. It is not quoted: it might hold a key."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if any(ord(letter) <= 32 or ord(letter) >= 127 for letter in url):
        return "must have neither spaces nor letters outside ASCII"
    if parts.scheme not in ("http", "https") or not host:
        return "must begin with http:// or https:// and a host"
    if parts.username is not None or parts.query or parts.fragment:
        return "must hold no user, password or query, since it is stored; keys belong into the environment"
    return "must end before /chat/completions" if parts.path.rstrip("/").endswith("/completions") else ""


def endpoints_of(component: Any) -> list[Endpoint]:
    """The endpoints among a component's settings, those of its parts included, each once."""
    if isinstance(component, Endpoint):
        return [component]
    parts = [getattr(component, f.name) for f in fields(component)] if is_dataclass(component) else []
    return list(dict.fromkeys(found for part in parts for found in endpoints_of(part)))


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request to a model."""

    messages: tuple[Message, ...]
    max_tokens: int = 1024
    """Most tokens of the reply."""
    temperature: float = 0.0
    """0 asks for the likeliest reply; servers may vary all the same."""
    labels: tuple[str, ...] = ()
    """Texts whose log-probabilities as the reply's first token are wanted."""
    top_logprobs: int = 20
    """How many of the likeliest first tokens are asked for; a label that is not among them has no log-probability."""
    schema: Mapping[str, Any] | None = None
    """JSON schema of the reply, if it is to be an object; a server that refuses it is asked without."""
    sample: int = 0
    """Tells several replies to the same request apart."""

    def __post_init__(self) -> None:
        assert self.messages, "a question has a message"
        assert 1 <= self.max_tokens <= MOST_TOKENS, self.max_tokens
        assert 0 <= self.temperature < math.inf, self.temperature

    def request(self, endpoint: Endpoint, *, plain: bool = False) -> dict[str, Any]:
        """The body of the request; `plain`: without log-probabilities and schema, for servers that refuse them."""
        body: dict[str, Any] = {
            "model": endpoint.model,
            "messages": [{"role": message.role, "content": message.content} for message in self.messages],
            endpoint.token_limit: self.max_tokens,
            "temperature": self.temperature,
        }
        if self.labels and not plain:
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        if self.schema is not None and not plain:
            named = {"name": "reply", "strict": True, "schema": json.loads(json.dumps(self.schema))}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return body

    def key(self, endpoint: Endpoint) -> str:
        """SHA-256 of the server's address, the whole request and the sample: the reply's place in the cache."""
        asked = {
            "messages": [[message.role, message.content] for message in self.messages],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "labels": [list(self.labels), self.top_logprobs] if self.labels else [],
            "schema": self.schema,
        }
        return content_hash([endpoint.address, endpoint.model, asked, self.sample])


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a model replied to a question, or the reason why there is no reply."""

    text: str
    finish: Literal["stop", "length", "failed"] = "stop"
    """`length`: cut at the most tokens."""
    reason: str = ""
    """Why it failed, if it did."""
    label_logprobs: Mapping[str, float] = field(default_factory=dict[str, float])
    """Label → natural log-probability as the first token; without those that the server did not give."""
    read: int = 0
    """Tokens of the request, as the server counts them."""
    written: int = 0
    """Tokens of the reply, hidden reasoning included."""
    system: str = ""
    """The server's fingerprint of its own configuration, if it gave one."""
    cached: bool = False
    """Whether it came from the cache: nothing was asked now."""
