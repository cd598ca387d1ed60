"""Preference data of others: both forms, every wrong row named, measured prompts kept out of the training."""

import json
from pathlib import Path
from typing import Any

import pytest

from fake_recipes import PROMPTS, run, summary, write_recipe
from selfboost import recipe, store
from selfboost.data.preferences import read_preferences
from selfboost.records import Message, Pair


def written(folder: Path, *rows: Any) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def test_texts_and_conversations_read_the_same(tmp_path: Path) -> None:
    plain = {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "score": 3}
    long = {"prompt": "x", "chosen": turns("Why?", "So."), "rejected": turns("Why?", "No.")}
    split = {"instruction": "Why?", "input": "", "chosen": "So.", "rejected": "No.", "output": "x"}
    path = written(tmp_path, plain, long, split)
    (first, second, third), wrong, notes = read_preferences(path)
    assert wrong == 0
    assert notes == [f"{path}: left out: 'output' in 1 of 3 rows, 'prompt' in 1 of 3 rows, 'score' in 1 of 3 rows"]
    assert first == second == third
    assert first.messages == (Message(role="user", content="Why?"),)
    assert (first.chosen, first.rejected) == ("So.", "No.")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"prompt": "Why?", "chosen": "So."}, r"line 1: rejected is missing; the columns are prompt, chosen; allowed:"),
        ({"chosen": "So.", "rejected": "No."}, r"line 1: prompt is missing"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": 3}, r"line 1: rejected is int, must be text"),
        ({"prompt": "Why?", "chosen": " ", "rejected": "No."}, r"line 1: chosen is empty"),
        ({"chosen": turns("Why?", "So."), "rejected": turns("How?", "No.")}, r"answer different conversations"),
        ({"chosen": turns("Why?"), "rejected": turns("Why?", "No.")}, r"line 1 chosen: the last message must be"),
        ({"chosen": 3, "rejected": 4}, r"line 1 chosen: messages must be a list"),
    ],
)
def test_wrong_rows_are_named(row: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_preferences(written(tmp_path, row))


def test_an_empty_or_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="contains no preferences"):
        read_preferences(written(tmp_path))
    with pytest.raises(ValueError, match="no such file"):
        read_preferences(tmp_path / "absent.jsonl")


def test_what_is_no_pair_or_measured_is_left_out_and_counted(tmp_path: Path) -> None:
    good = [{"prompt": f"Ask {i}?", "chosen": "Yes it is.", "rejected": "No."} for i in range(4)]
    bad = [{"prompt": "Same?", "chosen": "One.", "rejected": "One."}]
    measured = [{"prompt": prompt, "chosen": "Yes.", "rejected": "No."} for prompt in PROMPTS]
    path = written(tmp_path, *good, *bad, *measured)
    root = tmp_path / "run"
    run(write_recipe(tmp_path, "manual_data", method={"data": str(path)}), root)
    counts = summary(root)["iterations"][1]["notes"]["pairs"]["counts"]
    assert counts["equals a held_out prompt"] == counts["equals a validation prompt"] == 4
    assert counts["kept"] == 4 + 10, "a prompt of the seed itself may be trained on"
    assert counts["chosen equals rejected"] == 1
    card = store.read_card(root / "stages" / "iteration-1" / "policy")
    assert card is not None
    assert len(store.read_rows(root, card, Pair)) == 14
    run(tmp_path / "recipe.toml", root, "method.pairs=5")
    assert summary(root)["iterations"][1]["pairs"] == 5


def test_missing_data_is_found_out_before_any_work(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "manual_data", method={"data": ""})
    read = recipe.read(path)
    with pytest.raises(ValueError, match=r"method.data: is missing; name a file, folder or hub data set"):
        read.method.check(read, [])
