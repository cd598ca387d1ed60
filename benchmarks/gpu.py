"""The check list for a GPU: is what we compute right on it, and how fast beside peers on the same card.

Run as `python -m benchmarks.gpu --json FILE` with torch, transformers and this package (`PYTHONPATH=src`); TRL is
compared with where it is installed. Models are random, nothing is downloaded. Each part is one row and runs in a
process of its own; all together end within `--seconds`, what is left then is skipped. `--device cpu --quick` tries it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts import PARTS, Case, Skipped

ROOT = Path(__file__).parents[1]
SECONDS = 500.0
"""For all parts; with the first imports under nine minutes."""
LONGEST = 150.0
"""For one part."""
LEAST = 10.0
"""No part is begun with less time left."""
LIBRARIES = ("selfboost", "torch", "transformers", "trl", "triton", "peft")


def outcome(name: str, case: Case) -> dict[str, Any]:
    """A part's row: ok, failed or skipped, with a reason, its numbers and its ratio to a peer."""
    row: dict[str, Any] = {"name": name, "status": "ok", "reason": "", "numbers": {}, "ratio": None}
    try:
        row["numbers"] = PARTS[name](case)
    except Skipped as reason:
        return row | {"status": "skipped", "reason": str(reason)}
    except ModuleNotFoundError as error:
        return row | {"status": "skipped", "reason": f"{error.name} is not installed"}
    except Exception as error:
        return row | {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:500]}
    if row["numbers"].pop("without_trl", None):
        row["reason"] = "TRL is not installed: ours alone"
    return row | {"ratio": row["numbers"].pop("ratio", None)}


def in_a_process(name: str, arguments: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """The same in a process of its own, which ends after so many seconds."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--device", arguments.device]
    command += ["--quick"] if arguments.quick else []
    empty = {"name": name, "numbers": {}, "ratio": None}
    search = os.pathsep.join([str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": search}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, cwd=ROOT, env=environment)
    except subprocess.TimeoutExpired:
        return empty | {"status": "skipped", "reason": f"time: not done after {seconds:.0f} seconds"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return empty | {"status": "failed", "reason": f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"}
    return json.loads(lines[-1])


def rows(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All parts in turn, while there is time."""
    end, found = time.monotonic() + arguments.seconds, []
    for name in arguments.only or PARTS:
        start, left = time.monotonic(), end - time.monotonic()
        if left < LEAST:
            row = {"name": name, "status": "skipped", "reason": "time", "numbers": {}, "ratio": None}
        else:
            row = in_a_process(name, arguments, min(LONGEST, left))
        row["seconds"] = round(time.monotonic() - start, 1)
        print(line(row), flush=True)
        found.append(row)
    return found


def line(row: dict[str, Any]) -> str:
    """A row of the table in Markdown."""
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in row["numbers"].items())
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    said = "; ".join(part for part in (numbers, row["reason"]) if part)
    return f"| {row['name']} | {row['status']} | {said} | {ratio} | {row.get('seconds', '')} |"


def machine(device: str) -> dict[str, Any]:
    """The card, the libraries and the platform."""
    import torch

    versions: dict[str, str] = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    card = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {"card": card, "device": device, "cuda": torch.version.cuda, "versions": versions}


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny models and few steps: tries the check list itself")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all parts together")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), help="these parts alone")
    parser.add_argument("--part", choices=tuple(PARTS), help="run one part in this process and print its row as JSON")
    return parser.parse_args(given)


def one_part(arguments: argparse.Namespace) -> None:
    """Print a part's row; what libraries print goes to the error stream."""
    output, sys.stdout = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory() as folder:
        row = outcome(arguments.part, Case(device=arguments.device, quick=arguments.quick, folder=Path(folder)))
    print(json.dumps(row), file=output, flush=True)


def main(given: Sequence[str] | None = None) -> None:
    """Run the list, print a table, and write it where asked."""
    arguments = parse(given)
    if arguments.part:
        one_part(arguments)
        return
    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU is visible to PyTorch; --device cpu --quick tries the check list on the CPU")
    here, start = machine(arguments.device), time.monotonic()
    print(f"{here['card']}, torch {here['versions']['torch']}, transformers {here['versions']['transformers']}")
    print("| part | status | numbers | ratio to the peer | seconds |\n|---|---|---|---|---|")
    found = here | {"command": ["python", "-m", "benchmarks.gpu", *(given or sys.argv[1:])], "rows": rows(arguments)}
    found["seconds"] = round(time.monotonic() - start, 1)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if any(row["status"] == "failed" for row in found["rows"]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
