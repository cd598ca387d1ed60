"""Recipes whose benchmark judges answers, with small files of questions where it brings its own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fake_recipes import write_recipe

CHECKS = {"kind": "checks", "function": "selfboost.engines.fake:is_good"}


def endpoint(url: str) -> dict[str, Any]:
    """A fake server, as a judge's settings."""
    return {"url": url, "model": "fake", "key_variable": "", "retries": 0}


def write_judged(folder: Path, kind: str, /, *, url: str, method: str = "seed_sft", **settings: Any) -> Path:
    """A recipe on fakes with this benchmark; `url`: the server of its judge."""
    makers = {
        "alpaca_eval": lambda: {
            "judge": {"endpoint": endpoint(url)}, "prompts": write_instructions(folder, 12), "limit": 12
        },
        "arena_hard": lambda: {
            "judge": {"endpoint": endpoint(url)}, "questions": write_battles(folder, 12),
            "answer_column": "old", "max_tokens": 90,
        },
        "mt_bench": lambda: {
            "judge": {"endpoint": endpoint(url)}, "questions": write_two_turns(folder, 8), "limit": 8, "max_tokens": 90,
        },
        "duel": lambda: {"max_tokens": 60, "scorer": CHECKS}, "held_out": lambda: {"scorer": CHECKS},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    benchmark = {"kind": kind, **makers[kind](), **settings}
    gate = {"rule": "always", "measure": "sampled" if kind == "held_out" else kind}
    path = write_recipe(folder, method, gate=gate)
    before, _, rest = path.read_text().partition("[benchmark]")
    lines = "".join(f"{key} = {inline(value)}\n" for key, value in benchmark.items())
    path.write_text(f"{before}[benchmark]\n{lines}\n[engine]{rest.partition('[engine]')[2]}")
    return path


def write_instructions(folder: Path, count: int) -> Path:
    """AlpacaEval's file of a baseline's outputs, in its published form."""
    rows = [
        {
            "instruction": f"Tell of thing {i}.",
            "output": f"Thing {i} is " + "so " * (i % 7) + "fine.",
            "generator": "base",
        }
        for i in range(count)
    ]
    (folder / "outputs.json").write_text(json.dumps(rows))
    return folder / "outputs.json"


def write_battles(folder: Path, count: int) -> Path:
    """Arena-Hard's questions, with a baseline's answers in the column `old`."""
    rows = [{"uid": f"u{i}", "prompt": f"Solve {i}.", "old": "# Old\n" * (i % 3) + f"answer {i}"} for i in range(count)]
    (folder / "battles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "battles.jsonl"


def write_two_turns(folder: Path, count: int) -> Path:
    """MT-Bench's questions, with reference answers where the category needs them."""
    categories = ("writing", "math", "stem", "coding")
    rows = [
        {
            "question_id": 81 + i,
            "category": categories[i % 4],
            "turns": [f"First {i}?", f"Second {i}?"],
            **({"reference": [f"one {i}", f"two {i}"]} if i % 2 else {}),
        }
        for i in range(count)
    ]
    (folder / "turns.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "turns.jsonl"


def inline(value: Any) -> str:
    """A value as TOML, tables on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {inline(item)}" for key, item in value.items()) + "}"
    return json.dumps(str(value) if isinstance(value, Path) else value)
