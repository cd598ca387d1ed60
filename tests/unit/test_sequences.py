"""Sequences made of sequences hold what lists made the plain way hold, wherever they are read."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfboost.disk.record_files import StoredRows, hash_records, lines_of, to_line, write_rows
from selfboost.disk.sequences import Joined, Lazy, Mapped, Selected, Spread, alternating, sorted_out, taken_apart
from selfboost.records import Verdict, content_hash
from selfboost.train.packs.rows import CompactItems, Item, Row

numbers = st.lists(st.integers(-1000, 1000), max_size=20)


def agree(lazy: Lazy[object], expected: list[object]) -> None:
    assert list(lazy) == expected
    assert len(lazy) == len(expected)
    assert lazy == expected
    assert lazy[:] == expected
    assert pickle.loads(pickle.dumps(lazy)) == expected
    assert lazy[1:-1:2] == expected[1:-1:2]
    shuffled = random.Random(0).sample(range(len(expected)), len(expected))
    assert list(lazy.each(shuffled)) == [expected[place] for place in shuffled]
    assert [lazy[place] for place in shuffled] == [expected[place] for place in shuffled]
    if expected:
        assert lazy[-1] == expected[-1]
    with pytest.raises(IndexError):
        lazy[len(expected)]


@given(numbers)
def test_a_function_of_each_item(items: list[int]) -> None:
    agree(Mapped(lambda a, b: (a, -b), items, items[::-1]), [(a, -b) for a, b in zip(items, items[::-1], strict=True)])


@given(numbers, st.integers(1, 4))
def test_several_items_of_each_item(items: list[int], count: int) -> None:
    agree(
        Spread(lambda item: [item + i for i in range(count)], count, items),
        [x + i for x in items for i in range(count)],
    )


@given(numbers, st.randoms())
def test_some_items(items: list[int], chance: random.Random) -> None:
    places = chance.sample(range(len(items)), chance.randint(0, len(items)))
    agree(Selected(items, places), [items[place] for place in places])
    nested = Selected(Mapped(str, items), places)
    agree(Selected(nested, range(0, len(nested), 2)), [str(items[place]) for place in places][::2])


@given(st.lists(numbers, max_size=4))
def test_one_after_another(parts: list[list[int]]) -> None:
    agree(Joined([Mapped(str, part) for part in parts]), [str(item) for part in parts for item in part])


@given(numbers)
def test_in_turn_and_apart_again(items: list[int]) -> None:
    squares = [item * item for item in items]
    both = alternating(items, squares)
    agree(both, [x for pair in zip(items, squares, strict=True) for x in pair])
    assert taken_apart(both) == (items, squares)


@given(st.lists(st.sampled_from(["", "", "empty", "failed"]), max_size=20))
def test_what_no_reason_drops_is_kept(reasons: list[str]) -> None:
    kept, counts = sorted_out(reasons)
    assert list(kept) == [place for place, reason in enumerate(reasons) if not reason]
    assert counts == {name: reasons.count("" if name == "kept" else name) for name in counts}
    assert counts.total() == len(reasons)


def verdicts(count: int) -> list[Verdict]:
    return [Verdict(answer=f"a-{i}", scorer="s" * (i % 7), value=i / 3) for i in range(count)]


@pytest.mark.parametrize("count", [0, 1, 50])
def test_records_of_a_file(tmp_path: Path, count: int) -> None:
    rows = verdicts(count)
    stored = write_rows(tmp_path / "new" / "rows.jsonl", iter(rows), Verdict)
    agree(stored, rows)
    assert isinstance(stored, StoredRows)
    assert b"".join(lines_of(Joined([stored, rows]))) == b"".join(map(to_line, rows + rows))
    assert hash_records(stored) == hash_records(rows) == hash_records(Mapped(lambda row: row, rows))
    assert content_hash([stored, "x"]) == content_hash([rows, "x"])


def test_a_line_that_is_no_record_is_named_when_it_is_read(tmp_path: Path) -> None:
    stored = write_rows(tmp_path / "rows.jsonl", verdicts(3), Verdict)
    path = tmp_path / "rows.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b"answer", b"anzwer") + lines[2])
    assert stored[0] == verdicts(1)[0]
    with pytest.raises(ValueError, match=r"rows.jsonl line 2: is no Verdict \(answer: "):
        list(stored)


@given(st.lists(st.tuples(st.text(max_size=5), numbers, numbers, numbers, st.integers(0, 3)), max_size=6))
def test_items_take_four_bytes_a_token_and_come_back_whole(
    made: list[tuple[str, list[int], list[int], list[int], int]],
) -> None:
    items = [Item(name, (Row(tuple(p), tuple(a)), Row(tuple(p), tuple(b))), cuts) for name, p, a, b, cuts in made]
    agree(CompactItems(items, rows=2), items)
