"""Large stages are compressed: found line by line, read as before, and known by what they hold."""

from __future__ import annotations

import gzip
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_recipes import write_recipe
from selfboost import boost, read_recipe, store
from selfboost.disk import compressed_lines
from selfboost.disk.compressed_lines import CompressedLines, compress, decompress
from selfboost.disk.record_files import StoredRows, hash_records
from selfboost.records import Verdict
from selfboost.stages import Silent

ROWS = [Verdict(answer=f"a-{i}", scorer="s" * (i % 50), value=i / 3) for i in range(300)]


@given(st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"\r") + b"\n"), max_size=30), st.randoms())
def test_any_line_is_found(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], chance: object) -> None:
    path = tmp_path_factory.mktemp("lines") / "x"
    path.write_bytes(b"".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compressed_lines, "MEMBER", 16)
        found = CompressedLines(compress(path))
        places = list(range(len(lines)))
        chance.shuffle(places)  # type: ignore[attr-defined]
        assert len(found) == len(lines)
        assert list(found.lines(places)) == [lines[place] for place in places]
        assert b"".join(found.blocks()) == path.read_bytes() == gzip.decompress(Path(f"{path}.gz").read_bytes())
        path.unlink()
        decompress(path)
    assert path.read_bytes() == b"".join(lines)
    assert not Path(f"{path}.gz").exists()


@pytest.mark.parametrize("keep", [-1, 20])
def test_a_damaged_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one\ntwo\n" * 100)
    packed = compress(path)
    packed.write_bytes(packed.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"x\.gz: is damaged"):
        CompressedLines(packed)
    packed.write_bytes(b"no gzip")
    with pytest.raises(ValueError, match=r"x\.gz: is damaged"):
        CompressedLines(packed)


def finished(root: Path) -> store.StageCard:
    stage = store.Stage(root, "iteration-1/scores", "score", {"a": 1})
    stage.append(ROWS)
    return stage.finish(rows=len(ROWS), tokens=0, seconds=0.0, result=store.ROWS, notes={})


def test_a_compressed_stage_is_known_by_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = finished(tmp_path / "plain")
    monkeypatch.setattr(store, "COMPRESSED", 100)
    packed = finished(tmp_path / "packed")
    assert list(packed.files) == ["records.jsonl.gz"]
    assert packed.known_by == plain.known_by
    assert store.read_rows(tmp_path / "packed", packed, Verdict) == ROWS
    rows = store.stored_rows(tmp_path / "packed", packed, Verdict)
    assert isinstance(rows, StoredRows)
    assert hash_records(rows) == hash_records(ROWS)
    assert store.Stage(tmp_path / "packed", "iteration-1/scores", "score", {"a": 1}).card() == packed


def test_a_kill_between_compression_and_card_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "COMPRESSED", 100)
    stage = store.Stage(tmp_path, "iteration-1/scores", "score", {"a": 1})
    stage.append(ROWS)
    path = stage.partial / store.ROWS
    compress(path)
    again = store.Stage(tmp_path, "iteration-1/scores", "score", {"a": 1})
    assert list(again.rows_so_far(Verdict)) == ROWS  # both files
    path.unlink()
    again = store.Stage(tmp_path, "iteration-1/scores", "score", {"a": 1})
    assert list(again.rows_so_far(Verdict)) == ROWS
    assert finished(tmp_path / "other").rows == len(ROWS)
    card = again.finish(rows=len(ROWS), tokens=0, seconds=0.0, result=store.ROWS, notes={})
    assert store.read_rows(tmp_path, card, Verdict) == ROWS


def test_a_run_makes_the_same_models_with_compressed_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cards(name: str) -> dict[str, object]:
        recipe = read_recipe(write_recipe(tmp_path / name, "synpo"))
        boost(recipe, tmp_path / name / "run", Silent())
        return {card.name: (card.fingerprint, card.known_by) for card in store.cards(tmp_path / name / "run")}

    plain = cards("plain")
    monkeypatch.setattr(store, "COMPRESSED", 0)
    assert cards("packed") == plain
    assert not list((tmp_path / "packed" / "run").rglob("stages/**/records.jsonl"))
    boost(read_recipe(tmp_path / "packed" / "recipe.toml"), tmp_path / "packed" / "run", Silent())
    assert asdict(store.cards(tmp_path / "packed" / "run")[0])["files"]
