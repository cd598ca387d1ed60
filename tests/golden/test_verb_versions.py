"""What each verb gives for a tiny run of the embedded model, pinned: results that change need a new number.

A verb's number in `run.VERSIONS` is part of every fingerprint. Where a verb's results change and its number stays, old
results would be taken for new ones; this test fails first. Token ids must be the same; real numbers may differ by the
rounding of another processor.
"""

import json
import math
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from selfboost import recipe, store
from selfboost.loop import boost
from selfboost.records import Answer, Rated, Verdict
from selfboost.run import VERSIONS
from selfboost.stages import Silent

PINNED = Path(__file__).parent / "verbs.json"
TINY = [
    "run.iterations=1",
    "run.drift.prompts=0",
    "seed.limit=6",
    "seed.validation='validation.jsonl'",
    "seed.held_out='held_out.jsonl'",
    "method={kind='spin', sampling={max_tokens=8}, distributions={pairs=0, prompts=0}}",
    "training.epochs=2",
    "training.batch_size=3",
    "seed_models.sft={learning_rate=1e-3, batch_size=3, epochs=2}",
    "benchmark.samples=1",
    "benchmark.max_tokens=8",
]
"""Changes to the recipe `demo-spin`."""
CLOSE = 2e-3
"""Relative difference of real numbers that another processor may make."""


def few(folder: Path) -> Path:
    """The recipe `demo-spin` beside few prompts to measure on."""
    path = folder / "recipe.toml"
    path.write_text(recipe.shipped()["demo-spin"].read_text())
    for split, count in (("validation", 2), ("held_out", 3)):
        lines = (Path(recipe.__file__).parent / "demo" / "assets" / f"{split}.jsonl").read_text().splitlines()
        (folder / f"{split}.jsonl").write_text("\n".join(lines[:count]) + "\n")
    return path


def outputs(folder: Path) -> dict[str, Any]:
    """Verb → what it gave, small enough to be read."""
    boost(recipe.read(few(folder), TINY), folder / "run", Silent())
    found: dict[str, Any] = {verb: {} for verb in VERSIONS}
    for card in store.cards(folder / "run"):
        found[card.verb][card.name] = _output(folder / "run", card)
    return found


def _output(root: Path, card: store.StageCard) -> Any:
    if card.verb == "sample":
        answers = store.read_rows(root, card, Answer)
        return [[list(answer.token_ids), round(sum(answer.logps), 4)] for answer in answers[:3]]
    if card.verb == "score":
        return [v.value if v.value is None else round(v.value, 4) for v in store.read_rows(root, card, Verdict)]
    if card.verb == "measure":
        return [{name: list(v) for name, v in rated.values.items()} for rated in store.read_rows(root, card, Rated)]
    return [round(row["loss"], 5) for row in card.notes["history"]]


def numbers(value: Any) -> list[Any]:
    """All leaves, in order."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in [key, *numbers(value[key])]]
    return [leaf for item in value for leaf in numbers(item)] if isinstance(value, list) else [value]


def alike(new: list[Any], old: list[Any]) -> bool:
    """Whether real numbers are close and all else is equal."""
    if len(new) != len(old):
        return False
    pairs = zip(new, old, strict=True)
    return all(math.isclose(a, b, rel_tol=CLOSE) if isinstance(a, float) else a == b for a, b in pairs)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return outputs(tmp_path_factory.mktemp("verbs"))


@pytest.mark.parametrize("verb", VERSIONS)
def test_results_that_changed_have_a_new_number(verb: str, found: dict[str, Any]) -> None:
    pinned = json.loads(PINNED.read_text())
    assert found[verb], f"the tiny run must use {verb}"
    number = VERSIONS[verb]
    same = alike(numbers(found[verb]), numbers(pinned[verb]["output"]))
    assert same, f"the results of {verb} changed: raise run.VERSIONS[{verb!r}] above {number}, then run this file"
    assert number == pinned[verb]["version"], "run.VERSIONS was raised: run this file to pin the new results"


if __name__ == "__main__":  # pins the results anew
    with TemporaryDirectory() as place:
        told = outputs(Path(place))
    pinned_before = json.loads(PINNED.read_text()) if PINNED.exists() else {}
    for each, output in told.items():
        before = pinned_before.get(each, {"version": 0, "output": None})
        if before["output"] != output and before["version"] == VERSIONS[each]:
            sys.exit(f"raise run.VERSIONS[{each!r}] above {VERSIONS[each]} first: its results changed")
    new = {each: {"version": VERSIONS[each], "output": output} for each, output in told.items()}
    PINNED.write_text(json.dumps(new, indent=1) + "\n")
