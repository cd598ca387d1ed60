"""Training with several processes: one conducts, the others follow, each with a device and its share of every step.

The conductor also does everything else. It starts followers on its own machine for one training; under `torchrun` or
`accelerate launch`, on one machine or several, they are already waiting. A follower makes the same call with the same
arguments. Sampling and scoring are the conductor's alone.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from selfboost.disk.files import open_new
from selfboost.system import peak_memory_of_all, usable_cores
from selfboost.train.devices.launched import Lost, Preempted, launched
from selfboost.train.devices.lifelines import Lifelines, Reception, connect

Thing = TypeVar("Thing")
Result = TypeVar("Result")
WAIT = timedelta(days=30)
"""How long a follower waits for the next training."""
START_SECONDS = 300
"""How long the processes wait for each other when they start."""


@dataclass(frozen=True)
class World:
    """A training's processes, from the view of one of them."""

    rank: int = 0
    size: int = 1

    @property
    def conducts(self) -> bool:
        """Whether this process does the writing and reporting."""
        return self.rank == 0

    def share(self, things: Sequence[Thing]) -> list[tuple[Thing, bool]]:
        """This process's part, equally long for all; padding items come with False."""
        rounds = -(-len(things) // self.size)
        places = [self.rank + turn * self.size for turn in range(rounds)]
        return [(things[at], True) if at < len(things) else (things[0], False) for at in places]

    def sum_tensors(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over all processes in place, in a few large messages."""
        if self.size == 1 or not tensors:
            return
        for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
            same = [tensor for tensor in tensors if tensor.dtype == kind]
            flat = torch.cat([tensor.flatten() for tensor in same])
            dist.all_reduce(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in same])
            for tensor, part in zip(same, cast("list[Tensor]", parts), strict=True):
                tensor.copy_(part.view_as(tensor))

    def gather(self, thing: Thing) -> list[Thing]:
        """Every process's object, by rank."""
        if self.size == 1:
            return [thing]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, thing)
        return found

    def wait_at_most(self, seconds: float) -> None:
        """From now on, end where another process takes longer to answer."""
        if self.size > 1:
            cast(Any, dist.distributed_c10d)._set_pg_timeout(timedelta(seconds=seconds))


@dataclass
class Launched:
    """What the conductor, or a follower, knows of the processes beside it."""

    waiting: bool = False
    """Whether the followers wait for the next call; else they are within one, or gone."""
    lifelines: Lifelines | None = None

    def stop_waiting(self) -> bool:
        """Whether the followers waited, and can be told of it."""
        waited, self.waiting = self.waiting, False
        return waited and not (self.lifelines and self.lifelines.lost)


ALONE = World()
OTHERS = Launched()
Call = Callable[[World], object]
HERE = "here-"
"""Name, with its rank, of the file that a follower writes when it is ready."""
PARENT = "SELFBOOST_CONDUCTOR"
"""Environment variable: the process that started a follower."""


def conduct(devices: int, own: Callable[[World], Result], others: Callable[[World], object]) -> Result:
    """Run `own(world)` here and `others(world)` in all other processes at once; returns the result of `own`.

    `others` must be picklable: a module's function, or a partial of one. `devices` 0: as many as there are GPUs.

    Raises:
        Lost: a follower stopped; the message has its last words.
    """
    devices = devices or max(1, torch.cuda.device_count())
    if launched():
        world = _join()
        with _losses_in_words(world):
            OTHERS.waiting = False  # on an error they may wait for us within the training: the launcher ends them
            _tell(others)
            result = _to_the_end(own, world)
            OTHERS.waiting = True
            return result
    if devices == 1:
        return own(ALONE)
    with _followers(devices) as world:
        _tell(others)
        return own(world)


def join_launched() -> bool:
    """Join the group that a launcher started. False: this process was a follower, and its work is done."""
    if _join().conducts:
        return True
    follow()
    return False


def follow() -> None:
    """Follow the conductor, call by call, until it has no more work.

    Raises:
        Lost: another process stopped.
    """
    world = _join()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # waiting for others, it would not hear of a handler
    with _losses_in_words(world):
        while (work := _hear()) is not None:
            _to_the_end(work, world)
        _leave()


def dismiss(sentence: str) -> None:
    """On the conductor's failure: end the followers, if they wait, with an error of their own."""
    if OTHERS.stop_waiting():
        with suppress(RuntimeError):  # they have gone
            _tell(partial(_fail, sentence=f"process 0 on {socket.gethostname()} stopped: {sentence}"))
            _leave()


def _fail(_world: World, sentence: str) -> None:
    _leave()
    raise Lost(sentence)


def _to_the_end(work: Callable[[World], Result], world: World) -> Result:
    """Work, after which all go on or, where one was asked to end, leave together."""
    try:
        return work(world)
    except Preempted:
        _leave()
        raise


@contextmanager
def _losses_in_words(world: World) -> Generator[None]:
    """Turn PyTorch's many ways to say that a process has gone into one sentence."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise Lost(_loss(world)) from error


def _loss(world: World) -> str:
    return (
        f"process {world.rank} of {world.size} on {socket.gethostname()} lost the others: one of them stopped, or took "
        "longer than trainer.timeout_seconds; see what it said, then rerun the same command to resume"
    )


@cache
def _join() -> World:
    """Join the group that the environment describes."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    if PARENT in os.environ:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        cast(Any, dist).TCPStore(host, port, is_master=False).set(f"{HERE}{rank}", "")
    dist.init_process_group(_backend(), rank=rank, world_size=size, timeout=WAIT)
    if PARENT not in os.environ:
        OTHERS.lifelines = Lifelines(_connected(rank, size), _loss(World(rank, size)))
    if rank == 0:
        OTHERS.waiting = True
        atexit.register(_release)
    return World(rank, size)


def _connected(rank: int, size: int) -> list[socket.socket]:
    """The conductor's connections to all followers, or a follower's to its conductor."""
    reception = Reception() if rank == 0 else None
    told: list[Any] = [reception and reception.place]
    dist.broadcast_object_list(told, src=0, group=_patient(), device=torch.device("cpu"))
    if reception is not None:
        return reception.accept(size - 1, START_SECONDS)
    return [connect(os.environ["MASTER_ADDR"], told[0], START_SECONDS)]


@cache
def _patient() -> Any:
    """The group in which followers wait for the next call."""
    return dist.new_group(backend="gloo", timeout=WAIT)


def _backend() -> str:
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def _release() -> None:
    """Tell the followers, if they wait, that there is no more work."""
    if OTHERS.stop_waiting():
        _tell(None)
        _leave()


def _leave() -> None:
    """Let go of the others when all have come to the end: one that ends earlier breaks what others still use."""
    dist.barrier(group=_patient())
    if OTHERS.lifelines is not None:
        OTHERS.lifelines.leave()
    dist.destroy_process_group()
    _patient.cache_clear()


def _tell(call: Call | None) -> None:
    dist.broadcast_object_list([call], src=0, group=_patient(), device=torch.device("cpu"))


def _hear() -> Call | None:
    heard: list[Any] = [None]
    dist.broadcast_object_list(heard, src=0, group=_patient(), device=torch.device("cpu"))
    return cast("Call | None", heard[0])


@contextmanager
def _followers(devices: int) -> Generator[World]:
    """Start followers on this machine for one training."""
    store: Any = cast(Any, dist).TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"{rank}.log" for rank in range(1, devices)]
        started = [_start(rank, devices, store.port, log) for rank, log in enumerate(logs, start=1)]
        try:
            _wait_for(started, store)
            # The prefix is what the followers' own rendezvous gives their keys.
            keys = cast(Any, dist).PrefixStore("default_pg", store)
            dist.init_process_group(_backend(), store=keys, rank=0, world_size=devices, timeout=WAIT)
            yield World(0, devices)
            peak_memory_of_all()  # the run's peak counts the followers, which are about to end
            _tell(None)
            _leave()
            for process in started:
                with suppress(subprocess.TimeoutExpired):  # it is ended below
                    process.wait(START_SECONDS)
        except RuntimeError as error:
            said = _last_words(started, logs)
            raise Lost(f"training on {devices} devices stopped: {said or error}; rerun to resume") from error
        finally:
            for process in started:
                process.kill()
                process.wait()
            if dist.is_initialized():
                dist.destroy_process_group()
            _patient.cache_clear()


