"""Many requests to one or several servers, many of them in flight, replies as they arrive.

The openai SDK sends the requests and repeats what failed for a moment. Nothing is cached, and there is no budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from selfboost.endpoints import Endpoint
from selfboost.endpoints.connection import check_ready, client_settings
from selfboost.endpoints.failures import CannotGoOn, HeldBack
from selfboost.endpoints.in_thread import handed_over

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class Replied(Protocol):
    """A reply, or the reason why there is none."""

    @property
    def reason(self) -> str:
        """Why it failed, if it did."""
        ...


Found = TypeVar("Found", bound=Replied)
One = Callable[["AsyncOpenAI", Endpoint, Mapping[str, Any]], Coroutine[Any, Any, Found]]
"""Sends one request; raises CannotGoOn where it makes no sense to send more."""


def ask_all(
    endpoints: Sequence[Endpoint], bodies: Sequence[Mapping[str, Any]], one: One[Found]
) -> Generator[tuple[int, Found], None, None]:
    """Yield (index of the body, its reply) as they arrive; a server that is faster gets more of them.

    May be called from several threads.

    Raises:
        ValueError: nothing more can be asked; says why and what to do.
    """
    if not bodies:
        return
    for endpoint in endpoints:
        check_ready(endpoint)

    async def work(put: Callable[[tuple[int, Found]], None]) -> None:
        await _Asking(bodies, one, put).run(endpoints)

    yield from handed_over(work, "asking")


class _Asking(Generic[Found]):
    """Asks for everything once; `put` receives what arrives."""

    def __init__(
        self, bodies: Sequence[Mapping[str, Any]], one: One[Found], put: Callable[[tuple[int, Found]], None]
    ) -> None:
        self._waiting, self._count, self._one = iter(enumerate(bodies)), len(bodies), one
        self._held_back = HeldBack[tuple[int, Found]](len(bodies), put)

    async def run(self, endpoints: Sequence[Endpoint]) -> None:
        """Ask; raises CannotGoOn where it makes no sense to go on."""
        await _together([self._ask(endpoint) for endpoint in endpoints])
        self._held_back.let_go()

    async def _ask(self, endpoint: Endpoint) -> None:
        from openai import AsyncOpenAI

        async with AsyncOpenAI(**client_settings(endpoint)) as client:
            await _together([self._work(client, endpoint) for _ in range(min(endpoint.concurrent, self._count))])

    async def _work(self, client: AsyncOpenAI, endpoint: Endpoint) -> None:
        """Send one request after the other."""
        for index, body in self._waiting:
            self._take(endpoint, index, await self._one(client, endpoint, body))

    def _take(self, endpoint: Endpoint, index: int, found: Found) -> None:
        """Pass a reply on.

        Raises:
            CannotGoOn: too many failed.
        """
        if not found.reason:
            self._held_back.succeeded((index, found))
        elif failed := self._held_back.failed((index, found)):
            raise CannotGoOn(
                f"{endpoint.address}: {failed} requests in a row failed, the last one: {found.reason}; see the "
                "server's log, then rerun the same command to resume"
            )


async def _together(works: Sequence[Any]) -> None:
    """Run all; the first error stops the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
