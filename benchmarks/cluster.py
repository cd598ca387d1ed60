"""What Ray costs and gains: seconds of a stage on the stand-in engine, in this process and on one, two or more workers.

`python -m benchmarks.cluster [--answers 2000] [--seconds 0.01] [--replicas 1 2]`: an answer takes `--seconds` of
waiting, so workers do not compete for the processor. Printed are the seconds until all workers were there, those of
an empty stage (eight answers, no waiting), those of the stage, and their ratio to one worker. The records are
compared.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from selfboost import read_recipe
from selfboost.engines.fake import Fake
from selfboost.recipe import find
from selfboost.records import Origin, Prompt, Sampling, user_prompt
from selfboost.run import Run
from selfboost.stages import Silent

STAND_INS = ["model.path=fake", "engine.kind=fake", "trainer.kind=fake"]
SHORT = Sampling(max_tokens=60)


def measured(root: Path, settings: Sequence[str], prompts: Sequence[Prompt], seconds: float) -> tuple[list[float], str]:
    """Seconds of the start, of an empty stage and of a stage, and the hash of its records."""
    root.mkdir()
    recipe = read_recipe(find("smoke"), [*STAND_INS, *settings])
    run = Run(replace(recipe, engine=Fake(seconds_per_answer=seconds)), root, Silent())
    clock = [time.monotonic()]
    with run.cluster:
        clock.append(time.monotonic())
        run.engine = Fake()
        run.sample("prepare/empty", run.initial, prompts[:8], SHORT)
        clock.append(time.monotonic())
        run.engine = Fake(seconds_per_answer=seconds)
        run.sample("prepare/stage", run.initial, prompts, SHORT)
        clock.append(time.monotonic())
    records = (root / "stages" / "prepare" / "stage" / "records.jsonl").read_bytes()
    return [after - before for before, after in pairwise(clock)], sha256(records).hexdigest()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=0.01)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2])
    chosen = parser.parse_args()
    rows = {"this process": list[str]()}
    rows |= {f"ray, {n} workers": ["cluster.kind=ray", f"cluster.replicas={n}"] for n in chosen.replicas}
    print(f"{chosen.answers:,} answers of {chosen.seconds} s")
    print_rows(rows, chosen.answers, chosen.seconds)


def print_rows(rows: Mapping[str, Sequence[str]], answers: int, seconds: float) -> None:
    """Measure and print each row, and whether all records are equal."""
    prompts = [user_prompt(f"What of thing {i}?", Origin(source="seed")) for i in range(answers)]
    found, hashes = list[float](), set[str]()
    with tempfile.TemporaryDirectory() as folder:
        for at, (name, settings) in enumerate(rows.items()):
            (start, empty, stage), digest = measured(Path(folder) / str(at), settings, prompts, seconds)
            hashes.add(digest)
            found.append(stage)
            times = f"{found[0] / stage:.2f} times as fast as here"
            print(f"{name:>16}: start {start:5.1f} s, empty stage {empty:4.2f} s, stage {stage:5.1f} s: {times}")
    print(f"records are {'equal' if len(hashes) == 1 else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
