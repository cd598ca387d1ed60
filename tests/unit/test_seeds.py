"""Seeds: every allowed form gives the same records, everything wrong is one sentence with its place."""

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import real_data
from selfboost.data.seed_data import SeedSource, load_seed_data
from selfboost.data.seeds import Seed, read_seeds, split
from selfboost.demo import EMBEDDED_FILES
from selfboost.records import Message

DATA = real_data.DATA / "seed"
words = st.text(min_size=1).filter(str.strip)
pairs = st.lists(st.tuples(words, words), min_size=1, max_size=8, unique_by=lambda pair: pair[0])


def seed(prompt: str, response: str) -> Seed:
    return Seed(messages=(Message(role="user", content=prompt),), response=response)


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def outcome(path: Path) -> tuple[list[Seed], str]:
    """What was read, or why not."""
    try:
        return read_seeds(path)[0], ""
    except ValueError as error:
        return [], str(error)


def prompts(seeds: list[Seed]) -> list[str]:
    return [s.messages[-1].content for s in seeds]


@settings(deadline=None, max_examples=40)
@given(pairs)
def test_every_container_holds_the_same_seeds(tmp_path_factory, found) -> None:
    folder = tmp_path_factory.mktemp("seed")
    rows = [{"prompt": prompt, "response": response} for prompt, response in found]
    write(folder / "a.jsonl", *rows)
    (folder / "b.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    (folder / "c.jsonl.gz").write_bytes(gzip.compress((folder / "a.jsonl").read_bytes(), mtime=0))
    (folder / "d.json.gz").write_bytes(gzip.compress((folder / "b.json").read_bytes(), mtime=0))
    pq.write_table(pa.Table.from_pylist(rows), folder / "e.parquet")
    raw = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "f.jsonl").write_text("\ufeff" + raw + "\r\n", encoding="utf-8", newline="")
    for name, opened, delimiter in (("g.csv", open, ","), ("h.tsv.gz", gzip.open, "\t")):
        with opened(folder / name, "wt", encoding="utf-8", newline="") as out:
            csv.writer(out, delimiter=delimiter).writerows([["prompt", "response"], *found])
    for file in sorted(folder.iterdir()):
        assert read_seeds(file) == ([seed(prompt, response) for prompt, response in found], [])


@settings(deadline=None, max_examples=40)
@given(pairs)
def test_the_three_forms_say_the_same(tmp_path_factory, found) -> None:
    folder = tmp_path_factory.mktemp("seed")
    conversations = [[{"role": "user", "content": p}, {"role": "assistant", "content": r}] for p, r in found]
    plain = write(folder / "a.jsonl", *({"prompt": p, "response": r} for p, r in found))
    instructions = write(folder / "b.jsonl", *({"instruction": p, "input": "", "output": r} for p, r in found))
    messages = write(folder / "c.jsonl", *({"messages": turns} for turns in conversations))
    assert read_seeds(plain) == read_seeds(instructions) == read_seeds(messages)


