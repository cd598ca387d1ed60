"""A new user's first hour, unattended: `init → check → try → run` by defaults alone, on small real models and seeds.

`python -m benchmarks.first_hour --into DIR [--pairs '*spin'] [--budget 10] [--json FILE]` prints a row for each model,
seed and method: refused with which sentence, or better or not. A model of a million weights cannot learn to follow
instructions, but its log-probability of gold answers can move: `selfboost measure` takes it outside the run, per token,
on rows set aside before `init`, as a paired difference from the initial model with its 95 % interval.
The data are those of the tests (`SELFBOOST_DATA`); a seed is cut to `ROWS` rows of
prompt and response, as a small seed would be.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("SELFBOOST_DATA", ROOT.parent / "shared" / "data"))
ROWS, ASIDE = 300, 100
"""Rows that `init` is given, and rows that only the measurement sees (a fourth of a seed that has fewer)."""
MODELS = {
    "stories260K": str(DATA / "model" / "stories260K-hf"),
    "bit1M": str(DATA / "model" / "tinystories-bit1M-hf"),
    "embedded": "embedded",
}
SEEDS = {
    "alpaca": "alpaca_en_demo_999.jsonl.gz",
    "roleplay": "gpteacher_roleplay_gpt4.jsonl.gz",
    "instruction": "raschka_instruction_1100.jsonl.gz",
    "self-instruct": "self_instruct_seed_175.jsonl",
    "t0": "t0_short_sft.jsonl.gz",
}
PAIRS = (
    "stories260K/instruction/dnpo",
    "stories260K/t0/spin",
    "stories260K/alpaca/synpo",
    "stories260K/self-instruct/sampling_ranking",
    "bit1M/instruction/spin",
    "bit1M/roleplay/synpo",
    "bit1M/t0/dnpo",
    "embedded/embedded/synpo",
    "embedded/embedded/spin",
    "embedded/alpaca/dnpo",
)
"""Model, seed and method."""
PART = re.compile(r"([\d.]+) (h|min|s)\b")
DURATION = re.compile(r"[\d.]+ (?:s\b|min [\d.]+ s|h [\d.]+ min)")
MINUTES = {"h": 60.0, "min": 1.0, "s": 1 / 60}
COMMANDS = ("init", "check", "try", "run")


@dataclass(frozen=True)
class Found:
    """What came of one pair."""

    pair: str
    outcome: str = ""
    """`better`, `worse` or `unclear` by the interval; `kept` where nothing was promoted; `refused` or `failed`."""
    sentence: str = ""
    """The last sentence of the command that ended it."""
    difference: tuple[float, float, float] | None = None
    """Nats per token over the initial model: mean, low, high."""
    rows: int = 0
    """Rows that the difference is over."""
    promoted: str = ""
    """Promoted candidates of all."""
    steps: int = 0
    """Optimiser steps of the policy's trainings."""
    said: float | None = None
    """Minutes that the run takes by `check`, which measures this machine; None if it did not say."""
    minutes: float = 0.0
    """Minutes that the run took."""


def rows_of(seed: str) -> Iterator[Mapping[str, str]]:
    """A seed's rows, with prompt and response, each prompt once."""
    if seed == "embedded":
        from selfboost.demo import EMBEDDED_FILES

        path = EMBEDDED_FILES / "seed.jsonl"
    else:
        path = DATA / "seed" / SEEDS[seed]
    seen = set[str]()
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            row |= row["instances"][0] if "instances" in row else {}
            question = row.get("prompt") or "\n\n".join(filter(None, [row["instruction"], row["input"]]))
            answer = row.get("response") or row.get("output") or row.get("completion") or ""
            if answer.strip() and question not in seen:
                seen.add(question)
                yield {"prompt": question, "response": answer}


