"""A whole iteration beside the script that a skilled user would write with transformers and TRL: wall, CPU, memory.

`python -m benchmarks.iteration --peer-python PYTHON_WITH_TRL [--only 15m/synpo] [--repeats 3] [--json FILE]`: one
iteration of SynPO (generator, prompts, improver, drafts, rewrites, initial answers, scores by a reward head, SimPO) and
one of DNPO (own answers, scores, labels, DPO; ours with trained noise, which TRL lacks), on the embedded model and on
the same function in a Llama of 15 million weights. Model, seeds, keyword lists, counts and hyper-parameters are the
same; each side is a process of its own, start and end included, and ours also writes its records and measures ten
prompts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from benchmarks.training_task import SHAPES
from benchmarks.widened import write_widened

from selfboost import recipe as recipes
from selfboost import store
from selfboost.demo import EMBEDDED_FILES, EMBEDDED_MODEL
from selfboost.losses import beta_of
from selfboost.records import Answer, Example

ROOT = Path(__file__).parents[1]
VOCABULARY = 16_000
"""Of the larger model, whose embeddings and head are apart: 15 million weights in all."""
MODELS = {"embedded": (1, "float32"), "15m": (2, "float32"), "15m-bfloat16": (2, "bfloat16")}
"""Name → threads of both sides (the small one is faster on one; ours then has a process for each core) and number type,
on both sides that of sampling and scoring; training is in it too, with float32 weights (masters)."""
LISTS, PAIRS, ROWS, MEASURED = 600, 300, 256, 10
MAX_TOKENS, PROMPT_TOKENS = 40, 80
SCHEDULE = 'schedule="linear"'
SHARED = (
    "run.iterations=1",
    "run.beside=[]",
    "run.drift={prompts=0}",
    "seed.limit=200",
    "benchmark.greedy=false",
    "benchmark.samples=1",
)
METHODS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "synpo": (
        "demo",
        (
            f"method.prompts={LISTS}",
            f"method.pairs={PAIRS}",
            "method.more_prompts=0",
            "method.filter.threshold=-1e9",
            f"method.generator.training={{learning_rate=3e-4, batch_size=8, epochs=3, {SCHEDULE}}}",
            f"method.improver.training={{learning_rate=3e-4, batch_size=8, epochs=3, {SCHEDULE}}}",
            f"training={{learning_rate=1e-3, batch_size=32, epochs=1, {SCHEDULE}}}",
        ),
    ),
    "dnpo": ("demo-dnpo", ("method.plain_iterations=0", "method.distributions={pairs=0, prompts=0}")),
}
"""Method → its recipe and what the benchmark changes of it."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one process took."""

    wall: float
    processor: float
    peak_mib: float
    steps: Mapping[str, float]
    """Step → seconds."""


class Family(threading.Thread):
    """Watches how much memory a process and its children hold together."""

    def __init__(self, parent: int) -> None:
        super().__init__(daemon=True)
        self.parent, self.peak_mib = parent, 0.0
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        """Look five times a second."""
        while not self._over.wait(0.2):
            self.peak_mib = max(self.peak_mib, sum(map(_resident_mib, [self.parent, *_children(self.parent)])))

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


def _children(parent: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()]
    except OSError:
        return []