def test_an_input_follows_its_instruction_after_a_blank_line(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", {"instruction": "add", "input": "1 2", "output": "3"})
    assert read_seeds(path)[0] == [seed("add\n\n1 2", "3")]


def test_a_conversation_is_kept_whole_in_jsonl_and_parquet(tmp_path: Path) -> None:
    turns = [("system", "be brief"), ("user", "hi"), ("assistant", "hello"), ("user", "who?"), ("assistant", "me")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "s.parquet")
    expected = Seed(messages=tuple(Message(role=r, content=c) for r, c in turns[:-1]), response="me")
    assert read_seeds(write(tmp_path / "s.jsonl", row))[0] == [expected]
    assert read_seeds(tmp_path / "s.parquet")[0] == [expected]


def test_a_conversation_can_end_with_its_first_answer(tmp_path: Path) -> None:
    turns = [("system", "be brief"), ("user", "hi"), ("assistant", "hello"), ("user", "who?"), ("tool", "unread")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    path = write(tmp_path / "s.jsonl", row, {"prompt": "a", "response": "1"})
    first = Seed(messages=tuple(Message(role=r, content=c) for r, c in turns[:2]), response="hello")
    assert read_seeds(path, turns="first")[0] == [first, seed("a", "1")]
    with pytest.raises(ValueError, match="line 1 message 5: role 'tool'"):
        read_seeds(path)
    unanswered = write(tmp_path / "u.jsonl", {"messages": row["messages"][:2]}, {"messages": "hi"})
    with pytest.raises(ValueError, match="line 1: the last message must be the assistant's"):
        read_seeds(unanswered, turns="first")
    with pytest.raises(ValueError, match="line 2: messages must be a list"):
        read_seeds(unanswered, need_response=False, turns="first")


def test_the_files_of_a_folder_follow_each_other_by_name(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", {"prompt": "2", "response": "x"})
    write(tmp_path / "a.jsonl", {"prompt": "1", "response": "x"})
    (tmp_path / "c.jsonl").mkdir()
    (tmp_path / "README.md").write_text("not a seed")
    assert prompts(read_seeds(tmp_path)[0]) == ["1", "2"]


def test_a_prompt_is_kept_once_and_what_is_dropped_or_ignored_is_said(tmp_path: Path) -> None:
    rows = [("a", "1"), ("b", "1"), ("a", "1"), ("a", "2"), ("a", "1")]
    path = write(tmp_path / "s.jsonl", *({"prompt": p, "response": r, "id": 7, "tag": None} for p, r in rows))
    seeds, notes = read_seeds(path)
    assert seeds == [seed("a", "1"), seed("b", "1")]
    assert notes == [
        f"{path}: 2 of 5 seeds dropped: exact duplicates",
        f"{path}: 1 of 5 seeds dropped: same prompt as an earlier seed, different answer",
        f"{path}: left out: 'id' in 5 of 5 rows",
    ]


def test_prompts_alone_are_enough_where_no_answer_is_needed(tmp_path: Path) -> None:
    rows = [{"prompt": "a"}, {"instruction": "b", "output": None}, {"messages": [{"role": "user", "content": "c"}]}]
    path = write(tmp_path / "s.jsonl", *rows, {"prompt": "d", "response": "e"})
    seeds, _ = read_seeds(path, need_response=False)
    assert [(s.messages[-1].content, s.response) for s in seeds] == [("a", ""), ("b", ""), ("c", ""), ("d", "e")]
    with pytest.raises(
        ValueError, match="line 1: no answer is recognised among the columns prompt; name it with --col"
    ):
        read_seeds(path)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"prompt": "", "response": "b"}, "prompt is empty"),
        ({"prompt": " \n", "response": "b"}, "prompt is empty"),
        ({"prompt": 3, "response": "b"}, "prompt is int, must be text"),
        ({"prompt": "a", "response": ["b"]}, "response is list, must be text"),
        ({"prompt": "a", "reply": "b"}, "no answer is recognised among the columns prompt, reply; name it with --col"),
        ({"instruction": "a", "input": 1, "output": "b"}, "input is int"),
        ({"text": "a"}, "no prompt is recognised among the columns text; name them with --columns prompt=COLUMN,resp"),
        ({}, "no prompt is recognised among the columns none"),
        (["a", "b"], "must be an object of columns and their values, not list"),
        ("a", "must be an object"),
        ({"prompt": "a", "response": "\ud83d"}, "response contains an unpaired surrogate"),
        ({"messages": []}, "messages must be a list"),
        ({"messages": "hi"}, "messages must be a list"),
        ({"messages": ["hi"]}, "message 1: must be {role, content}"),
        ({"messages": [{"role": "human", "content": "hi"}]}, "role 'human'; allowed: system, user, assistant"),
        ({"messages": [{"role": "user"}]}, "message 1: content is missing"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "the last message must be the assistant's"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "before the answer must be the user's"),
        (
            {"messages": [{"role": "user", "content": "hi"}, {"role": "system", "content": "x"}]},
            "message 2: the system message must be the first",
        ),
    ],
)
def test_a_wrong_row_is_named_with_its_line(tmp_path: Path, row: object, sentence: str) -> None:
    path = write(tmp_path / "s.jsonl", {"prompt": "fine", "response": "fine"}, row)
    with pytest.raises(ValueError, match=sentence) as raised:
        read_seeds(path)
    assert str(raised.value).startswith(f"{path} line 2")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("s.jsonl", b"", "contains no seeds"),
        ("s.json", b"[]", "contains no seeds"),
        ("s.jsonl", b'{"prompt": "a", "response": "b"}\n{"prompt"\n', r"line 2: is not valid JSON \(.*column 10\)"),
        ("s.json", b'[{"prompt": "a"},\n }]', r"is not valid JSON \(.*line 2, column 2\)"),
        ("s.jsonl", b"[" * 100_000, "JSON"),
        ("s.jsonl", b'{"prompt": ' + b"1" * 5000 + b"}", "line 1: cannot be read as JSON"),
        ("s.jsonl", b'{"prompt": "a", "response": "b"}\n\xff', r"line 2: is not UTF-8 text \(byte 33 of the file\)"),
        ("s.jsonl.gz", b"no gzip", "is not a complete gzip file"),
        ("s.jsonl.gz", gzip.compress(b"x" * 500, mtime=0)[:-9], "is not a complete gzip file"),
        ("s.parquet", b"no parquet", "is not a Parquet file"),
        ("s.xlsx", b"PK", "allowed endings of a seed file are .jsonl"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as raised:
        read_seeds(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value)


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent.jsonl: no such file or folder"):
        read_seeds(tmp_path / "absent.jsonl")
    with pytest.raises(ValueError, match=r"contains no seed file; allowed endings: \.jsonl"):
        read_seeds(tmp_path)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_seeds_or_one_sentence(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("seed") / "s.jsonl"
    path.write_bytes(content)
    found, complaint = outcome(path)
    assert found or str(path) in complaint


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner),
    max_leaves=6,
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["prompt", "response", "instruction", "input", "output", "messages"]), json_values)
)
def test_any_row_gives_a_whole_seed_or_one_sentence(tmp_path_factory, row) -> None:
    path = write(tmp_path_factory.mktemp("seed") / "s.jsonl", row)
    found, complaint = outcome(path)
    dropped = f"{path}: contains no seeds (1 row dropped: the answer is empty (first: {path} line 1))"
    assert found or complaint.startswith((f"{path} line 1", dropped))
    for each in found:
        assert each.response.strip()
        assert each.messages[-1].role == "user"
        assert all(m.content.strip() for m in each.messages)


