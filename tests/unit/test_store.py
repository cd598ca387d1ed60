"""The run's folder: atomic, fingerprinted, never computed twice, nothing lost."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfboost import store
from selfboost.disk.record_files import parse_line, to_line
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
    assert list(again.rows_so_far(Verdict)) == ROWS[:3]
    again.append(ROWS[3:])
    assert list(again.rows_so_far(Verdict)) == ROWS


def test_a_kill_between_card_and_rename_leaves_a_finished_stage(tmp_path: Path) -> None:
    card = finished(tmp_path)
    stage = store.Stage(tmp_path, "iteration-1/scores", "score", {"a": 1})
    stage.folder.rename(stage.partial)
    assert stage.card() == card


@pytest.mark.parametrize("damage", ["change", "shorten", "remove", "pipe"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, damage: str) -> None:
    card = finished(tmp_path)
    damaged(tmp_path / card.file, damage)
    with pytest.raises(ValueError, match=r"records.jsonl: (is missing|is not (what the stage wrote|a plain file))"):
        store.read_rows(tmp_path, card, Verdict)


def damaged(path: Path, damage: str) -> None:
    """Change a stage's file."""
    data = path.read_bytes()
    path.unlink()
    if damage == "pipe":
        os.mkfifo(path)
    elif damage != "remove":
        path.write_bytes(data[:-5] if damage == "shorten" else data.replace(b"a-1", b"a-9"))


def test_a_damaged_card_is_named(tmp_path: Path) -> None:
    card = finished(tmp_path)
    path = tmp_path / store.STAGES / card.name / store.CARD
    path.write_text("{")
    with pytest.raises(ValueError, match=r"stage.json: is damaged"):
        store.cards(tmp_path)
    path.write_text(json.dumps({"name": 3}))
    with pytest.raises(ValueError, match=r"stage.json: is damaged \(\d+ wrong fields\); rerun the recipe into"):
        store.cards(tmp_path)
    path.write_text(json.dumps({**asdict(card), "rows": 4}))
    with pytest.raises(ValueError, match=r"stage.json: is damaged \(it does not have the hash"):
        store.cards(tmp_path)
    path.write_text(json.dumps({**asdict(card), "rows": 4, "seal": ""}))
    with pytest.raises(ValueError, match=r"records.jsonl: holds 5 records, not 4"):
        store.read_rows(tmp_path, store.cards(tmp_path)[0], Verdict)


BREAKS = ["change", "shorten", "remove", "pipe", "card", "no card", "other card", "wrong rows"]


def broken(folder: Path, damage: str) -> None:
    """Break a finished stage."""
    card = folder / store.CARD
    if damage == "card":
        card.write_bytes(card.read_bytes()[:-20])
    elif damage == "no card":
        card.unlink()
    elif damage == "other card":
        card.write_text(card.read_text().replace('"score"', '"measure"'))
    elif damage == "wrong rows":  # in a card of version 0.1.0, which has no hash of itself
        card.write_text(json.dumps({**json.loads(card.read_text()), "rows": 10, "seal": ""}))
    else:
        damaged(folder / store.ROWS, damage)


@pytest.mark.parametrize("damage", BREAKS)
def test_a_broken_stage_is_named_and_kept_beside_and_counts_as_missing(tmp_path: Path, damage: str) -> None:
    for number in (1, 2):
        folder = tmp_path / store.STAGES / finished(tmp_path).name
        broken(folder, damage)
        left = {path.name: path.stat().st_ino for path in folder.iterdir()}
        stage = store.Stage(tmp_path, "iteration-1/scores", "score", {"a": 1})
        assert stage.card() is None
        (said,) = stage.broken
        aside = folder.with_name(f"scores.broken-{number}")
        assert said.startswith(str(folder))
        assert said.endswith(f"; kept as {aside}, and iteration-1/scores is made again")
        assert {path.name: path.stat().st_ino for path in aside.iterdir()} == left
        assert store.cards(tmp_path) == []
    whole = finished(tmp_path)
    assert store.cards(tmp_path) == [whole]


def test_a_card_never_says_more_rows_than_there_are(tmp_path: Path) -> None:
    stage = store.Stage(tmp_path, "iteration-1/scores", "score", {"a": 1})
    stage.append(ROWS)
    with pytest.raises(ValueError, match=r"records.jsonl: holds 5 records, not 10"):
        stage.finish(rows=10, tokens=0, seconds=-1, result=store.ROWS, notes={})
    assert store.cards(tmp_path) == []
    assert stage.finish(rows=5, tokens=0, seconds=-1, result=store.ROWS, notes={}).seconds == 0


