"""What a failed request to a server means: a reason for this one, or that the server cannot be asked at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from selfboost.endpoints import Endpoint
from selfboost.endpoints.connection import key_of
from selfboost.endpoints.reading import NoReplyError
from selfboost.suggestions import shown

if TYPE_CHECKING:
    from openai import APIStatusError

Item = TypeVar("Item")

FAILURES = 8
"""So many requests that fail one after the other mean that the server is broken, not the requests."""
SECRET = 12
"""Characters from which on a key is taken out of what a server says; shorter ones are words such as EMPTY."""
UNREACHABLE = ("ConnectError", "ConnectTimeout", "UnsupportedProtocol", "ProxyError")
"""Errors of the SDK's HTTP library where no connection came about."""


class CannotGoOn(Exception):
    """Asking stops here; the sentence says why."""


class HeldBack(Generic[Item]):
    """Passes replies on, failed ones once another succeeds: if none does, it is the server that fails."""

    def __init__(self, count: int, put: Callable[[Item], None]) -> None:
        """`count`: how many replies are asked for."""
        self._count, self._put = count, put
        self._held, self._succeeded = list[Item](), False
        """Failed replies since the last that did not fail; whether there was one."""

    def succeeded(self, item: Item) -> None:
        """Pass on a reply, after the failed ones before it."""
        self._succeeded = True
        self.let_go()
        self._put(item)

    def failed(self, item: Item) -> int:
        """Hold a failed reply back; how many failed in a row if that means that the server is broken, else 0."""
        self._held.append(item)
        failed = len(self._held)
        return failed if failed >= FAILURES or (failed == self._count > 1 and not self._succeeded) else 0

    def let_go(self) -> None:
        """Pass on all that is held."""
        held, self._held = self._held, []
        for each in held:
            self._put(each)


class Failures:
    """Reads the errors of one endpoint's requests."""

    def __init__(self, endpoint: Endpoint, path: str) -> None:
        """`path`: what is asked, as `/chat/completions`."""
        self.endpoint, self.path = endpoint, path

    def reason(self, error: Exception) -> str:
        """Why a request failed.

        Raises:
            CannotGoOn: others would fail as well.
        """
        import openai

        at = self.endpoint
        if isinstance(error, openai.APIStatusError):
            return self._status(error)
        if isinstance(error, openai.APITimeoutError | TimeoutError):
            return f"no reply within {at.timeout_seconds:g} s, {at.retries + 1} times"
        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__
            if type(cause).__name__ in UNREACHABLE:
                raise CannotGoOn(
                    f"{at.address}: cannot be reached ({self._quoted(str(cause))}); start the server or correct url, "
                    "then rerun the same command to resume"
                )
            return f"the connection broke off ({self._quoted(str(cause) or type(cause).__name__)})"
        if isinstance(error, NoReplyError):
            return self.clean(str(error))
        raise error

    def _status(self, error: APIStatusError) -> str:
        """What a status other than 200 means."""
        at, said = self.endpoint, self._quoted(message_of(error))
        match error.status_code:
            case 401 | 403:  # what the server says here may quote the key
                key = f"the key in {at.key_variable}" if at.key_variable else "requests without a key (key_variable)"
                raise CannotGoOn(f"{at.address}: does not accept {key} (status {error.status_code})")
            case 402:
                raise CannotGoOn(f"{at.address}: the account must be paid for first (status 402: {said})")
            case 404 | 405:
                raise CannotGoOn(
                    f"{at.address}: has no model {at.model!r}, or no {self.path} (status {error.status_code}: "
                    f"{said}); correct model or url"
                )
            case 429:
                raise CannotGoOn(
                    f"{at.address}: refuses more requests for now (status 429: {said}); lower concurrent, raise "
                    "retries or wait, and rerun the same command to resume"
                )
            case other:
                return f"status {other}: {said}"

    def _quoted(self, said: str) -> str:
        return shown(self.clean(said))

    def clean(self, said: str) -> str:
        """What a server says, without the key if it repeats it."""
        key = key_of(self.endpoint)
        return said.replace(key, "[key]") if len(key) >= SECRET else said


def message_of(error: APIStatusError) -> str:
    """The server's own words for an error."""
    body: Any = error.body
    if isinstance(body, dict):
        found = cast("dict[str, Any]", body).get("message")
        return found if isinstance(found, str) else str(cast("dict[str, Any]", body))
    return str(body or error.message)
