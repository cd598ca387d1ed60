"""What a connection to an endpoint needs: the SDK, a key, and how long to wait."""

from __future__ import annotations

import os
from typing import Any

from selfboost.endpoints import Endpoint
from selfboost.extras import require

LONGEST_PAUSE = 60.0
"""Seconds that the SDK waits at most before it repeats a request."""


def check_ready(endpoint: Endpoint) -> None:
    """Check, without a connection, that an endpoint can be asked.

    Raises:
        ValueError: the SDK is not installed, or the environment holds no usable key.
    """
    require("openai", extra="server", setting=f"a model behind {endpoint.address}")
    key_of(endpoint)


def key_of(endpoint: Endpoint) -> str:
    """The key in the environment.

    Raises:
        ValueError: there is no usable one.
    """
    name = endpoint.key_variable
    if not name:
        return "none"  # the SDK wants one; a server that asks for none ignores it
    key = os.environ.get(name, "").strip()
    if not key:
        raise ValueError(
            f"the environment variable {name} holds no key for {endpoint.address}; set it, or name another with "
            'key_variable ("" for a server that asks for none)'
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"the environment variable {name} holds no key: keys are ASCII, without spaces")
    return key


def client_settings(endpoint: Endpoint) -> dict[str, Any]:
    """The arguments of the SDK's clients.

    Raises:
        ValueError: there is no usable key.
    """
    return {
        "api_key": key_of(endpoint),
        "base_url": endpoint.address,
        "timeout": endpoint.timeout_seconds,
        "max_retries": endpoint.retries,
    }


def longest_wait(endpoint: Endpoint) -> float:
    """Seconds after which a request is given up, repeats and pauses included."""
    return (endpoint.timeout_seconds + LONGEST_PAUSE) * (endpoint.retries + 1)
