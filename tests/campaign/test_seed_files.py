"""Files of strangers as seeds, preferences and paragraphs: what they hold, or one sentence; never an endless wait."""

import gzip
import json
import os
import random
import socket
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trial import fault_of

from fake_recipes import write_recipe
from selfboost.data.conversations import LONGEST
from selfboost.data.paragraphs import read_paragraphs
from selfboost.data.preferences import read_preferences
from selfboost.data.seeds import read_prompts, read_seeds

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"))
SECONDS = 10.0
MUTATED = 300
ROW = b'{"prompt": "a", "response": "b", "chosen": "c", "rejected": "d", "text": "e"}\n'
READERS: dict[str, Callable[[Path], object]] = {
    "seeds": read_seeds,
    "prompts": read_prompts,
    "preferences": read_preferences,
    "paragraphs": lambda path: list(read_paragraphs(path)),
}


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket is short
        made.bind(path.name)
        os.chdir(here)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a pipe"),
        (make_socket, "a socket"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (lambda path: path.symlink_to("/dev/tty"), "a device"),
    ],
)
@pytest.mark.parametrize("name", ["it.jsonl", "it.json.gz", "it.parquet"])
def test_only_regular_files_are_opened(tmp_path: Path, reader: str, make, kind: str, name: str) -> None:
    make(tmp_path / name)
    wrong, outcome = fault_of(lambda: READERS[reader](tmp_path / name), SECONDS)
    assert not wrong
    assert f"{name}: is {kind}; give a regular file" in str(outcome)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("s.jsonl", b'{"prompt": "a", "prompt": "b", "response": "c"}', "'prompt' occurs twice"),
        ("s.jsonl", b'{"messages": [{"role": "user", "role": "system", "content": "c"}]}', "'role' occurs twice"),
        ("s.jsonl", ROW.decode().encode("utf-16"), "is UTF-16 text, must be UTF-8"),
        ("s.jsonl", b"\xff\xfe", "is UTF-16 text, must be UTF-8"),
        ("s.jsonl", ROW + b"\x80", "line 2"),
        ("s.jsonl", ROW + b'{"prompt": ' + b"[" * 5000 + b"]" * 5000 + b"}", "line 2"),
        ("s.jsonl", ROW + b'{"n": ' + b"9" * 5000 + b"}", "line 2"),
        ("s.jsonl", ROW + b'{"prompt": "\0"}', "line 2"),
        ("s.json.gz", gzip.compress(b"\0" * 60_000_000, mtime=0), "expands to more than 500 times its size"),
        ("s.jsonl.gz", gzip.compress(b"\n" * 5_000_000, mtime=0), "expands to more than 500 times its size"),
        ("s.jsonl", b"", ""),
        ("s.jsonl.gz", b"", ""),
        ("s.parquet", b"", "s.parquet"),
        ("s.csv", b'prompt,response\na,"' + b"b" * 3_000_000, "s.csv"),
    ],
)
def test_odd_contents_are_one_sentence(tmp_path: Path, reader: str, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    wrong, outcome = fault_of(lambda: READERS[reader](tmp_path / name), SECONDS)
    assert not wrong
    assert sentence in str(outcome)
    assert isinstance(outcome, ValueError) or (not sentence and reader == "paragraphs" and outcome == [])


def test_a_text_has_a_greatest_length(tmp_path: Path) -> None:
    path = tmp_path / "seed.jsonl"
    path.write_text(json.dumps({"prompt": "a" * LONGEST, "response": "b"}))
    assert len(read_seeds(path)[0][0].messages[0].content) == LONGEST
    path.write_text(json.dumps({"prompt": "a" * 10_000_000, "response": "b"}))
    with pytest.raises(ValueError, match="line 1: prompt has 10,000,000 characters, at most 1,000,000 are allowed"):
        read_seeds(path)


def test_a_column_that_is_not_used_may_hold_anything(tmp_path: Path) -> None:
    odd = {
        "when": pa.array([1, 2], pa.timestamp("ns", tz="Nowhere/Else")),
        "far": pa.array([2**62, -(2**62)], pa.timestamp("us")),
        "span": pa.array([1, 2**62 + 1], pa.duration("ns")),
        "price": pa.array([Decimal("1.5"), None], pa.decimal128(20, 2)),
        "raw": pa.array([b"\xff", None], pa.binary()),
        "day": pa.array([datetime(2020, 1, 1), None]),
    }
    table = {"prompt": ["a", "b"], "response": ["c", "d"], **odd}
    pq.write_table(pa.table(table), tmp_path / "s.parquet")
    seeds, notes = read_seeds(tmp_path / "s.parquet")
    assert [(seed.messages[0].content, seed.response) for seed in seeds] == [("a", "c"), ("b", "d")]
    assert len(notes) == 1
    assert all(f"'{column}' in " in notes[0] for column in odd)
    pq.write_table(pa.table({"prompt": odd["when"], "response": ["c", "d"]}), tmp_path / "used.parquet")
    with pytest.raises(ValueError, match=r"row 1: prompt is .*, must be text"):
        read_seeds(tmp_path / "used.parquet")


@pytest.mark.parametrize("name", ["s.jsonl", "s.json", "s.jsonl.gz", "s.parquet", "s.csv"])
def test_files_with_random_damages_are_read_or_refused(tmp_path: Path, name: str) -> None:
    seeds = [json.loads(line) for line in (write_recipe(tmp_path).parent / "seed.jsonl").read_text().splitlines()]
    lines = "".join(json.dumps(seed) + "\n" for seed in seeds).encode()
    if name == "s.parquet":
        pq.write_table(pa.Table.from_pylist(seeds), tmp_path / name)
    contents = {"s.jsonl": lines, "s.json": json.dumps(seeds).encode(), "s.jsonl.gz": gzip.compress(lines, mtime=0)}
    table = [["prompt", "response"], *([seed["prompt"], seed["response"]] for seed in seeds)]
    contents["s.csv"] = "".join(",".join(f'"{cell}"' for cell in cells) + "\n" for cells in table).encode()
    right = contents.get(name) or (tmp_path / name).read_bytes()
    chance = random.Random(SEED)
    for number in range(MUTATED):
        data = bytearray(right)
        for _ in range(chance.choice((1, 1, 3, 50))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        (tmp_path / name).write_bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
        wrong, _ = fault_of(lambda: read_seeds(tmp_path / name), SECONDS)
        assert not wrong, f"damage {number} of CAMPAIGN_SEED={SEED}: {wrong}"
