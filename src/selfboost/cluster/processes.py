"""Processes of this machine, this one among them: small models sample and score on every CPU core, with nothing else
to install.

This process computes too, so one core needs no other. The others start with the first stage of several blocks, and take
blocks as soon as they have imported PyTorch. One that is lost is not replaced: those that are left compute its blocks.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Annotated, Any, TypeVar, cast

from pydantic import Field

from selfboost.cluster import Site, StageBlock, Worker, opened
from selfboost.cluster.actor import Failed, Surroundings
from selfboost.cluster.environment import workers_environment
from selfboost.cluster.here import ThisProcess
from selfboost.cluster.queue import BlockQueue
from selfboost.cluster.threads import threads_in_use
from selfboost.engines import Engine, Holding, release
from selfboost.system import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

ATTEMPTS = 3
"""Processes that a block may end before it fails the run."""
LOAD = 2
"""Blocks that another process has at a time, so that it need not wait for this one."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Processes of this machine, without Ray: sampling and scoring of small models on several CPU cores."""

    replicas: Annotated[int, Field(ge=0, le=256)] = 0
    """Processes, this one among them, each with models of its own; 0: as many as `run.threads` goes into the cores, and
    one where the engine uses a GPU."""

    def number(self, engine: Engine, threads: int) -> int:
        """Processes, this one among them; `threads`: PyTorch's, in each.

        Raises:
            ValueError: several are asked for where the engine uses a GPU.
        """
        on_gpu = _uses_gpu(engine)
        if self.replicas > 1 and on_gpu:
            raise ValueError(
                f"cluster.replicas = {self.replicas}: these processes share out CPU cores, but the engine uses a GPU; "
                "leave it at 0, or set cluster.kind = 'ray', which gives each worker a GPU of its own"
            )
        threads = threads_in_use(threads)
        return self.replicas or (1 if on_gpu or not threads else max(1, usable_cores() // threads))

    def start(self, site: Site) -> ProcessCrew:
        """Other processes are started with the first stage of several blocks."""
        return ProcessCrew(self, site)


@dataclass(eq=False)
class Other:
    """Another process, and the blocks that it has."""

    process: subprocess.Popen[bytes]
    ready: bool = False
    blocks: set[int] = field(default_factory=set[int])
    _to_say: SimpleQueue[bytes] = field(default_factory=SimpleQueue[bytes])

    def tell(self, *said: Any) -> None:
        """Send something, without waiting until it is read."""
        self._to_say.put(pickle.dumps(said, protocol=pickle.HIGHEST_PROTOCOL))

    def speak(self) -> None:
        """Write what is to be told, in a thread of its own; one that is gone is noticed by what it no longer says."""
        with suppress(OSError, ValueError):
            while message := self._to_say.get():
                pipe = cast("IO[bytes]", self.process.stdin)
                pipe.write(message)
                pipe.flush()

    def end(self) -> None:
        """End the process."""
        self._to_say.put(b"")
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # what it did not read
                cast("IO[bytes]", pipe).close()


class ProcessCrew:
    """The processes of a run."""

    def __init__(self, settings: Processes, site: Site) -> None:
        self._settings, self._site = settings, site
        self._number = 1
        """Processes, this one among them."""
        self._others: list[Other] | None = None
        """None: not started yet."""
        self._heard = SimpleQueue[tuple[Other, Any]]()
        self._stages = count(1)

    def __enter__(self) -> ProcessCrew:
        """Count the processes.

        Raises:
            ValueError: several were asked for where the engine uses a GPU.
        """
        self._number = self._settings.number(self._site.engine, self._site.threads)
        return self

    def __exit__(self, *_: object) -> None:
        for other in self._others or ():
            other.end()
        self._others = None

    def release(self, engine: Engine) -> Mapping[str, Any]:
        """What the engine says of the model that it let go of: the other processes keep none beyond a stage."""
        return release(engine)

    def results(self, worker: Worker[Item, Result], blocks: Iterable[StageBlock[Item]]) -> Iterator[Result]:
        """The result of each block, in order.

        Raises:
            ValueError: what another process raised; a block has ended too many of them.
        """
        if self._number == 1 or worker.at_once > 1 or not _can_be_sent(worker):
            yield from ThisProcess().results(worker, blocks)
            return
        queue = BlockQueue[Item, Result](blocks, ahead=1 + (LOAD + 1) * (self._number - 1), attempts=ATTEMPTS)
        if queue.finished:
            return
        if queue.several and self._others is None:
            self._others = [self._other() for _ in range(self._number - 1)]
        stage = next(self._stages)
        try:
            with opened(worker) as work:
                while not queue.finished:
                    own = self._hand_out(queue, stage, worker)
                    if own is not None:
                        queue.done(own[0], work(own[1]))
                    self._collect(queue, wait=own is None)
                    yield from queue.due()
        finally:
            self._put_down()

    def _other(self) -> Other:
        around = Surroundings(
            working_directory=os.getcwd(),
            threads=threads_in_use(self._site.threads),
            day=self._site.day,
            token=Path(),
            folders={},
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "selfboost.cluster.other_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | workers_environment(),
        )
        other = Other(process)
        other.tell(around, hasattr(self._site.engine, "device"))
        for work in (other.speak, partial(self._listen, other)):
            threading.Thread(target=work, daemon=True).start()
        return other

    def _listen(self, other: Other) -> None:
        """Put what another process says where this one finds it; None at its end."""
        with suppress(EOFError, OSError, ValueError, pickle.UnpicklingError):
            while True:
                self._heard.put((other, pickle.load(cast(Any, other.process.stdout))))
        self._heard.put((other, None))

    def _hand_out(self, queue: BlockQueue[Item, Any], stage: int, worker: Worker[Item, Any]) -> tuple[int, Item] | None:
        """A block for every process, this one too, before any gets a second; this one's: its number and items."""
        ready = [other for other in self._others or () if other.ready]
        self._give(queue, [other for other in ready if not other.blocks], stage, worker)
        own = queue.take()
        for load in range(1, LOAD):
            self._give(queue, [other for other in ready if len(other.blocks) <= load], stage, worker)
        return None if own is None else own[:2]

    @staticmethod
    def _give(queue: BlockQueue[Item, Any], free: Iterable[Other], stage: int, worker: Worker[Item, Any]) -> None:
        for other in free:
            if taken := queue.take():
                other.blocks.add(taken[0])
                other.tell(taken[0], stage, worker, taken[1])

    def _collect(self, queue: BlockQueue[Any, Any], *, wait: bool) -> None:
        """Take in what other processes have said; `wait` until one of them says something."""
        with suppress(Empty):
            while True:
                other, said = self._heard.get(block=wait)
                wait = False
                self._take_in(queue, other, said)

    def _take_in(self, queue: BlockQueue[Any, Any], other: Other, said: Any) -> None:
        if said is None:
            if self._others and other in self._others:
                self._others.remove(other)
            for number in sorted(other.blocks, reverse=True):
                queue.lost(number, f"exit code {other.process.wait()}")
            return
        number, result = said
        if number is None:
            other.ready = True
            return
        if number not in other.blocks:
            return  # of a stage that broke off
        if isinstance(result, Failed):
            result.error.add_note(f"raised in another process:\n{result.trace}")
            raise result.error
        other.blocks.remove(number)
        queue.done(number, result)

    def _put_down(self) -> None:
        """Let the others free the stage's models; one that still computes, since the stage broke off, is ended."""
        for other in list(self._others or ()):
            if other.blocks:
                other.blocks.clear()
                other.end()
                cast("list[Other]", self._others).remove(other)
            elif other.ready:
                other.tell()


def _can_be_sent(worker: object) -> bool:
    """Whether another process can be given a worker: not what is defined in a script or a notebook."""
    try:
        return b"__main__" not in pickle.dumps(worker)
    except Exception:  # pickle raises what it likes
        return False


def _uses_gpu(engine: object) -> bool:
    """Whether several processes would share a GPU: the engine's, or one that PyTorch has already found."""
    device, torch = getattr(engine, "device", None), cast(Any, sys.modules.get("torch"))
    if device is not None:
        from selfboost.engines.checkpoint import choose_device  # imported here: it imports PyTorch

        return choose_device(device).type != "cpu"
    return isinstance(engine, Holding) or (torch is not None and bool(torch.cuda.is_available()))
