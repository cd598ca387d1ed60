"""A cluster of Ray actors, on this machine or on many: blocks go to whichever actor is free.

Blocks of a lost actor are handed out again by this process, and another actor is asked for without waiting for it;
Ray's own retries may wait for ever for resources that are gone. Leaves out clusters that grow on demand: what a recipe
asks for must be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from time import monotonic
from typing import Annotated, Any, TypeVar

from pydantic import Field

from selfboost.cluster import Site, StageBlock, Worker
from selfboost.cluster.actor import BlockActor, Failed, Sight
from selfboost.cluster.queue import BlockQueue
from selfboost.cluster.ray_session import Session, Share
from selfboost.engines import Engine, Holding, blocks_at_once
from selfboost.setting_types import PathOrNone, Several, Text

Item = TypeVar("Item")
Result = TypeVar("Result")

START_SECONDS = 300.0
"""How long no worker at all may be there."""
WAIT_SECONDS = 1.0
"""How long to wait for an event before a look at the clock."""
CLOSE_SECONDS = 60.0
"""How long a worker may take to free a model."""


@dataclass(frozen=True, kw_only=True)
class Ray:
    """Ray actors on this machine or many: sampling and scoring by several workers at a time."""

    address: Text = ""
    """Address of a running Ray cluster, such as `auto` or `10.0.0.1:6379`; empty: one is started on this machine."""
    replicas: Several = 1
    """Workers, each with models of its own."""
    gpus_per_replica: Annotated[int, Field(ge=-1, le=64)] = -1
    """GPUs of each worker, all in one machine (-1 = those the engine needs if the cluster has GPUs, else none)."""
    cpus_per_replica: Several = 1
    """CPUs that are reserved for each worker."""
    attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Lost workers after which a block fails the run."""
    python: PathOrNone = ""
    """Python interpreter of the workers, if not this one: the engine may then live in an environment of its own."""

    def start(self, site: Site) -> RayCrew:
        """Workers that are started when they are first needed, or the crew is entered."""
        return RayCrew(self, site)


@dataclass(eq=False)
class Hand:
    """An actor, and the blocks that it has."""

    actor: Any
    sight: Sight | None = None
    """None: it has not started yet."""
    blocks: dict[Any, int] = field(default_factory=dict[Any, int])
    """Reference to the coming result → number of the block."""
    alone: bool = False
    """Whether its block has ended a worker before, and no other is to stand beside it."""


