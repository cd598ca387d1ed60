"""The environment that results were made in: releases of the libraries, engine, devices, driver, threads, platform.

Libraries that the process has not loaded are not loaded for this: their releases are read from what is installed.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

LIBRARIES = ("torch", "transformers", "numpy", "lm_eval")
"""Libraries whose releases change results, if installed."""
DRIVER = Path("/proc/driver/nvidia/version")
"""Where Linux names the release of NVIDIA's driver."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What one process worked with; an empty text or 0 where it is unknown."""

    selfboost: str = ""
    python: str = ""
    libraries: tuple[str, ...] = ()
    """Name and release of each: `torch 2.13.0+cpu`."""
    engine: str = ""
    """The engine's kind."""
    devices: tuple[str, ...] = ()
    """Names of the GPUs that PyTorch sees, or of the processor."""
    driver: str = ""
    """Release of the GPU driver, and the CUDA release that PyTorch was built with."""
    threads: int = 0
    """PyTorch's CPU threads; 0 if it was not loaded."""
    cpus: int = 0
    """Processors of the machine."""
    platform: str = ""
    """Operating system, its release and the processor's architecture."""


def environment(engine: str) -> Environment:
    """The environment of this process; `engine` is the engine's kind."""
    torch = cast(Any, sys.modules.get("torch"))
    on_gpu = torch is not None and bool(torch.cuda.is_available())
    return Environment(
        selfboost=_release("selfboost"),
        python=platform.python_version(),
        libraries=tuple(f"{name} {found}" for name in LIBRARIES if (found := _release(name))),
        engine=engine,
        devices=_gpus(torch) if on_gpu else (_processor(),),
        driver=_driver(torch) if on_gpu else "",
        threads=int(torch.get_num_threads()) if torch is not None else 0,
        cpus=os.cpu_count() or 0,
        platform=platform.platform(),
    )


def continued(earlier: Sequence[Environment], now: Environment) -> tuple[Environment, ...]:
    """The environments of a run's processes, in order: one that is the same as the last is not repeated."""
    return (*earlier, now) if not earlier or earlier[-1] != now else tuple(earlier)


def described(found: Environment) -> dict[str, str]:
    """Name → value of everything that is known, for people."""
    threads = f"{found.threads} of {found.cpus} processors" if found.threads and found.cpus else ""
    facts = {
        "selfboost": found.selfboost,
        "Python": found.python,
        "libraries": ", ".join(found.libraries),
        "engine": found.engine,
        "devices": ", ".join(found.devices),
        "driver": found.driver,
        "PyTorch's CPU threads": threads,
        "platform": found.platform,
    }
    return {name: value for name, value in facts.items() if value}


def _release(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _gpus(torch: Any) -> tuple[str, ...]:
    return tuple(str(torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count()))


def _driver(torch: Any) -> str:
    try:
        found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", DRIVER.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        found = None
    return f"{f'NVIDIA {found[1]}, ' if found else ''}CUDA {torch.version.cuda}"


def _processor() -> str:
    """The processor's name where Linux tells it, else its architecture."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return found[1].strip() if found else platform.machine()