def write_rows(seed: str, folder: Path) -> tuple[Path, Path]:
    """The file for `init`, and the one for the measurement."""
    rows = list(islice(rows_of(seed), ROWS + ASIDE))
    aside = min(ASIDE, len(rows) // 4)
    files = folder / "seed.jsonl", folder / "aside.jsonl"
    for file, some in zip(files, (rows[aside:], rows[:aside]), strict=True):
        file.write_text("".join(json.dumps(row) + "\n" for row in some))
    return files


def selfboost(folder: Path, name: str, *given: str, seconds: float) -> tuple[int, str, str]:
    """Exit code (-1 past the time), standard output and errors of one command, which are kept in the folder."""
    environment = os.environ | {"COLUMNS": "120", "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-W", "ignore", "-m", "selfboost", name, *given]
    paths = folder / f"{name}.out", folder / f"{name}.err"
    with paths[0].open("w") as out, paths[1].open("w") as errors:
        try:
            code = subprocess.run(command, stdout=out, stderr=errors, env=environment, timeout=seconds).returncode
        except subprocess.TimeoutExpired:
            code = -1
    return code, paths[0].read_text(errors="replace"), paths[1].read_text(errors="replace")


def last_sentence(text: str) -> str:
    """What a command said last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def said_time(text: str) -> float | None:
    """Minutes by the row of `check` that sums up the time: its first duration."""
    row = re.search(r"^all\b.*$", text, re.MULTILINE)
    found = DURATION.search(row[0]) if row else None
    return sum(MINUTES[unit] * float(amount) for amount, unit in PART.findall(found[0])) if found else None


def first_hour(pair: str, into: Path, budget: float) -> Found:
    """All commands of one pair, one after the other, until one ends it."""
    model, seed, method = pair.split("/")
    folder = into / pair.replace("/", "-")
    folder.mkdir(parents=True)
    rows, aside = write_rows(seed, folder)
    recipe, run = folder / "own" / "recipe.toml", folder / "run"
    given = {
        "init": [str(recipe.parent), "--model", MODELS[model], "--seed", str(rows), "--method", method],
        "run": [str(recipe), "--into", str(run)],
    }
    said: float | None = None
    minutes = 0.0
    for name in COMMANDS:
        start = time.monotonic()
        code, out, errors = selfboost(folder, name, *given.get(name, [str(recipe)]), seconds=budget * 60)
        minutes = (time.monotonic() - start) / 60
        said = said_time(out) if name == "check" else said
        if code:
            why = f"took more than {budget:g} minutes" if code < 0 else last_sentence(errors or out)
            outcome = "refused" if code == 2 and name != "run" else "failed"
            return Found(pair=pair, outcome=outcome, sentence=f"{name}: {why}", said=said, minutes=minutes)
    return measured(Found(pair=pair, said=said, minutes=minutes), folder, MODELS[model], aside)


def measured(found: Found, folder: Path, initial: str, aside: Path) -> Found:
    """With what the finished run did, and its policy against the initial model on the rows set aside."""
    run = folder / "run"
    _, shown, _ = selfboost(folder, "show", str(run), "--json", seconds=300)
    decisions = [entry for entry in json.loads(shown)["iterations"] if entry["iteration"] > 0]
    promoted = [entry["policy"] for entry in decisions if entry["decision"] == "promoted"]
    found = replace(found, promoted=f"{len(promoted)} of {len(decisions)}", steps=steps_of(run))
    if not promoted:
        return replace(found, outcome="kept", sentence=decisions[-1]["why"] if decisions else "")
    if initial == "embedded":
        from selfboost.demo import EMBEDDED_MODEL

        initial = str(EMBEDDED_MODEL)
    given = ["--benchmark", "benchmarks.gold_likelihood:GoldLikelihood", "--trust", "benchmarks", "--json"]
    code, out, errors = selfboost(
        folder, "measure", promoted[-1], *given, "--seed", str(aside), "--against", initial, seconds=600
    )
    if code:
        return replace(found, outcome="failed", sentence=f"measure: {last_sentence(errors)}")
    gold = json.loads(out)["gold"]
    low, high = gold["difference_low"], gold["difference_high"]
    outcome = "better" if low > 0 else "worse" if high < 0 else "unclear"
    return replace(found, outcome=outcome, difference=(gold["difference"], low, high), rows=gold["n"])


def steps_of(run: Path) -> int:
    """Optimiser steps of the policy's trainings."""
    cards = (json.loads(card.read_text()) for card in run.glob("stages/iteration-*/policy*/stage.json"))
    return sum(int(card["notes"].get("steps", 0)) for card in cards)


def line_of(found: Found) -> str:
    """A row of the table."""
    gain = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*found.difference) if found.difference else ""
    said = "" if found.said is None else f"{found.said:.1f}"
    cells = [found.pair, found.outcome, gain, found.rows or "", found.promoted, found.steps or "", said]
    return "| " + " | ".join(str(cell) for cell in [*cells, f"{found.minutes:.1f}", found.sentence]) + " |"


def verdict(rows: Sequence[Found]) -> str:
    """Whether half of the pairs improved, and how many were promoted worse or failed."""
    count = {kind: sum(row.outcome == kind for row in rows) for kind in ("better", "worse", "refused", "failed")}
    return (
        f"{count['better']} of {len(rows)} better with an interval above zero, {count['worse']} promoted worse, "
        f"{count['refused']} refused before any cost, {count['failed']} failed"
    )


def main() -> None:
    """Run the pairs, print the table; exit code 1 unless half of them improved and none was promoted worse."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--into", type=Path, required=True, help="a new folder for all runs")
    parser.add_argument("--pairs", nargs="+", default=["*"], help="patterns of model/seed/method")
    parser.add_argument("--budget", type=float, default=10.0, metavar="MINUTES", help="most minutes of one command")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here too")
    given = parser.parse_args()
    columns = "pair", "outcome", "nats per token over the initial model", "rows", "promoted", "steps", "said", "minutes"
    print(f"| {' | '.join(columns)} | |\n|{'---|' * (len(columns) + 1)}")
    rows: list[Found] = []
    for pair in (pair for pair in PAIRS if any(fnmatch(pair, pattern) for pattern in given.pairs)):
        rows.append(first_hour(pair, given.into.resolve(), given.budget))
        print(line_of(rows[-1]), flush=True)
        if given.json:
            given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(f"\n{verdict(rows)}")
    sys.exit(any(row.outcome == "worse" for row in rows) or 2 * sum(r.outcome == "better" for r in rows) < len(rows))


if __name__ == "__main__":
    main()