class RayCrew:
    """The actors of a run: they outlive its stages, unless a training needs their devices."""

    def __init__(self, settings: Ray, site: Site) -> None:
        self._settings, self._site = settings, site
        self._session: Session | None = None
        self._hands: list[Hand] = []
        self._coming: dict[Any, Hand] = {}
        """Reference to what an actor will see when it has started → the actor."""
        self._stages = count(1)
        self._failed_starts = 0
        self._alive_at = monotonic()

    def __enter__(self) -> RayCrew:
        """Start the workers and look through their eyes.

        Raises:
            ValueError: Ray is not installed, the cluster is too small, or some do not see the run's folder or a model.
        """
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for hand in (*self._hands, *self._coming.values()):
            self._end(hand)
        self._hands, self._coming = [], {}
        if self._session is not None:
            self._session.close()
            self._session = None

    def results(self, worker: Worker[Item, Result], blocks: Iterable[StageBlock[Item]]) -> Iterator[Result]:
        """The result of each block, in order.

        Raises:
            ValueError: what a worker raised; a block has ended too many workers; none is left and none starts.
        """
        settings, at_once = self._settings, min(worker.at_once, blocks_at_once(self._site.engine))
        ahead = 2 * settings.replicas * at_once + 1
        queue = BlockQueue[Item, Result](blocks, ahead=ahead, attempts=settings.attempts)
        if queue.finished:
            return
        self._start()
        stage, self._alive_at = next(self._stages), monotonic()
        try:
            while not queue.finished:
                self._hand_out(queue, stage, worker, at_once)
                self._collect(queue)
                yield from queue.due()
        finally:
            self._put_down()

    def release(self, engine: Engine) -> Mapping[str, Any]:
        """End the workers if they hold a device or a model; the next stage starts them again."""
        if self._session is None or not (self._session.share.gpus or isinstance(engine, Holding)):
            return {}
        names = [hand.sight.name for hand in self._hands if hand.sight is not None]
        for hand in (*self._hands, *self._coming.values()):
            self._end(hand)
        gone = [hand.sight for hand in self._hands if hand.sight is not None]
        self._hands, self._coming = [], {}
        self._session.wait_for_the_end_of(gone, CLOSE_SECONDS)
        return {"ended workers": names}

    def _start(self) -> None:
        """Bring the workers to their number and wait for all of them."""
        if self._session is None:
            share = Share.of(self._settings, self._site.engine)
            self._session = Session.open(self._settings.address, share, self._settings.python, self._site)
        if self._hands or self._coming:
            return
        self._hire(self._settings.replicas)
        end = monotonic() + START_SECONDS
        while self._coming and monotonic() < end:
            self._welcome(self._session.ready(list(self._coming), WAIT_SECONDS))
        if self._coming:
            raise ValueError(
                f"cluster.replicas = {self._settings.replicas}: only {len(self._hands)} workers started within "
                f"{START_SECONDS:.0f} seconds; the cluster has {self._session.possessions}, some perhaps in use"
                + (f", and {self._settings.python} must have ray and selfboost" if self._settings.python else "")
            )

    def _hire(self, number: int) -> None:
        assert self._session is not None
        for _ in range(number):
            actor = self._session.actor(BlockActor, blocks_at_once(self._site.engine))
            self._coming[actor.look.remote()] = Hand(actor)

    def _welcome(self, references: Iterable[Any]) -> None:
        """Take in the workers that have started."""
        assert self._session is not None
        for reference in references:
            hand = self._coming.pop(reference)
            sight = self._session.found(reference)
            if isinstance(sight, self._session.lost):
                self._ask_again(sight)
                continue
            if sight.unseen:
                raise ValueError(
                    f"{sight.unseen[0]}: the folder is not seen, or not with the same files, by {sight.name}; workers "
                    "on several machines need runs and models under the same paths on a shared disk"
                )
            hand.sight, self._failed_starts = sight, 0
            self._hands.append(hand)

    def _ask_again(self, error: Exception) -> None:
        """Ask for another worker in place of one that ended before it had started."""
        assert self._session is not None
        self._failed_starts += 1
        if self._failed_starts >= self._settings.attempts:
            raise ValueError(
                f"cluster: {self._failed_starts} workers in a row could not be started, the last by: "
                f"{self._session.reason(error)}"
            )
        self._hire(1)

    def _hand_out(self, queue: BlockQueue[Item, Any], stage: int, worker: Worker[Item, Any], at_once: int) -> None:
        """Give every free worker a block, each one before any gets a second."""
        for load in range(at_once):
            for hand in self._hands:
                busy = len(hand.blocks) > load or hand.alone or (queue.suspected and hand.blocks)
                if busy or (taken := queue.take()) is None:
                    continue
                number, items, hand.alone = taken
                hand.blocks[hand.actor.work.remote(stage, worker, items)] = number

    def _collect(self, queue: BlockQueue[Any, Any]) -> None:
        """Wait for results, for workers that have started, and for the end of others."""
        assert self._session is not None
        holders = {reference: hand for hand in self._hands for reference in hand.blocks}
        ready = self._session.ready([*holders, *self._coming], WAIT_SECONDS)
        for reference in ready:
            if reference in self._coming:
                self._welcome([reference])
            elif reference in holders[reference].blocks:  # else its worker was lost a moment ago
                self._take_in(queue, holders[reference], reference)
        if self._hands:
            self._alive_at = monotonic()
        elif monotonic() > self._alive_at + START_SECONDS:
            raise ValueError(
                f"all workers were lost, and none has started for {START_SECONDS:.0f} seconds; rerun the same command "
                "to resume"
            )

    def _take_in(self, queue: BlockQueue[Any, Any], hand: Hand, reference: Any) -> None:
        """A block's result, the error that its worker raised, or the end of the worker."""
        assert self._session is not None
        found = self._session.found(reference)
        if isinstance(found, Failed):
            found.error.add_note(f"raised by {hand.sight.name if hand.sight else 'a worker'}:\n{found.trace}")
            raise found.error
        if isinstance(found, self._session.unreadable):
            raise ValueError(
                f"a worker cannot read its block ({self._session.reason(found)}): its Python needs the same selfboost, "
                "and what the recipe imports"
            )
        if not isinstance(found, self._session.lost):
            queue.done(hand.blocks.pop(reference), found)
            hand.alone = False
            return
        self._hands.remove(hand)
        self._end(hand)
        self._hire(1)
        why = self._session.reason(found)
        for number in sorted(hand.blocks.values(), reverse=True):
            queue.lost(number, why)

    def _put_down(self) -> None:
        """Let workers free the stage's models; one that is still busy, since the stage broke off, is ended."""
        if self._session is None:
            return
        busy = [hand for hand in self._hands if hand.blocks]
        for hand in busy:
            self._end(hand)
        self._hands = [hand for hand in self._hands if not hand.blocks]
        if busy:
            self._hire(len(busy))
        closing = [hand.actor.close.remote() for hand in self._hands]
        end = monotonic() + CLOSE_SECONDS
        while closing and monotonic() < end:
            done = self._session.ready(closing, WAIT_SECONDS)
            closing = [reference for reference in closing if reference not in done]

    def _end(self, hand: Hand) -> None:
        if self._session is not None:
            with suppress(Exception):  # it may be gone already
                self._session.kill(hand.actor)
