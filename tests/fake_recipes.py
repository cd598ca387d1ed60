"""Small runs on the fake engine, for tests of everything that is not a model: a recipe, a listener, what a run left."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfboost import recipe, store
from selfboost.disk.json_files import read_json
from selfboost.loop import boost

WORDS = tuple(
    """
    amber basin copper dragon ember falcon garden harbor island jungle kettle lantern meadow needle orchard pepper
    quarry ribbon saddle temple umbrella valley window yellow zipper anchor bridge candle desert engine
    """.split()  # noqa: SIM905  # a list of thirty words is no better to read
)
PROMPTS = [
    f"Compare the {WORDS[i]} with the {WORDS[i + 3]} and describe the {WORDS[i + 7]}, {WORDS[i + 11]} item {i}?"
    for i in range(18)
]
SETTINGS: dict[str, dict[str, Any]] = {
    "run": {"iterations": 2},
    "model": {"path": "fake"},
    "seed": {"path": "seed.jsonl", "validation": 4, "held_out": 4},
    "method": {"kind": "synpo"},
    "loss": {"kind": "simpo"},
    "scorer": {"kind": "implicit", "threshold": 0.0},
    "benchmark": {"kind": "held_out", "samples": 2},
    "benchmark.scorer": {"kind": "checks", "function": "selfboost.engines.fake:is_good"},
    "engine": {"kind": "fake"},
    "trainer": {"kind": "fake"},
    "gate": {"rule": "always"},
}
METHODS: dict[str, dict[str, Any]] = {
    "synpo": {"method": {"prompts": 24, "pairs": 6}},
    "sampling_ranking": {"method": {"prompts": 12, "pairs": 5, "samples": 3}, "method.sampling": {"max_tokens": 200}},
    "self_rewarding": {"method": {"prompts": 24, "pairs": 5, "samples": 3}, "method.sampling": {"max_tokens": 200}},
    "iterative_dpo": {
        "loss": {"kind": "dpo"},
        "method": {"pairs": 8, "samples": 3},
        "method.sampling": {"max_tokens": 200},
    },
    "delta_learning": {"loss": {"kind": "dpo"}},
    "cream": {
        "loss": {"kind": "consistency_dpo"},
        "method": {"pairs": 8, "samples": 3},
        "method.sampling": {"max_tokens": 200},
    },
    "temporal_self_rewarding": {
        "loss": {"kind": "dpo"},
        "method": {"pairs": 8, "samples": 2},
        "method.sampling": {"max_tokens": 200},
    },
    "self_distillation": {"method": {"shown": "gold"}, "method.sampling": {"max_tokens": 200}},
    "sgpo": {"loss": {"kind": "dpo"}, "method": {"pairs": 8}, "method.refining": {"max_tokens": 200}},
    "hint_delta": {
        "loss": {"kind": "dpo", "log_probability": "mean"},
        "method": {"least_characters": 10, "longest_ratio": 20.0},
        "method.sampling": {"max_tokens": 200},
    },
    "seed_po": {},
    "seed_sft_po": {},
    "manual_data": {"method": {"data": "manual.jsonl", "pairs": 100}},
    "spin": {
        "loss": {"kind": "dpo"},
        "scorer": {"policy": "previous"},
        "method.distributions": {"pairs": 0, "prompts": 0},
    },
    "dnpo": {"loss": {"kind": "noise_preference"}, "method.distributions": {"pairs": 6, "prompts": 4}},
    "seed_sft": {},
}
"""By method: what its recipe sets beside `SETTINGS`."""


def write_recipe(folder: Path, method: str = "synpo", /, **sections: dict[str, Any]) -> Path:
    """A recipe and its seed in a folder; `sections` change single settings, `__` stands for the dot."""
    seeds = [{"prompt": prompt, "response": f"It is gold {i}."} for i, prompt in enumerate(PROMPTS)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seed.jsonl").write_text("".join(json.dumps(seed) + "\n" for seed in seeds))
    pairs = [{"prompt": f"What of item {i}?", "chosen": f"Much {i}.", "rejected": f"Less {i}."} for i in range(7)]
    (folder / "manual.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    tables = {name: dict(table) for name, table in SETTINGS.items()}
    tables["method"]["kind"] = method
    more = {name.replace("__", "."): table for name, table in sections.items()}
    for changes in (METHODS[method], more):
        for name, table in changes.items():
            tables.setdefault(name, {}).update(table)
    path = folder / "recipe.toml"
    lines = [
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(v)}\n" for key, v in table.items())
        for name, table in tables.items()
    ]
    path.write_text("\n".join(lines))
    return path


@dataclass
class Heard:
    """A listener that remembers."""

    started_stages: list[str] = field(default_factory=list)
    reused_stages: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """Sentences, but those on drift."""
    alarms: list[str] = field(default_factory=list)

    def started(self, stage: str, verb: str, total: int) -> None:
        self.started_stages.append(stage)

    def progress(self, done: int, total: int, tokens: int) -> None: ...

    def finished(self, stage: str, card: store.StageCard, *, reused: bool) -> None:
        if reused:
            self.reused_stages.append(stage)

    def say(self, sentence: str) -> None:
        (self.alarms if re.match(r"iteration \d+, \w+: ", sentence) else self.said).append(sentence)


def run(path: Path, root: Path, *settings: str, trust: str | Sequence[str] = ()) -> Heard:
    """Run a recipe in a folder, importing the modules that `trust` names, and return what a listener heard."""
    heard = Heard()
    boost(recipe.read(path, settings, trust=trust), root, heard)
    return heard


def summary(root: Path) -> dict[str, Any]:
    """A run's summary without what differs from run to run: seconds and memory."""
    found = read_json(root / "run.json")
    return {key: value for key, value in found.items() if key not in ("seconds", "peak_memory_bytes")}


def results(root: Path) -> dict[str, Any]:
    """All that a run came to: the bytes of its stages' files, their cards but for the seconds, its summary."""
    found: dict[str, Any] = {"run.json": summary(root)}
    for path in sorted((root / "stages").rglob("*")):
        if path.is_file():
            name = str(path.relative_to(root))
            found[name] = path.read_bytes()
            if path.name == store.CARD:
                found[name] = {k: v for k, v in json.loads(found[name]).items() if k not in ("seconds", "seal")}
    return found