SEEDS = [seed(f"prompt {i}", "answer") for i in range(60)]


@given(st.integers(0, 30), st.integers(0, 29), st.integers())
def test_a_split_is_a_partition_of_the_wanted_sizes(validation: int, held_out: int, number: int) -> None:
    train, apart, measured = split(SEEDS, validation, held_out, number)
    assert (len(apart), len(measured)) == (validation, held_out)
    assert sorted(prompts([*train, *apart, *measured])) == sorted(prompts(SEEDS))


def test_what_is_held_out_depends_on_the_seed_and_the_prompts_alone() -> None:
    _, _, held_out = split(SEEDS, 10, 20, 0)
    assert split(SEEDS[::-1], 5, 20, 0)[2] == held_out
    assert split(SEEDS, 10, 20, 1)[2] != held_out
    more = [*SEEDS, *(seed(f"new {i}", "answer") for i in range(6))]
    assert len({*prompts(split(more, 10, 20, 0)[2])} & {*prompts(held_out)}) >= 14


def test_too_few_seeds_to_split_are_named() -> None:
    with pytest.raises(ValueError, match="has 60 prompts: too few to set aside 40 for validation and 20 held out"):
        split(SEEDS, 40, 20, 0)


def draw(path: Path | str, limit: int, number: int, apart: Path | str | int) -> list[str]:
    source = SeedSource(path=str(path), limit=limit, validation=_named(apart, "v"), held_out=_named(apart, "h"))
    return prompts(list(load_seed_data(source, number).train))


def _named(apart: Path | str | int, name: str) -> str | int:
    return str(apart / f"{name}.jsonl") if isinstance(apart, Path) else apart


@pytest.mark.parametrize("files", [True, False])
def test_a_limit_is_a_draw_by_the_runs_seed_and_the_prompts_alone(tmp_path: Path, files: bool) -> None:
    rows = [{"prompt": f"prompt {i}", "response": "answer"} for i in range(300)]
    for name in ("v", "h"):
        write(tmp_path / f"{name}.jsonl", {"prompt": f"apart {name}"})
    apart = tmp_path if files else 20
    drawn = draw(write(tmp_path / "s.jsonl", *rows), 100, 0, apart)
    assert len({*drawn}) == 100
    assert drawn == draw(write(tmp_path / "t.jsonl", *rows[::-1]), 100, 0, apart)
    assert drawn == draw(tmp_path / "s.jsonl", 200, 0, apart)[:100]
    assert drawn != draw(tmp_path / "s.jsonl", 100, 1, apart)
    places = sorted(int(prompt.split()[1]) for prompt in drawn)
    assert 25 <= sum(place < 100 for place in places) <= 45, "from the whole file, not its beginning"


def test_all_seeds_keep_their_order(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", *({"prompt": f"prompt {i}", "response": "answer"} for i in range(9)))
    for name in ("v", "h"):
        write(tmp_path / f"{name}.jsonl", {"prompt": f"apart {name}"})
    assert draw(path, 9, 0, tmp_path) == draw(path, 0, 0, tmp_path) == [f"prompt {i}" for i in range(9)]


def test_the_first_of_the_embedded_seeds_are_the_limit() -> None:
    whole = prompts(read_seeds(EMBEDDED_FILES / "seed.jsonl")[0])
    assert draw("embedded", 20, 0, "embedded") == whole[:20]


@pytest.mark.skipif(not DATA.is_dir(), reason="the real seeds are not on this machine")
@pytest.mark.parametrize(
    ("name", "count"), [("alpaca_en_demo_999.jsonl.gz", 999), ("raschka_instruction_1100.jsonl.gz", 1100)]
)
def test_real_seeds_are_read_whole(name: str, count: int) -> None:
    seeds, notes = read_seeds(DATA / name)
    dropped = sum(int(note.partition(": ")[2].split()[0]) for note in notes if "dropped" in note)
    assert len(seeds) + dropped == count
    assert len(seeds) > 0.95 * count
