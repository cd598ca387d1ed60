"""A user's own file as a seed: every format and naming of columns, or one sentence that says what to change."""

import csv
import gzip
import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import real_data
from selfboost.data.columns import Columns, columns_from
from selfboost.data.preferences import read_preferences
from selfboost.data.seed_data import SeedSource, load_seed_data
from selfboost.data.seeds import Seed, read_prompts, read_seeds
from selfboost.plan.stand_ins import planned_seeds
from selfboost.records import Message

TEXTS = [("What is 2+2?", "Four.\nReally, four."), ('Say "hi", twice', 'hi, "hi"'), ("Größe?", "1,80 m; barfuß")]
"""With line breaks, quotes, separators and umlauts."""


def seed(prompt: str, response: str, *before: Message) -> Seed:
    return Seed(messages=(*before, Message(role="user", content=prompt)), response=response)


EXPECTED = [seed(*pair) for pair in TEXTS]


def rows(*names: str) -> list[dict[str, Any]]:
    return [dict(zip(names, pair, strict=True)) for pair in TEXTS]


def sharegpt(prompt: str, response: str) -> dict[str, Any]:
    return {"conversations": [{"from": "human", "value": prompt}, {"from": "gpt", "value": response}]}


def parts(prompt: str, response: str) -> dict[str, Any]:
    """As OpenAI writes contents of several parts."""
    cut = len(prompt) // 2
    text = [{"type": "text", "text": piece} for piece in (prompt[:cut], prompt[cut:])]
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": response}]}


