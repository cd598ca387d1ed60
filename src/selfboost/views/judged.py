"""Win rates of judged generators, as a table and for programs."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

from selfboost.benchmarks.parts.judgments import WinRate, read_judgments, win_rates
from selfboost.views.streams import console
from selfboost.views.visible import visible


def as_json(found: Mapping[str, WinRate]) -> dict[str, Any]:
    """Generator → win_rate, standard_error, discrete_win_rate (in percent), n and what else is known."""
    return {name: asdict(rate) for name, rate in found.items()}


def print_judged(found: Mapping[str, WinRate]) -> None:
    """The win rates, best first; where judgments are missing, the bounds that they leave."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("generator", "win rate %", "standard error", "discrete %", "judged", "if missing"):
        table.add_column(heading, justify="left" if heading == "generator" else "right", overflow="fold")
    for name, rate in found.items():
        figures = [f"{value:.2f}" for value in (rate.win_rate, rate.standard_error, rate.discrete_win_rate)]
        bounds = f"[{rate.low:.2f}, {rate.high:.2f}]" if rate.missing else ""
        table.add_row(visible(name), *figures, str(rate.n), bounds)
    out = console()
    out.print(table)
    if any(rate.missing for rate in found.values()):
        out.print("if missing: the win rate if all missing judgments were losses, and if all were wins.")


def count_and_print(arguments: Namespace) -> None:
    """Count the judgments that a command line names.

    Raises:
        ValueError: it also asks for what takes a model, or they are none of alpaca_eval's.
    """
    if arguments.benchmark != "alpaca_eval":
        raise ValueError(f"--judgments: only those of alpaca_eval can be counted, not of {arguments.benchmark!r}")
    for option in ("model", "tasks", "seed", "against", "recipe", "set", "into", "to"):
        if getattr(arguments, option):
            name = "MODEL" if option == "model" else f"--{option}"
            raise ValueError(f"--judgments counts what was judged already; leave out {name}")
    found = win_rates(read_judgments(arguments.judgments))
    if arguments.json:
        print(json.dumps(as_json(found), indent=1))
    else:
        print_judged(found)
