"""A connection to Ray: started or joined without a word on the terminal, and left without a trace.

The only file that imports Ray.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from selfboost.cluster import Site
from selfboost.cluster.actor import Sight, Surroundings, sizes
from selfboost.cluster.environment import workers_environment
from selfboost.cluster.threads import threads_in_use
from selfboost.engines import Engine
from selfboost.system import is_running

OBJECTS = 256 * 2**20
"""Bytes of shared memory for results on their way, of a cluster started here."""
TOKEN = ".workers-"
"""Begins the name of a file in the run's cache that workers look for."""
QUIET: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # workers without a GPU see none; unset, Ray warns of it
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
"""Environment variables that keep Ray from reporting, and from changing what workers run."""


class Wishes(Protocol):
    """What a recipe asks of a cluster."""

    @property
    def replicas(self) -> int: ...
    @property
    def gpus_per_replica(self) -> int: ...
    @property
    def cpus_per_replica(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Share:
    """What each worker takes of the cluster."""

    replicas: int
    cpus: int
    gpus: int
    """-1: as many as the engine needs, if the cluster has any."""
    needed: int
    """GPUs that the engine spreads a model over."""

    @classmethod
    def of(cls, wishes: Wishes, engine: Engine) -> Share:
        """The share that a recipe asks for."""
        needed = int(getattr(engine, "tensor_parallel", 1))
        return cls(replicas=wishes.replicas, cpus=wishes.cpus_per_replica, gpus=wishes.gpus_per_replica, needed=needed)


class Session:
    """This process in a Ray cluster."""

    def __init__(self, ray: Any, *, own: bool, folder: str, python: str, site: Site) -> None:
        self._ray, self._own, self._folder = ray, own, folder
        self._environment: dict[str, Any] = {} if folder and not python else {"env_vars": workers_environment()}
        """Of workers; those of a cluster that is started here have this process's own."""
        if python:
            self._environment["py_executable"] = python
        self.share: Share
        self.lost: type[Exception] = ray.exceptions.RayError
        """What stands in place of a result whose worker was lost."""
        self.unreadable: type[Exception] = ray.exceptions.RayTaskError
        """What stands in its place if the worker could not even begin."""
        self._token = site.root / "cache" / f"{TOKEN}{uuid4().hex}"
        self._around = Surroundings(
            working_directory=os.getcwd(),
            threads=threads_in_use(site.threads),
            day=site.day,
            token=self._token,
            folders={path: sizes(path) for path in site.models if Path(path).is_dir()},
        )

    @classmethod
    def open(cls, address: str, share: Share, python: str, site: Site) -> Session:
        """Join the cluster at an address, or start one here.

        Raises:
            ValueError: Ray is not installed, no cluster is there, or it is too small.
        """
        ray = _import_ray()
        own = not ray.is_initialized()
        folder = "" if address or not own else _folder_for_ray()
        session = cls(ray, own=own, folder=folder, python=python, site=site)
        try:
            if own:
                session._join(address, share)
            session.share = session._fitting(share)
            session._leave_token()
        except BaseException:
            session.close()
            raise
        return session

    def _leave_token(self) -> None:
        """Write the file that workers look for; those of runs that were killed go."""
        self._token.parent.mkdir(exist_ok=True)
        for old in self._token.parent.glob(f"{TOKEN}*"):
            old.unlink(missing_ok=True)
        self._token.touch()

    def _join(self, address: str, share: Share) -> None:
        """Join a cluster, or start one: once more if that fails, as Ray waits for itself half a minute at most."""
        settings: dict[str, Any] = {"address": address or "local", "log_to_driver": False, "logging_level": "CRITICAL"}
        settings["namespace"] = f"selfboost-{uuid4().hex}"
        if not address:
            settings |= {"num_cpus": share.replicas * share.cpus, "object_store_memory": OBJECTS}
            settings |= {"_temp_dir": self._folder, "include_dashboard": False}
        for last in (False, True):
            try:
                with _OwnSignals(), _shown_to_children(workers_environment()):
                    self._ray.init(**settings)
                return
            except Exception as error:  # Ray raises several kinds
                if address or last:
                    where = f"cluster.address = {address!r}: no Ray cluster could be joined there"
                    said = str(error).strip().partition("\n")[0]
                    raise ValueError(f"{where if address else 'Ray could not be started here'} ({said})") from error
                with suppress(Exception):
                    self._ray.shutdown()

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._token.unlink(missing_ok=True)
        with suppress(OSError):  # it holds something else, or was never made
            self._token.parent.rmdir()
        if self._own:
            with suppress(Exception):  # what is left of it ends with this process
                self._ray.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _machines(self) -> list[Mapping[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    @property
    def possessions(self) -> str:
        """What the cluster has, in words."""
        machines = self._machines
        cpus, gpus = (int(sum(each.get(kind, 0) for each in machines)) for kind in ("CPU", "GPU"))
        return f"{_several(len(machines), 'machine')} with {_several(cpus, 'CPU')} and {_several(gpus, 'GPU')}"

    def _fitting(self, share: Share) -> Share:
        """The share with its number of GPUs; refused if the cluster cannot hold all workers."""
        machines = self._machines
        any_gpu = any(each.get("GPU", 0) for each in machines)
        gpus = (share.needed if any_gpu else 0) if share.gpus < 0 else share.gpus
        if gpus and gpus < share.needed:
            raise ValueError(
                f"cluster.gpus_per_replica = {gpus}: engine.tensor_parallel = {share.needed} needs at least as many"
            )
        fit = sum(_workers_on(each, share.cpus, gpus) for each in machines)
        if fit < share.replicas:
            raise ValueError(
                f"cluster.replicas = {share.replicas}: with {_several(share.cpus, 'CPU')} and {_several(gpus, 'GPU')} "
                f"each, only {fit} fit; the cluster has {self.possessions}"
            )
        return Share(replicas=share.replicas, cpus=share.cpus, gpus=gpus, needed=share.needed)

    def actor(self, cls: type, at_once: int) -> Any:
        """Ask for an actor, without waiting for it."""
        options = {"num_cpus": self.share.cpus, "num_gpus": self.share.gpus, "max_concurrency": at_once}
        options |= {"max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
        return self._ray.remote(cls).options(runtime_env=self._environment, **options).remote(self._around)

    def ready(self, references: Sequence[Any], seconds: float) -> list[Any]:
        """Those whose result is there, once one is or the time is over."""
        if not references:
            time.sleep(seconds)
            return []
        first, _ = self._ray.wait(list(references), num_returns=1, timeout=seconds)
        return self._ray.wait(list(references), num_returns=len(references), timeout=0)[0] if first else []

    def found(self, reference: Any) -> Any:
        """A result, or the error that stands in its place."""
        try:
            return self._ray.get(reference)
        except self.lost as error:
            return error

    def reason(self, error: Exception) -> str:
        """An error of Ray in one line."""
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        of_python = isinstance(error, self.unreadable) or (lines and "creation task" in lines[0])
        return (lines[-1] if of_python else lines[0]) if lines else type(error).__name__

    def kill(self, actor: Any) -> None:
        """End an actor's process."""
        self._ray.kill(actor, no_restart=True)

    def wait_for_the_end_of(self, workers: Iterable[Sight], seconds: float) -> None:
        """Wait until the processes of workers on this machine are gone, and their memory with them."""
        end = time.monotonic() + seconds
        for worker in workers:
            while worker.host == socket.gethostname() and is_running(worker.pid) and time.monotonic() < end:
                time.sleep(0.05)


def _import_ray() -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        with _OwnSignals():
            return importlib.import_module("ray")
    except ImportError as error:
        raise ValueError(
            f"cluster.kind = 'ray': needs ray, which cannot be imported ({error}); pip install 'selfboost[ray]'"
        ) from error


class _OwnSignals:
    """Keep this process's way to end on SIGTERM, which Ray replaces."""

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGTERM)

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)


@contextmanager
def _shown_to_children(variables: Mapping[str, str]) -> Generator[None]:
    """Environment variables of the processes that the block starts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _folder_for_ray() -> str:
    """A folder for Ray's sockets and logs, whose path must be short."""
    base = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="selfboost-ray-", dir=base if len(base) < 30 else "/tmp")


def _workers_on(machine: Mapping[str, float], cpus: int, gpus: int) -> int:
    room = int(machine.get("CPU", 0) // cpus)
    return min(room, int(machine.get("GPU", 0) // gpus)) if gpus else room


def _several(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
