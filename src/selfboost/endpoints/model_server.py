"""Where a checkpoint is served: by servers that run already, or by one that a command starts for each model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from selfboost.endpoints import Endpoint
from selfboost.endpoints.connection import check_ready
from selfboost.endpoints.launching import started
from selfboost.endpoints.serving import ServedModel, reload_weights, served_models
from selfboost.setting_types import SPEED_ONLY, CommandLine, ServerUrls, Text
from selfboost.suggestions import shown
from selfboost.trust import words_of

AT_ONCE = 256
"""Rows that vLLM decodes at a time by default."""


@dataclass(frozen=True)
class Served:
    """A checkpoint at its servers."""

    endpoints: Sequence[Endpoint]
    """With the name that each has for it."""
    models: Sequence[ServedModel]
    """What each says of it."""
    require_alive: Callable[[], None] = lambda: None
    """Raises ValueError if a server that was started has ended."""


@dataclass(frozen=True, kw_only=True)
class ModelServer:
    """Servers of one checkpoint."""

    # Where a model is served changes no result: that it is this model is checked when it is opened, and what it says
    # is compared with what the trainer computes.
    url: ServerUrls = field(default="", metadata=SPEED_ONLY)
    """Base URL of a running server, or a list of several that share the work: http://127.0.0.1:8000/v1."""
    launch: CommandLine = field(default="", metadata=SPEED_ONLY)
    """Command that starts a server for each model, `vllm serve` with {path} and {port} in it; needs `--trust`."""
    start_seconds: Annotated[float, Field(ge=1, le=86_400)] = field(default=1800.0, metadata=SPEED_ONLY)
    """Longest wait for a server that `launch` starts."""
    key_variable: Text = field(default="", metadata=SPEED_ONLY)
    """Name of the environment variable that holds the server's key; empty for a server that asks for none."""
    concurrent: Annotated[int, Field(ge=1, le=1024)] = field(default=AT_ONCE, metadata=SPEED_ONLY)
    """Requests in flight at a time, for each server and block."""
    timeout_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = field(default=1200.0, metadata=SPEED_ONLY)
    """Longest wait for an answer, before the request is sent again."""
    retries: Annotated[int, Field(ge=0, le=100)] = field(default=5, metadata=SPEED_ONLY)
    """How often a request is sent again after a time-out, a dropped connection, or status 408, 409, 429 or 5xx."""

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.launch):
            raise ValueError("url, launch: one of them must be set, and not both")
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

    @contextmanager
    def serving(self, names: Collection[str], folder: str, *, reload: bool = False) -> Generator[Served]:
        """Find a checkpoint at its servers, or start one; ended at the end.

        `names`: what it may be called there; `reload`: servers at `url` are made to load it.

        Raises:
            ValueError: there is no server that has it.
        """
        if self.launch:
            command = words_of("launch", self.launch)
            with started(command, {"path": folder}, self._endpoint, self.start_seconds) as server:
                endpoint = self._endpoint(server.url)
                listed = served_models(endpoint)
                model = next((each for each in listed if _is(each, [folder])), listed[0])
                yield Served([replace(endpoint, model=model.name)], [model], server.require_alive)
            return
        endpoints = [self._endpoint(url) for url in self.urls]
        for endpoint in endpoints:
            check_ready(endpoint)
            if reload:
                reload_weights(endpoint, folder)
        models = [_found(endpoint, [*names, folder], any_model=reload) for endpoint in endpoints]
        named = [replace(endpoint, model=model.name) for endpoint, model in zip(endpoints, models, strict=True)]
        yield Served(named, models)

    def _endpoint(self, url: str) -> Endpoint:
        return Endpoint(
            url=url,
            model="any",
            key_variable=self.key_variable,
            concurrent=self.concurrent,
            timeout_seconds=self.timeout_seconds,
            retries=self.retries,
        )


def _found(endpoint: Endpoint, names: Sequence[str], *, any_model: bool) -> ServedModel:
    """The model as a server lists it.

    Raises:
        ValueError: the server has others; says what to do.
    """
    listed = served_models(endpoint)
    found = [each for each in listed if _is(each, names)]
    if not found and not (any_model and listed):
        others = ", ".join(repr(each.root or each.name) for each in listed) or "no model"
        raise ValueError(
            f"{endpoint.address}: serves {others}, not {names[0]!r}; models that a run trains need "
            "launch instead of url, a command such as vllm serve with {path} and {port} in it (or, where a policy is "
            "sampled, reload = true for vLLM in its development mode)"
        )
    return (found or listed)[0]


def _is(served: ServedModel, paths: Sequence[str]) -> bool:
    """Whether a server's model is the one at one of the paths, or of a hub name."""
    names = [name for name in (served.root, served.name) if name]
    return any(
        path in names or (Path(path).exists() and any(_same_place(name, path) for name in names)) for path in paths
    )


def _same_place(one: str, other: str) -> bool:
    return Path(one).is_absolute() and Path(one).resolve() == Path(other).resolve()
