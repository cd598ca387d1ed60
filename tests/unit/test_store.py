"""The run's folder: atomic, fingerprinted, never computed twice, nothing lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfboost import store
from selfboost.records import Answer, Message, Origin, Prompt, Verdict, content_hash, user_prompt

ROWS = [Verdict(answer=f"a-{i}", scorer="s", value=i / 3) for i in range(5)]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def finished(root: Path, name: str = "iteration-1/scores", **parts: object) -> store.StageCard:
    stage = store.Stage(root, name, "score", parts or {"a": 1})
    stage.append(ROWS)
    return stage.finish(rows=5, tokens=7, seconds=0.5, result=store.ROWS, notes={"failed": 0})


def test_a_finished_stage_is_found_by_its_fingerprint_alone(tmp_path: Path) -> None:
    card = finished(tmp_path)
    assert store.Stage(tmp_path, "iteration-1/scores", "score", {"a": 1}).card() == card
    assert store.Stage(tmp_path, "iteration-1/scores", "score", {"a": 2}).card() is None
    assert store.read_rows(tmp_path, card, Verdict) == ROWS
    assert (tmp_path / card.file).exists()


def test_a_changed_stage_says_what_changed_and_the_old_result_comes_back(tmp_path: Path) -> None:
    first = finished(tmp_path, sampling={"temperature": 0.7, "top_p": 1.0})
    other = store.Stage(tmp_path, "iteration-1/scores", "score", {"sampling": {"temperature": 0.9, "top_p": 1.0}})
    assert other.card() is None
    assert other.replaced() == ["sampling.temperature"]
    other.append(ROWS[:2])
    second = other.finish(rows=2, tokens=0, seconds=0, result=store.ROWS, notes={})
    assert store.read_rows(tmp_path, second, Verdict) == ROWS[:2]
    again = store.Stage(tmp_path, "iteration-1/scores", "score", {"sampling": {"temperature": 0.7, "top_p": 1.0}})
    assert again.card() == first
    assert store.read_rows(tmp_path, first, Verdict) == ROWS
    assert store.cards(tmp_path) == [first]


def test_a_torn_line_is_cut_and_the_whole_ones_stay(tmp_path: Path) -> None:
    stage = store.Stage(tmp_path, "iteration-1/scores", "score", {"a": 1})
    stage.append(ROWS[:3])
    path = stage.begin() / store.ROWS
    path.write_bytes(path.read_bytes() + b'{"answer": "a-3", "sco')
    again = store.Stage(tmp_path, "iteration-1/scores", "score", {"a": 1})
    assert again.rows_so_far(Verdict) == ROWS[:3]
    again.append(ROWS[3:])
    assert again.rows_so_far(Verdict) == ROWS


def test_a_kill_between_card_and_rename_leaves_a_finished_stage(tmp_path: Path) -> None:
    card = finished(tmp_path)
    stage = store.Stage(tmp_path, "iteration-1/scores", "score", {"a": 1})
    stage.folder.rename(stage.partial)
    assert stage.card() == card


@pytest.mark.parametrize("damage", ["change", "shorten", "remove"])
def test_damage_is_one_sentence_with_a_way_on(tmp_path: Path, damage: str) -> None:
    card = finished(tmp_path)
    path = tmp_path / card.file
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data[:-5] if damage == "shorten" else data.replace(b"a-1", b"a-9"))
    with pytest.raises(ValueError, match=r"records.jsonl: (is missing|is not what the stage wrote).*move .* away"):
        store.read_rows(tmp_path, card, Verdict)


def test_a_damaged_card_is_named(tmp_path: Path) -> None:
    card = finished(tmp_path)
    path = tmp_path / store.STAGES / card.name / store.CARD
    path.write_text("{")
    with pytest.raises(ValueError, match=r"stage.json: is damaged"):
        store.cards(tmp_path)
    path.write_text(json.dumps({"name": 3}))
    with pytest.raises(ValueError, match=r"stage.json: is damaged \(\d+ wrong fields\)"):
        store.cards(tmp_path)


def test_one_writer_at_a_time_and_a_dead_one_is_no_obstacle(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from selfboost import store\n"
        "with store.lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=rf"another run is writing this folder \(process {other.pid} on "):
        store.lock(tmp_path).__enter__()
    other.kill()
    other.wait()
    with store.lock(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / "lock").read_text()


@given(st.lists(st.tuples(TEXT, TEXT), max_size=4), st.lists(st.integers(0, 2**40), max_size=6), TEXT)
def test_records_survive_a_file_exactly(turns: list[tuple[str, str]], ids: list[int], text: str) -> None:
    prompt = Prompt(messages=tuple(Message(role=r, content=c) for r, c in turns), origin=Origin(source="seed"))
    logps = tuple(-i / 7 for i in range(len(ids)))
    answer = Answer(prompt=prompt, text=text, prompt_ids=(), token_ids=tuple(ids), logps=logps)
    line = store.to_line(answer)
    assert line.count(b"\n") == 1
    assert list(store._parse([line], Answer, Path("x"))) == [answer]


def test_ids_depend_on_content_alone() -> None:
    first = user_prompt("say hello", Origin(source="seed"))
    assert first.id == user_prompt("say hello", Origin(source="prompts", iteration=3)).id
    assert first.id != user_prompt("say hello ", Origin(source="seed")).id
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})


def test_a_new_file_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    store.write_json(path, {"a": 1})
    store.write_json(path, {"a": 2})
    assert store.read_json(path) == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    path = tmp_path / "not-a-folder"
    path.write_text("")
    with pytest.raises(ValueError, match="is a file; a run needs a folder"):
        store.lock(path).__enter__()
