"""Asks a model behind a server: many requests in flight, replies in the order of the questions, each kept as it comes.

The openai SDK sends the requests and repeats what failed for a moment. What cannot be mended (no key, no such model,
a server that is down, a spent budget) stops everything with one sentence; a single request that fails is a reply
with a reason. Leaves out streaming.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from selfboost.endpoints import Endpoint, Question, Reply
from selfboost.endpoints.connection import check_ready, client_settings, longest_wait
from selfboost.endpoints.failures import CannotGoOn, Failures, HeldBack
from selfboost.endpoints.in_thread import handed_over
from selfboost.endpoints.kept_replies import KeptReplies, open_replies, tell_nobody
from selfboost.endpoints.reading import read_reply
from selfboost.templates import about_tokens

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Arrived = tuple[str, Reply]


def ask(
    endpoint: Endpoint,
    questions: Sequence[Question],
    *,
    cache: Path | None = None,
    say: Callable[[str], None] = tell_nobody,
) -> Iterator[Reply]:
    """Yield one reply per question, in order; a kept one costs nothing, and equal questions are asked once.

    `cache` is the folder where replies are kept (None: nowhere); `say` tells the user that a damaged cache was set
    aside. May be called from any thread, also from one in which an event loop runs.

    Raises:
        ValueError: nothing more can be asked; says why and what to do. All replies that arrived are kept.
    """
    keys = [question.key(endpoint) for question in questions]
    with open_replies(cache, say) as kept:
        known = kept.find(keys)
        missing = {key: question for key, question in zip(keys, questions, strict=True) if key not in known}
        arriving = _arriving(endpoint, missing, kept)
        try:
            for key in keys:
                while key not in known:
                    known |= (next(arriving),)
                yield known[key]
        finally:
            arriving.close()


def _arriving(
    endpoint: Endpoint, questions: Mapping[str, Question], kept: KeptReplies
) -> Generator[Arrived, None, None]:
    """Replies with their questions' keys, as they arrive; asked in a thread with an event loop of its own."""
    if not questions:
        return
    check_ready(endpoint)

    async def work(put: Callable[[Arrived], None]) -> None:
        await _Asking(endpoint, questions, kept, put).run()

    yield from handed_over(work, "asking")


class _Asking:
    """Asks everything once; `put` receives what arrives."""

    def __init__(
        self,
        endpoint: Endpoint,
        questions: Mapping[str, Question],
        kept: KeptReplies,
        put: Callable[[Arrived], None],
    ) -> None:
        self._endpoint, self._kept = endpoint, kept
        self._failures = Failures(endpoint, "/chat/completions")
        self._count, self._waiting = len(questions), iter(questions.items())
        self._requests, self._tokens = kept.spent(endpoint)
        self._held_back = HeldBack[Arrived](len(questions), put)
        self._refused = set[tuple[bool, bool]]()
        """Forms of requests, by whether they want log-probabilities and a schema, that the server refuses."""
        self._reserved, self._room = 0, asyncio.Condition()
        """What the requests in flight may cost at most, in tokens."""
        self._why: BaseException | None = None

    async def run(self) -> None:
        """Ask; raises what stopped it."""
        await self._ask_all()
        if self._why is not None:
            raise self._why
        self._held_back.let_go()

    async def _ask_all(self) -> None:
        from openai import AsyncOpenAI

        at = self._endpoint
        async with AsyncOpenAI(**client_settings(at)) as client:
            workers = [asyncio.create_task(self._work(client)) for _ in range(min(at.concurrent, self._count))]
            try:
                await self._finish(workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _finish(self, workers: Sequence[asyncio.Task[None]]) -> None:
        """Wait for all; once asking has stopped, only for as long as one reply may take."""
        waiting = set(workers)
        while waiting:
            limit = self._endpoint.timeout_seconds if self._why else None
            done, waiting = await asyncio.wait(waiting, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            for worker in done:
                worker.result()
            if not done:
                return

    async def _work(self, client: AsyncOpenAI) -> None:
        """Ask one question after the other."""
        for key, question in self._waiting:
            try:
                async with self._charged(question):
                    self._take(key, await self._reply(client, question))
            except CannotGoOn as stop:
                self._why = self._why or stop
            if self._why:
                return

    @asynccontextmanager
    async def _charged(self, question: Question) -> AsyncGenerator[None, None]:
        """Send a request only within the budget, which at most one reply oversteps.

        As long as requests are in flight, what they may cost at most is held back for them.
        """
        at, most = self._endpoint, most_tokens(question)
        async with self._room:
            await self._room.wait_for(
                lambda: (
                    not (at.most_tokens and self._reserved) or self._tokens + self._reserved + most <= at.most_tokens
                )
            )
            self._check_budget()
            self._requests += 1
            self._reserved += most
        try:
            yield
        finally:
            self._reserved -= most
            async with self._room:
                self._room.notify_all()

    def _check_budget(self) -> None:
        if isinstance(self._why, CannotGoOn):  # it waited for others, which stopped
            raise self._why
        at, spent = self._endpoint, ""
        if at.most_requests and self._requests >= at.most_requests:
            spent = f"most_requests = {at.most_requests:,}: all of them are used"
        elif at.most_tokens and self._tokens >= at.most_tokens:
            spent = f"most_tokens = {at.most_tokens:,}: {self._tokens:,} are used"
        if spent:
            raise CannotGoOn(
                f"{spent} for {at.model} at {at.address}, restarts included; every reply is kept: raise it and rerun "
                "the same command to resume"
            )

    def _take(self, key: str, reply: Reply) -> None:
        """Count a reply, keep it and pass it on."""
        self._tokens += reply.read + reply.written
        computed = reply.finish != "failed" or bool(reply.read)
        if computed:
            self._kept.keep(key, self._endpoint, reply)
            self._held_back.succeeded((key, reply))
            return
        self._requests -= 1
        if failed := self._held_back.failed((key, reply)):
            self._why = self._why or CannotGoOn(
                f"{self._endpoint.address}: {failed} requests in a row failed, the last one: {reply.reason}; nothing "
                "that arrived is lost: rerun the same command to resume"
            )

    async def _reply(self, client: AsyncOpenAI, question: Question) -> Reply:
        """The reply to a question; asked plainly where the server refuses log-probabilities or a schema."""
        from openai import BadRequestError, UnprocessableEntityError

        form = (bool(question.labels), question.schema is not None)
        plain = form in self._refused or not any(form)
        try:
            try:
                return await self._sent(client, question, plain=plain)
            except (BadRequestError, UnprocessableEntityError):
                if plain:
                    raise
            reply = await self._sent(client, question, plain=True)
            self._refused.add(form)  # it was these that the server refused, and not the messages
            return reply
        except Exception as error:
            return Reply(text="", finish="failed", reason=self._failures.reason(error))

    async def _sent(self, client: AsyncOpenAI, question: Question, *, plain: bool) -> Reply:
        at = self._endpoint
        body = question.request(at, plain=plain)
        # The SDK's time-out is for each piece of a response: one that trickles in for ever would never meet it.
        async with asyncio.timeout(longest_wait(at)):
            response = await cast(Any, client.chat.completions.with_raw_response).create(**body)
        reply = read_reply(question, response.http_response.content)
        return replace(reply, text=self._failures.clean(reply.text), system=self._failures.clean(reply.system))


def most_tokens(question: Question) -> int:
    """About how many tokens a question may cost at most."""
    return round(sum(about_tokens(message.content) for message in question.messages)) + question.max_tokens