def csv_text(table: list[dict[str, Any]], delimiter: str = ",", end: str = "\r\n") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(table[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue()


def lines(table: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in table)


QA = rows("question", "answer")
FILES: dict[str, Callable[[], str]] = {
    "comma.csv": lambda: csv_text(QA),
    "semicolon.csv": lambda: csv_text(QA, ";"),
    "excel.csv": lambda: "\ufeff" + csv_text(QA) + ",\r\n\r\n",
    "unix.csv": lambda: csv_text(rows(" Prompt ", "Completion"), end="\n"),
    "tab.tsv": lambda: csv_text(QA, "\t"),
    "comma.csv.gz": lambda: csv_text(QA),
    "tab.tsv.gz": lambda: csv_text(QA, "\t"),
    "more.csv": lambda: csv_text([{"": str(i), "Frage-Nr": i, **row} for i, row in enumerate(QA)]),
    "array.json": lambda: json.dumps(QA, indent=1),
    "array.json.gz": lambda: json.dumps(QA),
    "lines.jsonl": lambda: lines(QA),
    "lines.jsonl.gz": lambda: lines(QA),
    "lines.json": lambda: lines(rows("prompt", "completion")),
    "sharegpt.json": lambda: json.dumps([sharegpt(*pair) for pair in TEXTS]),
    "openai.jsonl": lambda: lines([parts(*pair) for pair in TEXTS]),
    "alpaca.json": lambda: json.dumps([{**row, "input": ""} for row in rows("instruction", "output")]),
    "dolly.jsonl": lambda: lines([{"context": "", **row} for row in rows("instruction", "response")]),
    "null.jsonl": lambda: lines([{"messages": None, "output": " ", **row} for row in rows("prompt", "response")]),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_holds_the_same_seeds(tmp_path: Path, name: str) -> None:
    data = FILES[name]().encode()
    (tmp_path / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    assert read_seeds(tmp_path / name)[0] == EXPECTED


@pytest.mark.parametrize("table", [QA, rows("prompt", "response"), [sharegpt(*pair) for pair in TEXTS]])
def test_parquet_and_a_saved_data_set_hold_them_too(tmp_path: Path, table: list[dict[str, Any]]) -> None:
    arrow = pa.Table.from_pylist(table)
    pq.write_table(arrow, tmp_path / "s.parquet")
    assert read_seeds(tmp_path / "s.parquet")[0] == EXPECTED
    for split, part in (("train", arrow), ("test", arrow.slice(0, 1))):
        write_saved(tmp_path / "saved" / split, part)
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    seeds, notes = read_seeds(tmp_path / "saved")
    assert seeds == EXPECTED
    assert notes[1] == f"{tmp_path / 'saved'}: left out: test/; give a folder's own path to read it"
    assert read_seeds(tmp_path / "saved" / "test")[0] == EXPECTED[:1]
    assert len(read_prompts(tmp_path / "saved")) == 4


def write_saved(folder: Path, table: pa.Table) -> None:
    """As `datasets` saves it to disk, in two files."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05}-of-00002.arrow" for i in range(2)]
    for name, part in zip(names, (table.slice(0, 1), table.slice(1)), strict=True):
        with pa.ipc.new_stream(folder / name, table.schema) as writer:
            writer.write_table(part)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="datasets is not installed")
def test_what_datasets_saves_is_read(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list(QA).save_to_disk(str(tmp_path / "one"), num_shards=2)
    assert read_seeds(tmp_path / "one")[0] == EXPECTED


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("{", "state.json: does not name the data set's files"),
        ('{"_data_files": [{"filename": "../away.arrow"}]}', r"saved/away.arrow: no such file"),
        ('{"_data_files": [{"filename": "bad.arrow"}]}', "bad.arrow: is not an Arrow file that can be read"),
        (None, "has the dataset_dict.json of save_to_disk, but no split"),
    ],
)
def test_a_damaged_saved_data_set_is_named(tmp_path: Path, state: str | None, sentence: str) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (tmp_path / "away.arrow").write_bytes(b"")
    (folder / "bad.arrow").write_bytes(b"no arrow")
    (folder / ("state.json" if state else "dataset_dict.json")).write_text(state or "{}")
    with pytest.raises(ValueError, match=sentence):
        read_seeds(folder)


# Columns.


def wrote(path: Path, *table: dict[str, Any]) -> Path:
    path.write_text(lines(list(table)))
    return path


def test_named_columns_are_read_and_the_others_left_out(tmp_path: Path) -> None:
    row = {"Frage": "Wo?", "text": "Im Haus.", "sys": "Kurz.", "prompt": "x", "answer": "y", "Antwort": "Dort."}
    path = wrote(tmp_path / "s.jsonl", row)
    columns = columns_from("prompt=Frage, input=text, response=Antwort, system=sys")
    assert columns == Columns(prompt="Frage", input="text", response="Antwort", system="sys")
    seeds, notes = read_seeds(path, columns=columns)
    assert seeds == [seed("Wo?\n\nIm Haus.", "Dort.", Message(role="system", content="Kurz."))]
    assert notes[-1] == f"{path}: left out: 'answer' in 1 of 1 rows, 'prompt' in 1 of 1 rows"
    talk = wrote(tmp_path / "t.jsonl", {"chat": sharegpt("a", "b")["conversations"], "messages": 3})
    assert read_seeds(talk, columns=columns_from("messages=chat"))[0] == [seed("a", "b")]
    assert read_seeds(path, columns=columns_from("prompt=Frage"))[0] == [seed("Wo?", "y")], "the answer is recognised"


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"prompt": "a", "question": "b", "answer": "c"},
            "prompt and question may both be meant; name the columns with",
        ),
        ({"question": "b", "answer": "c", "response": "d"}, "response and answer|answer and response"),
        (
            {"question": "b", "context": "c", "answer": "d"},
            "context may belong to the prompt or not: name it as input=",
        ),
        ({"messages": [], "conversations": []}, "messages and conversations may both be meant"),
        (
            {"id": 1, "text": "b", "label": 2},
            r"no prompt is recognised among the columns id, text, label; name them with",
        ),
        (
            {"prompt": "a", "reply": "c"},
            "no answer is recognised among the columns prompt, reply; name it with --columns",
        ),
        ({"question": "a", "answer": 4}, "answer is int, must be text"),
        ({"conversations": "hi"}, "messages must be a list"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "the last message must be the assistant's"),
        ({"conversations": [{"from": "observation", "value": "a"}]}, "message 1: role 'observation'; allowed: system"),
        ({"conversations": [{"from": "human"}]}, "message 1: content is missing"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "message 1: content has a part of the type 'image_url'; only text is trained",
        ),
    ],
)
def test_columns_that_can_be_read_in_two_ways_or_none_are_refused(
    tmp_path: Path, row: dict[str, Any], sentence: str
) -> None:
    path = wrote(tmp_path / "s.jsonl", {"prompt": "fine", "response": "fine"}, row)
    with pytest.raises(ValueError, match=sentence) as raised:
        read_seeds(path)
    assert str(raised.value).startswith(f"{path} line 2")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("question", "write USE=COLUMN,USE=COLUMN"),
        ("prompt=", "write USE=COLUMN"),
        ("prompt=a,prompt=b", "each USE once"),
        ("query=a", "allowed as USE: prompt, input, response, system, messages"),
        ("response=a", "prompt is missing; name its column too"),
        ("prompt=a,response=a", "the column 'a' is named twice"),
        ("messages=a,prompt=b", "messages holds prompt and answer already"),
    ],
)
def test_columns_named_wrongly_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as raised:
        columns_from(text)
    assert str(raised.value).startswith(f"--columns {text}: ")


def test_a_named_column_that_a_row_lacks_is_refused(tmp_path: Path) -> None:
    path = wrote(tmp_path / "s.jsonl", {"q": "a", "answer": "b"}, {"question": "a", "answer": "b"})
    with pytest.raises(
        ValueError, match=r"line 2: has no column 'q', which is named as one; the columns are question, a"
    ):
        read_seeds(path, columns=columns_from("prompt=q"))


def test_a_recipe_with_named_columns_reads_seed_and_measured_prompts_alike(tmp_path: Path) -> None:
    paths = [wrote(tmp_path / f"{name}.jsonl", {"q": f"{name}?", "a": f"{name}."}) for name in ("seed", "v", "h")]
    source = SeedSource(
        path=str(paths[0]), validation=str(paths[1]), held_out=str(paths[2]), columns=Columns(prompt="q", response="a")
    )
    for data in (load_seed_data(source, 0), planned_seeds(source, 0)):
        assert (data.train, data.validation, data.held_out) == (
            [seed("seed?", "seed.")],
            [seed("v?", "v.")],
            [seed("h?", "h.")],
        )
        assert data.notes == []
    away = SeedSource(path="owner/name", columns=Columns(prompt="q", input="i", response="a", system="s"))
    assert len(planned_seeds(away, 0).held_out) == 200, "made-up rows are read by the same columns"


# What is dropped or used in a way that one may not expect is counted.


def test_what_the_rows_hold_is_counted_and_said(tmp_path: Path) -> None:
    talk = [{"from": "system", "value": "Be kind."}, *(sharegpt("One?", "1.")["conversations"] * 2)]
    table = [
        {"conversations": talk},
        {"question": "Two?", "answer": "2."},
        {"question": "Two?", "answer": "Zwei."},
        {"question": "Three?", "answer": " "},
        {"instruction": "Four", "context": "of them", "response": "4."},
        {"instruction": "Five", "response": None},
        {"conversations": [*sharegpt("Six?", "")["conversations"]]},
    ]
    path = wrote(tmp_path / "s.jsonl", *table)
    seeds, notes = read_seeds(path)
    assert [found.response for found in seeds] == ["1.", "2.", "4."]
    assert notes == [
        f"{path}: {sentence}"
        for sentence in (
            "1 of 4 seeds dropped: same prompt as an earlier seed, different answer",
            f"3 rows dropped: the answer is empty (first: {path} line 4)",
            "rows of several forms: conversations in 1, question/answer in 2, instruction/response in 1",
            "context ends the prompt in 1 of 4 rows",
            "a system message in 1 of 4 rows",
            "1 of 4 rows are conversations of several turns: the last answer is the good one, those before it are "
            "context",
        )
    ]
    first, notes = read_seeds(path, turns="first")
    assert first[0] == seed("One?", "1.", Message(role="system", content="Be kind."))
    assert f"{path}: 1 of 4 rows are conversations cut after the first answer" in notes
    measured, _ = read_seeds(path, need_response=False)
    assert [found.response for found in measured] == ["1.", "2.", "", "4.", "", ""]
    empty = wrote(tmp_path / "e.jsonl", *table[3:4], *table[5:])
    with pytest.raises(ValueError, match=r"contains no seeds \(3 rows dropped: the answer is empty \(first: .* line 1"):
        read_seeds(empty)


def test_a_csv_row_is_named_by_the_line_it_begins_on(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text('prompt,response\n"one\ntwo\nthree",fine\n"",b\n')
    with pytest.raises(ValueError, match="line 5: prompt is empty"):
        read_seeds(path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("s.csv", b"", "contains no seeds"),
        ("s.csv", b"prompt,response\r\n", "contains no seeds"),
        ("s.csv", b"prompt,response\na,b\nc\n", "line 3: has 1 cells, but the first line names 2 columns; put double"),
        ("s.csv", b"prompt,response\na,b,and c\n", "line 2: has 3 cells, but the first line names 2 columns"),
        ("s.csv", b'prompt,response\na,"b\nc,d\n', r"line 2: is not valid CSV \(a double quote is opened and never"),
        ("s.csv", b'prompt,response\na,"b" c\n', "line 2: is not valid CSV .*; write a quote inside a quoted cell twi"),
        ("s.csv", b"prompt,prompt\na,b\n", "line 1: names the column 'prompt' twice"),
        ("s.csv", b"text,label\na,b\n", "line 2: no prompt is recognised among the columns text, label"),
        ("s.csv", b"prompt,response\na,b\nc,Gr\xf6\xdfe\n", r"line 3: is not UTF-8 text .*; save it again as UTF-8"),
        ("s.csv", "prompt,response\na,b\n".encode("utf-16"), "is UTF-16 text, must be UTF-8"),
        ("s.csv", gzip.compress(b"prompt,response\na,b\n", mtime=0), "is compressed by gzip; let its name end in .gz"),
        ("s.csv", b"PK\x03\x04 a workbook", "is a zip file or a spreadsheet; export it as CSV in UTF-8"),
        ("s.csv.gz", b"prompt,response\na,b\n", "is not a complete gzip file"),
        ("s.tsv.gz", gzip.compress(b"prompt\tresponse\n" * 99, mtime=0)[:-9], "is not a complete gzip file"),
        ("s.jsonl", b"PAR1", "is a Parquet file; let its name end in .parquet"),
        ("s.json", b'{\n "data": [{"prompt": "a"}]\n}', r"is one JSON object with the keys data; .*\(they may be "),
        ("s.json", b'{\n "prompt": "a"\n}', "is one JSON object with the keys prompt; write its rows as an array"),
        ("s.json", b'{\n "prompt": a\n}', "line 1: is not valid JSON"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as raised:
        read_seeds(tmp_path / name)
    assert str(raised.value).startswith(str(tmp_path / name))
    assert "\n" not in str(raised.value)


def test_a_folder_mixes_formats_and_pairs_are_read_from_them_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(csv_text(QA[:1]))
    wrote(tmp_path / "b.jsonl", *QA[1:])
    assert read_seeds(tmp_path)[0] == EXPECTED
    (tmp_path / "pairs.csv").write_text("prompt,chosen,rejected\nWhy?,So.,No.\n")
    ((pair,), wrong, _) = read_preferences(tmp_path / "pairs.csv")
    assert (pair.chosen, pair.rejected, wrong) == ("So.", "No.", 0)


def test_a_real_seed_with_other_columns_is_read() -> None:
    seeds, notes = read_seeds(real_data.real("seed/gpteacher_roleplay_gpt4.jsonl.gz"))
    assert len(seeds) >= 1800
    assert all(found.response.strip() for found in seeds)
    assert any("columns read: instruction/response" in note for note in notes)
