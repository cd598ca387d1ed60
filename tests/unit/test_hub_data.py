"""Data sets by name: what a name is, and the library's own loading, tried on folders since no network is needed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfboost.data.hub_data import hub_rows, is_hub_name
from selfboost.data.seeds import Reading, Seed, gather_seeds, read_seeds

needs_library = pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="datasets is not installed")


def ultrafeedback(i: int, answer: str) -> dict[str, object]:
    """A row as HuggingFaceH4/ultrafeedback_binarized has them."""
    chosen = [{"content": f"prompt {i}", "role": "user"}, {"content": answer, "role": "assistant"}]
    rejected = [{"content": f"prompt {i}", "role": "user"}, {"content": "worse", "role": "assistant"}]
    scores = {"score_chosen": 8.5, "score_rejected": 8.0}
    row = {"prompt": f"prompt {i}", "prompt_id": str(i), "chosen": chosen, "rejected": rejected, "messages": chosen}
    return row | scores


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set with the splits train and test."""
    path = tmp_path / "data"
    path.mkdir()
    rows = [ultrafeedback(i, "" if i == 2 else f"answer {i}") for i in range(5)]
    (path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "test.jsonl").write_text(json.dumps(ultrafeedback(9, "answer 9")) + "\n")
    return path


@pytest.mark.parametrize(
    "text", ["owner/name", "owner/name:split", "HuggingFaceH4/ultrafeedback_binarized:train_sft", "o-1/n.a-m_e"]
)
def test_a_name_is_an_owner_and_a_name(text: str) -> None:
    assert is_hub_name(text)


PATHS = ("", "name", "embedded", "/owner/name", "./name", "../name", "~/name", "a/b/c", "owner/", "/name")
FILES = ("owner/name:", "owner/a name", "data/seed.jsonl", "data/seed.parquet", "data/seed.jsonl.gz", "data/words.txt")


@pytest.mark.parametrize("text", [*PATHS, *FILES])
def test_a_path_is_no_name(text: str) -> None:
    assert not is_hub_name(text)


def test_what_is_here_is_no_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent.parent)
    here = f"{folder.parent.name}/data"
    assert not is_hub_name(here)
    assert not is_hub_name(f"{here}:test")
    assert is_hub_name(f"{folder.parent.name}/absent")


@needs_library
def test_rows_are_streamed_in_order_with_their_place(folder: Path) -> None:
    rows = list(hub_rows(str(folder)))
    assert [where for where, _ in rows] == [f"{folder} row {i}" for i in range(1, 6)]
    assert rows[0][1] == ultrafeedback(0, "answer 0")
    assert [row["prompt"] for _, row in hub_rows(f"{folder}:test")] == ["prompt 9"]


@needs_library
def test_splits_that_are_not_read_are_named(folder: Path) -> None:
    notes: list[str] = []
    assert len(list(hub_rows(str(folder), notes))) == 5
    assert notes == [f"only the split 'train' is read, not test; name another as {folder}:SPLIT"]
    notes.clear()
    assert len(list(hub_rows(f"{folder}:test", notes))) == 1
    assert notes == []


@needs_library
def test_ultrafeedback_reads_as_conversations_and_a_row_without_an_answer_is_dropped(folder: Path) -> None:
    seeds, notes = gather_seeds(hub_rows(str(folder)), "o/n", Reading(need_response=True), drop_wrong=True)
    assert [(seed.messages[-1].content, seed.response) for seed in seeds] == [
        (f"prompt {i}", f"answer {i}") for i in (0, 1, 3, 4)
    ]
    assert all(isinstance(seed, Seed) and len(seed.messages) == 1 for seed in seeds)
    assert notes == [
        f"o/n: 1 row dropped: the answer is empty (first: {folder} row 3)",
        "o/n: left out: 'chosen' in 4 of 4 rows, 'prompt_id' in 4 of 4 rows, 'rejected' in 4 of 4 rows, "
        "'score_chosen' in 4 of 4 rows, 'score_rejected' in 4 of 4 rows",
    ]


def test_a_data_set_whose_first_row_is_wrong_is_refused() -> None:
    rows = [("o/n row 1", {"text": "a"}), ("o/n row 2", {"prompt": "a", "response": "b"})]
    with pytest.raises(ValueError, match="o/n row 1: no prompt is recognised among the columns text"):
        gather_seeds(rows, "o/n", Reading(need_response=True), drop_wrong=True)


@needs_library
def test_an_absent_split_and_a_damaged_row_are_named(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"data, split 'train_sft', is neither .* \['train', 'test'\]"):
        list(hub_rows(f"{folder}:train_sft"))
    (folder / "test.jsonl").unlink()
    (folder / "train.jsonl").write_text('{"prompt": "a"}\n{"prompt"\n')
    with pytest.raises(ValueError, match="data") as raised:
        list(hub_rows(str(folder)))
    assert "\n" not in str(raised.value)


@needs_library
def test_an_absent_data_set_offline_is_one_sentence() -> None:
    program = "from selfboost.data.seeds import read_seeds; read_seeds('nobody/nothing-here:train')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "ValueError: nobody/nothing-here, split 'train', is neither a local file or folder nor a data"
    )


def test_a_missing_library_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)  # what makes an import fail
    with pytest.raises(ValueError, match=r"pip install 'selfboost\[hub\]'"):
        read_seeds("nobody/nothing")


def test_a_missing_file_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"data/seed.jsonl: no such file or folder"):
        read_seeds("data/seed.jsonl")