def _resident_mib(process: int) -> float:
    """Memory of a process that is its own, and its share of what several hold; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def timed(command: Sequence[str], threads: int, log: Path) -> tuple[float, float, float, str]:
    """Seconds on the wall and of the processor, peak resident MiB, and what a process printed.

    Raises:
        SystemExit: it failed.
    """
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Compiled modules are kept, so that neither side compiles its libraries anew.
    own = {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": ""}
    begun = time.perf_counter()
    with log.open("w", encoding="utf-8") as errors:
        started = subprocess.Popen(
            command, env=os.environ | own, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        family = Family(started.pid)
        assert started.stdout is not None
        printed = started.stdout.read()
        family.stop()
        _, status, usage = os.wait4(started.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text(encoding='utf-8')[-3000:]}")
    peak = max(usage.ru_maxrss / 1024, family.peak_mib)
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, peak, printed


class Bench:
    """One model and method: files that both sides read, and their runs."""

    def __init__(self, folder: Path, model: str, method: str, peer_python: str) -> None:
        self.folder, self.method, self.peer_python = folder, method, peer_python
        self.threads, self.dtype = MODELS[model]
        self.recipe, changes = METHODS[method]
        folder.mkdir(parents=True)
        self._write_models(model)
        for split in ("validation", "held_out"):
            lines = (EMBEDDED_FILES / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()[:MEASURED]
            (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.settings = [
            *SHARED,
            *changes,
            f"run.threads={self.threads}",
            f"engine.dtype={self.dtype}",
            f"trainer.dtype={self.dtype}",
            f"model.path={folder / 'model'}",
            f"scorer={{kind='reward_model', path='{folder / 'reward'}'}}",
            *(f"seed.{split}={folder / f'{split}.jsonl'}" for split in ("validation", "held_out")),
        ]
        self.runs: dict[str, list[Run]] = {"ours": [], "peer": []}

    def _write_models(self, name: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

        if name == "embedded":
            AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL).save_pretrained(self.folder / "model")
        else:
            write_widened(self.folder / "model", SHAPES[name.removesuffix("-bfloat16")], VOCABULARY)
        tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_MODEL)
        torch.manual_seed(0)
        head = AutoModelForSequenceClassification.from_pretrained(self.folder / "model", num_labels=1)
        head.save_pretrained(self.folder / "reward")
        for part in ("model", "reward"):
            tokenizer.save_pretrained(self.folder / part)

    def ours(self) -> None:
        """Run this package's command; the first run also says what the peer is given."""
        into = self.folder / f"ours-{len(self.runs['ours'])}"
        command = [sys.executable, "-m", "selfboost", "run", self.recipe, "--into", str(into)]
        command += [part for setting in self.settings for part in ("--set", setting)]
        wall, processor, peak, _ = timed(command, self.threads, self.folder / "ours.log")
        cards = store.cards(into)
        self.runs["ours"].append(
            Run(wall=wall, processor=processor, peak_mib=peak, steps={card.name: card.seconds for card in cards})
        )
        if not (self.folder / "task.json").exists():
            (self.folder / "task.json").write_text(json.dumps(self._task(into)), encoding="utf-8")

    def peer(self) -> None:
        """Run the script."""
        command = [self.peer_python, "-m", "benchmarks.iteration_peer", self.method]
        command += ["--folder", str(self.folder), "--threads", str(self.threads)]
        wall, processor, peak, printed = timed(command, self.threads, self.folder / "peer.log")
        steps = {name: step["seconds"] for name, step in json.loads(printed).items()}
        self.runs["peer"].append(Run(wall=wall, processor=processor, peak_mib=peak, steps=steps))

    def _task(self, into: Path) -> dict[str, Any]:
        """What our run read and drew, for the script: seeds, generator's examples, keyword lists, hyper-parameters."""
        recipe = recipes.read(recipes.find(self.recipe), self.settings, print)
        lines = (EMBEDDED_FILES / "seed.jsonl").read_text(encoding="utf-8").splitlines()[: recipe.seed.limit]
        seeds = [json.loads(line) for line in lines]
        given: dict[str, Any] = {
            "seeds": [(seed["prompt"], seed["response"]) for seed in seeds],
            "pairs": PAIRS,
            "rows": ROWS,
            "max_tokens": MAX_TOKENS,
            "dtype": self.dtype,
            "training": {"policy": asdict(recipe.training)},
            "loss": {"kind": self.method.replace("synpo", "simpo"), "beta": beta_of(recipe.loss)},
        }
        if self.method == "synpo":
            method: Any = recipe.method
            given["loss"] |= {"gamma": recipe.loss.gamma, "nll_weight": recipe.loss.nll_weight}  # pyright: ignore
            given["training"] |= {part: asdict(getattr(method, part).training) for part in ("generator", "improver")}
            given["rewrite"], given["prompt_tokens"] = method.improver.template, PROMPT_TOKENS
            examples = _rows(into, "prepare/generator", Example)
            given["examples"] = [(example.prompt.text, example.answer.text) for example in examples]
            given["keyword_prompts"] = [row.prompt.text for row in _rows(into, "iteration-1/prompts", Answer)]
        return given


def _rows(into: Path, stage: str, kind: type) -> Sequence[Any]:
    card = store.read_card(into / store.STAGES / stage)
    assert card is not None, f"{stage} is finished"
    return list(store.read_rows(into, card, kind))


def table(name: str, bench: Bench) -> tuple[str, dict[str, float]]:
    """Medians and their ratios, and where the time goes on both sides."""
    sides = {
        side: {what: _median(runs, what) for what in ("wall", "processor", "peak_mib")}
        for side, runs in bench.runs.items()
    }
    ratios = {what: sides["peer"][what] / sides["ours"][what] for what in sides["ours"]}
    lines = [f"{name}, {bench.threads} thread(s)", f"{'':12}{'wall s':>9}{'CPU s':>9}{'peak MiB':>10}"]
    for side, found in sides.items():
        lines.append(f"{side:12}{found['wall']:9.1f}{found['processor']:9.1f}{found['peak_mib']:10.0f}")
    lines.append(f"{'ratio':12}{ratios['wall']:8.2f}x{ratios['processor']:8.2f}x{ratios['peak_mib']:9.2f}x")
    for side, runs in bench.runs.items():
        steps = {step: statistics.median(run.steps[step] for run in runs) for step in runs[0].steps}
        most = sorted(steps.items(), key=lambda step: -step[1])[:9]
        rest = sides[side]["wall"] - sum(steps.values())
        told = ", ".join(f"{step} {seconds:.1f}" for step, seconds in most if seconds >= 0.05)
        lines.append(f"{side}, seconds: {told}; outside of steps {rest:.1f}")
    return "\n".join(lines), ratios


def _median(runs: Sequence[Run], what: str) -> float:
    return statistics.median(getattr(run, what) for run in runs)


def main() -> None:
    """Measure in turn, print, and write the rows where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="a Python with torch, transformers and TRL")
    parser.add_argument("--only", default="*", help="pattern of the rows to measure: model/method")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side, in turn")
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    arguments = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in (f"{model}/{method}" for method in METHODS for model in MODELS):
            if not fnmatch(name, arguments.only):
                continue
            bench = Bench(Path(folder) / name, *name.split("/"), arguments.peer_python)
            for _ in range(arguments.repeats):
                bench.ours()
                bench.peer()
            told, ratios = table(name, bench)
            print(told, end="\n\n", flush=True)
            runs = {side: [asdict(run) for run in runs] for side, runs in bench.runs.items()}
            found.append({"name": name, "ratios": ratios, **runs})
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