def _wait_for(started: Sequence[subprocess.Popen[bytes]], store: Any) -> None:
    """Wait until every follower is ready; RuntimeError if one has ended or takes too long."""
    missing = [f"{HERE}{rank}" for rank in range(1, len(started) + 1)]
    begin = time.monotonic()
    while not store.check(missing):
        if any(process.poll() is not None for process in started) or time.monotonic() - begin > START_SECONDS:
            raise RuntimeError(f"not all of the {len(started)} followers started")
        time.sleep(0.05)


def _start(rank: int, devices: int, port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start a follower that connects to its conductor at a port of this machine."""
    threads = max(1, usable_cores() // devices)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": devices, "RANK": rank, "LOCAL_RANK": rank}
    own = {name: str(value) for name, value in {**place, "OMP_NUM_THREADS": threads, PARENT: os.getpid()}.items()}
    own["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)  # components of the user's own
    with open_new(log) as file:
        command = [sys.executable, "-m", "selfboost.train.devices.follower"]
        # In a group of its own: Ctrl-C in the terminal is the conductor's, which lets all save and leave together.
        return subprocess.Popen(command, env=os.environ | own, stdout=file, stderr=file, process_group=0)


def _last_words(started: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path]) -> str:
    """The last words of the first follower that failed."""
    time.sleep(1)  # so that the one whose end we met has ended
    for rank, (process, log) in enumerate(zip(started, logs, strict=True), start=1):
        if process.poll() is not None:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
            return f"process {rank} ended with code {process.returncode}: {lines[-1]}"
    return ""


def watch_conductor() -> None:
    """End this process once its conductor has ended, however it ended."""
    conductor = int(os.environ[PARENT])

    def watch() -> None:
        while os.getppid() == conductor:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
