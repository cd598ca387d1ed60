"""Paragraphs from every kind of source, as a stream, and what is said of a wrong one."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfboost.data.paragraphs import read_paragraphs

EMBEDDED = Path(__file__).parents[2] / "src" / "selfboost" / "demo" / "assets" / "paragraphs.jsonl"


def write_parquet(path: Path, rows: dict[str, list[Any]], **options: Any) -> None:
    pq.write_table(pa.table(rows), path, **options)


def test_paragraphs_come_from_every_format_and_from_folders_below(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\nfirst line\nsecond line\n\n \nthird\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "fourth", "id": 1}\n\n{"text": "fifth"}\n', encoding="utf-8")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'\xef\xbb\xbf{"text": "sixth"}'))
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(b"seventh\r\n\r\neighth"))
    (tmp_path / "e").mkdir()
    write_parquet(tmp_path / "e" / "f.parquet", {"id": [1, 2], "text": ["ninth", "tenth"]})
    (tmp_path / "e" / "g.json.gz").write_bytes(gzip.compress(b'{"text": "eleventh"}\n'))
    (tmp_path / ".git").mkdir()
    for passed_over in (".hidden.txt", ".git/x.txt", "README.md"):
        (tmp_path / passed_over).write_bytes(b"\xff")
    ordinals = "fourth fifth sixth seventh eighth ninth tenth eleventh"
    assert list(read_paragraphs(tmp_path)) == ["first line\nsecond line", "third", *ordinals.split()]
    assert list(read_paragraphs(str(tmp_path), limit=3)) == ["first line\nsecond line", "third", "fourth"]
    assert list(read_paragraphs(tmp_path / "b.jsonl")) == ["fourth", "fifth"]


LINES = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff"), max_size=5), max_size=9)


@given(LINES.map("\n".join))
def test_a_document_has_the_same_paragraphs_in_every_format(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "a.txt").write_bytes(text.encode())
    (folder / "a.jsonl").write_text(json.dumps({"text": text}))
    write_parquet(folder / "a.parquet", {"text": [text]})
    expected = [part.strip() for part in re.split(r"\n(?:\s*\n)+", text) if part.strip()]
    for name in ("a.txt", "a.jsonl", "a.parquet"):
        found = list(read_paragraphs(folder / name))
        assert "".join("".join(found).split()) == "".join(text.split())
        assert found == list(read_paragraphs(folder / "a.txt"))
        assert all(part and part == part.strip() for part in found)
        assert len(found) == len(expected)


def test_another_column_is_read_when_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": 3, "content": "one\\n\\ntwo"}')
    write_parquet(tmp_path / "b.parquet", {"text": [3], "content": ["three"]})
    assert list(read_paragraphs(tmp_path, column="content")) == ["one", "two", "three"]


def test_large_parquet_files_and_limits_are_streamed(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(5000)]
    write_parquet(tmp_path / "a.parquet", {"text": texts}, row_group_size=700)
    assert list(read_paragraphs(tmp_path)) == texts
    assert list(read_paragraphs(tmp_path, limit=1500)) == texts[:1500]
    # What lies behind the limit is never looked at.
    (tmp_path / "b.txt").write_bytes(b"fine\n\n\xff")
    assert list(read_paragraphs(tmp_path, limit=5001)) == [*texts, "fine"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "p.jsonl",
            b'{"text": "a"}\n{"texts": "b"}',
            " line 2: has no column text; allowed as paragraphs_column: texts",
        ),
        ("p.jsonl", b"{}", " line 1: has no column text; allowed as paragraphs_column: none"),
        ("p.jsonl", b'\n{"text": 3}', " line 2: the column text is int, must be text"),
        ("p.jsonl", b'{"text": null}', " line 1: the column text is NoneType, must be text"),
        ("p.jsonl", b"[1]", " line 1: must be an object with a text in the column text"),
        ("p.jsonl", b"{", " line 1: is not valid JSON"),
        ("p.jsonl", b"[" * 100_000, " line 1: is not valid JSON"),
        ("p.jsonl", b'{"n": ' + b"9" * 9999 + b"}", " line 1: is not valid JSON"),
        ("p.txt", b"fine\n\n\xff", " line 3: is not UTF-8 text"),
        ("p.jsonl.gz", b"{}", ": is not a complete gzip file"),
        ("p.txt.gz", gzip.compress(b"cut" * 99, mtime=0)[:-9], ": is not a complete gzip file"),
        ("p.parquet", b"PAR1", ": cannot be read as Parquet"),
        ("p.md", b"text", ": is not a file of paragraphs; allowed endings: .txt, "),
    ],
)
def test_broken_paragraphs_are_named(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / name) + sentence)):
        list(read_paragraphs(tmp_path / name))


def test_broken_parquet_columns_are_named(tmp_path: Path) -> None:
    file = tmp_path / "p.parquet"
    write_parquet(file, {"body": ["a"], "id": [1]})
    with pytest.raises(
        ValueError, match=re.escape(f"{file}: has no column text; allowed as paragraphs_column: body, id")
    ):
        list(read_paragraphs(file))
    with pytest.raises(ValueError, match=re.escape(f"{file} row 1: the column id is int, must be text")):
        list(read_paragraphs(file, column="id"))
    write_parquet(file, {"text": ["a", None]})
    with pytest.raises(ValueError, match=re.escape(f"{file} row 2: the column text is NoneType, must be text")):
        list(read_paragraphs(file))


def test_missing_paragraphs_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent: no such file or folder, and not the name"):
        list(read_paragraphs(tmp_path / "absent"))
    (tmp_path / "notes.md").write_text("no text")
    with pytest.raises(ValueError, match="contains no file of paragraphs; allowed endings"):
        list(read_paragraphs(tmp_path))


@pytest.mark.skipif(not EMBEDDED.exists(), reason="the embedded texts are not built yet")
def test_the_embedded_paragraphs_are_read_as_they_are() -> None:
    rows = [json.loads(line)["text"] for line in EMBEDDED.read_text(encoding="utf-8").splitlines()]
    assert list(read_paragraphs(EMBEDDED)) == rows
