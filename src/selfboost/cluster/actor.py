"""The end of a Ray cluster at which blocks are computed: one such object in each worker's process. Imports no Ray."""

from __future__ import annotations

import os
import pickle
import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from contextvars import copy_context
from copy import copy
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from threading import Lock
from typing import Any

from selfboost.cluster import Worker, opened
from selfboost.cluster.threads import VARIABLE, limit_torch
from selfboost.engines.run_day import stay_on_day


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a worker's process must have in common with the one that asks for results."""

    working_directory: str
    threads: int
    """PyTorch's CPU threads (0: its default)."""
    day: date
    token: Path
    """A file in the cache of the run's folder."""
    folders: Mapping[str, Mapping[str, int]]
    """Folders of models, with their files and the sizes of these."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a worker sees from where it is."""

    host: str
    pid: int
    unseen: Sequence[str]
    """Folders that it does not see, or sees otherwise."""

    @property
    def name(self) -> str:
        """The worker, for messages."""
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True, kw_only=True)
class Failed:
    """An error that the worker's code raised."""

    error: Exception
    trace: str


class BlockActor:
    """Opens the worker of a stage at its first block, and keeps it open until the stage ends."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        with suppress(OSError):  # a relative run folder is then not seen, which is said
            os.chdir(surroundings.working_directory)
        if surroundings.threads:
            limit_torch(surroundings.threads)
        else:
            os.environ.pop(VARIABLE, None)  # Ray sets it to one
        self._context = copy_context()
        self._context.run(stay_on_day, surroundings.day)
        self._lock = Lock()
        self._stage = 0
        self._manager: AbstractContextManager[Callable[[Any], Any]] | None = None
        self._work: Callable[[Any], Any] | None = None

    def look(self) -> Sight:
        """What this process sees."""
        around = self._around
        unseen = [] if around.token.exists() else [str(around.token.parents[1])]
        unseen += [path for path, files in around.folders.items() if sizes(path) != files]
        return Sight(host=socket.gethostname(), pid=os.getpid(), unseen=unseen)

    def work(self, stage: int, worker: Worker[Any, Any], items: Any) -> Any:
        """A block's result, or what its computation raised."""
        try:
            with self._lock:
                if stage != self._stage or self._work is None:
                    self.close()
                    manager = self._context.run(opened, worker)
                    self._work = self._context.run(manager.__enter__)
                    self._stage, self._manager = stage, manager
            return self._work(items)
        except Exception as error:
            return Failed(error=_sent(error), trace=traceback.format_exc())

    def close(self) -> None:
        """Close the stage's worker, which frees its models."""
        manager, self._manager, self._work = self._manager, None, None
        if manager is not None:
            self._context.run(manager.__exit__, None, None, None)


def sizes(path: str) -> dict[str, int]:
    """The files of a folder and their sizes; none where there is no such folder."""
    try:
        return {entry.name: entry.stat().st_size for entry in os.scandir(path) if entry.is_file()}
    except OSError:
        return {}


def _sent(error: Exception) -> Exception:
    """The error itself if it survives the way to another process, else what it says."""
    try:
        pickle.dumps(error)
        copy(error)  # made anew as it will be over there
    except Exception:  # its class has a constructor of its own, or holds what cannot be sent
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