def test_a_broken_result_in_the_place_of_another_recipes_is_set_aside_too(tmp_path: Path) -> None:
    first = finished(tmp_path, a=1)
    second = finished(tmp_path, a=2)
    (kept,) = (tmp_path / store.SUPERSEDED).iterdir()
    broken(kept, "change")
    stage = store.Stage(tmp_path, first.name, "score", {"a": 1})
    assert stage.card() is None
    assert stage.broken[0].startswith(str(kept))
    assert store.cards(tmp_path) == [second]
    assert kept.with_name(f"{kept.name}.broken-1").is_dir()


@given(st.lists(st.tuples(TEXT, TEXT), max_size=4), st.lists(st.integers(0, 2**40), max_size=6), TEXT)
def test_records_survive_a_file_exactly(turns: list[tuple[str, str]], ids: list[int], text: str) -> None:
    prompt = Prompt(messages=tuple(Message(role=r, content=c) for r, c in turns), origin=Origin(source="seed"))
    logps = tuple(-i / 7 for i in range(len(ids)))
    answer = Answer(prompt=prompt, text=text, prompt_ids=(), token_ids=tuple(ids), logps=logps)
    line = to_line(answer)
    assert line.count(b"\n") == 1
    assert parse_line(line, Answer, Path("x"), 1) == answer


def test_ids_depend_on_content_alone() -> None:
    first = user_prompt("say hello", Origin(source="seed"))
    assert first.id == user_prompt("say hello", Origin(source="prompts", iteration=3)).id
    assert first.id != user_prompt("say hello ", Origin(source="seed")).id
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})


def extended(root: Path, earlier: store.StageCard, own: list[Verdict], name: str) -> store.StageCard:
    """A stage whose first records are another's."""
    before = store.Earlier(name=earlier.name, fingerprint=earlier.fingerprint, rows=earlier.own_rows)
    stage = store.Stage(root, name, "prefer", {"of": name})
    stage.append(own)
    rows = earlier.rows + len(own)
    kept = (*earlier.earlier, before)
    return stage.finish(rows=rows, tokens=0, seconds=0, result=store.ROWS, notes={}, earlier=kept)


def test_records_of_earlier_stages_are_read_with_a_stage_s_own(tmp_path: Path) -> None:
    more = [Verdict(answer=f"b-{i}", scorer="s", value=i) for i in range(3)]
    first = finished(tmp_path)
    second = extended(tmp_path, first, more[:2], "iteration-2/policy")
    third = extended(tmp_path, second, more[2:], "iteration-3/policy")
    assert [card.rows for card in (first, second, third)] == [5, 7, 8]
    assert (tmp_path / third.file).read_bytes().count(b"\n") == 1
    for card, wanted in ((second, ROWS + more[:2]), (third, ROWS + more)):
        assert store.read_rows(tmp_path, card, Verdict) == list(store.stored_rows(tmp_path, card, Verdict)) == wanted
    assert store.Stage(tmp_path, third.name, "prefer", {"of": third.name}).card() == third


def test_a_stage_is_known_by_the_same_whether_or_not_its_first_records_are_stored_elsewhere(tmp_path: Path) -> None:
    more = [Verdict(answer="b", scorer="s", value=1)]
    split = extended(tmp_path / "split", finished(tmp_path / "split"), more, "iteration-2/policy")
    stage = store.Stage(tmp_path / "whole", "iteration-2/policy", "prefer", {"of": "iteration-2/policy"})
    stage.append(ROWS + more)
    whole = stage.finish(rows=6, tokens=0, seconds=0, result=store.ROWS, notes={})
    assert split.known_by == whole.known_by


def test_records_of_an_earlier_stage_are_found_where_another_recipe_has_set_it_aside(tmp_path: Path) -> None:
    first = finished(tmp_path)
    second = extended(tmp_path, first, ROWS[:1], "iteration-2/policy")
    other = store.Stage(tmp_path, first.name, "score", {"a": 2})
    other.append(ROWS[:2])
    other.finish(rows=2, tokens=0, seconds=0, result=store.ROWS, notes={})
    assert store.read_rows(tmp_path, second, Verdict) == ROWS + ROWS[:1]
    shutil.rmtree(tmp_path / store.SUPERSEDED)
    with pytest.raises(ValueError, match="scores: is missing or another stage's, but iteration-2/policy needs its"):
        store.read_rows(tmp_path, second, Verdict)
