"""What data hold besides a prompt and an answer is used rightly, refused, or named with how often it was left out."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fake_recipes import run, summary, write_recipe
from selfboost.data.paragraphs import read_paragraphs
from selfboost.data.preferences import Preference, read_preferences
from selfboost.data.seeds import Seed, read_prompts, read_seeds
from selfboost.records import Message

needs_datasets = pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="datasets is not installed")


def wrote(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def said(role: str, content: str, **keys: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **keys}


def talk(*turns: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role=role, content=content) for role, content in turns)


def talked(*answer: dict[str, Any], row: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"messages": [said("user", "Where?"), *answer], **(row or {})}


SEVERAL_TURNS = "are conversations of several turns: the last answer is the good one, those before it are context"

# Keys of messages.


def test_unknown_keys_and_columns_are_counted_once_for_stored_rows(tmp_path: Path) -> None:
    thought = [said("assistant", "Here.", reasoning_content="Hm."), said("user", "Sure?", name="Ann")]
    rows = [
        talked(*thought, said("assistant", "Yes.", reasoning_content="Hm.", thinking=""), row={"meta": {"a": 1}}),
        talked(said("assistant", "There.", name=None), row={"meta": None, "tags": []}),
        talked(said("assistant", "Here again.", reasoning_content="So."), row={"meta": 3}),
    ]
    path = wrote(tmp_path / "s.jsonl", *rows)
    seeds, notes = read_seeds(path)
    assert [seed.response for seed in seeds] == ["Yes.", "There."]
    assert notes == [
        f"{path}: 1 of 3 seeds dropped: same prompt as an earlier seed, different answer",
        f"{path}: 1 of 3 rows {SEVERAL_TURNS}",
        f"{path}: left out: 'meta' in 2 of 3 rows, 'name' of messages in 1 of 3 rows, "
        "'reasoning_content' of messages in 2 of 3 rows",
    ]
    pq.write_table(pa.Table.from_pylist(rows[1:]), tmp_path / "s.parquet")  # all rows have all keys there
    assert "'name'" not in read_seeds(tmp_path / "s.parquet")[1][-1]


@pytest.mark.parametrize("key", ["weight", "weights"])
def test_answers_of_weight_0_are_not_trained(key: str, tmp_path: Path) -> None:
    earlier = talked(said("assistant", "Here.", **{key: 0}), said("user", "So?"), said("assistant", "So.", **{key: 1}))
    rows = [earlier, talked(said("assistant", "No.", **{key: 0})), talked(said("assistant", "Half.", **{key: 0.5}))]
    path = wrote(tmp_path / "s.jsonl", *rows)
    seeds, notes = read_seeds(path)
    assert [seed.response for seed in seeds] == ["So.", "Half."]
    assert notes == [
        f"{path}: 1 of 2 rows {SEVERAL_TURNS}",
        f"{path}: left out: '{key}' of messages in 1 of 2 rows",
        f"{path}: 1 rows dropped: weight 0 says not to train their answer",
    ]
    measured, _ = read_seeds(path, need_response=False)
    assert len(measured) == 2, "a prompt is measured whatever its answer's weight"


@pytest.mark.parametrize(
    ("turn", "sentence"),
    [
        (
            said("assistant", "Look.", tool_calls=[{"name": "look"}]),
            r"message 2: has tool_calls, but tools are not tra",
        ),
        ({"role": "assistant", "content": None, "function_call": {"name": "f"}}, r"message 2: has function_call, but"),
        (said("tool", "42"), r"message 2: role 'tool'; allowed: system, user, assistant"),
        (said("user", "42", tool_call_id="c1"), r"message 2: has tool_call_id, but tools are not trained; take such"),
    ],
)
def test_tools_are_refused(turn: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = wrote(tmp_path / "s.jsonl", talked(turn, said("assistant", "It is 42.")))
    with pytest.raises(ValueError, match=sentence):
        read_seeds(path)
    assert read_seeds(wrote(path, talked(said("assistant", "42.", tool_calls=[]))))[1] == []


# System columns.


@pytest.mark.parametrize("column", ["system", "system_prompt"])
def test_a_system_column_is_the_system_message(column: str, tmp_path: Path) -> None:
    told = {column: "Be short."}
    rows = [
        {"prompt": "One?", "response": "1.", **told},
        {"instruction": "Two", "input": "of what?", "output": "2.", **told},
        {"messages": [said("user", "Three?"), said("assistant", "3.")], **told},
        {"messages": [said("system", "Be long."), said("user", "Four?"), said("assistant", "4.")], **told},
        {"prompt": "Five?", "response": "5.", column: " "},
    ]
    path = wrote(tmp_path / "s.jsonl", *rows)
    seeds, notes = read_seeds(path)
    assert [seed.messages[0].content for seed in seeds] == ["Be short."] * 3 + ["Be long.", "Five?"]
    assert seeds[1] == Seed(messages=talk(("system", "Be short."), ("user", "Two\n\nof what?")), response="2.")
    assert notes == [
        f"{path}: rows of several forms: prompt/response in 2, instruction/output in 1, messages in 2",
        f"{path}: a system message in 4 of 5 rows",
        f"{path}: left out: '{column}' in 2 of 5 rows",
    ]
    with pytest.raises(ValueError, match=f"line 1: {column} is int, must be text"):
        read_seeds(wrote(path, {"prompt": "One?", "response": "1.", column: 3}))


# Preferences.


ASK, HI, MORE = ("user", "Ask."), ("assistant", "Well."), ("user", "And?")
GOOD, BAD = said("assistant", "Good."), said("assistant", "Bad.")
LONG = [said(*turn) for turn in (HI, MORE)]


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        (
            {"prompt": "Ask.", "chosen": "Good.", "rejected": "Bad.", "system": "Be kind."},
            [("system", "Be kind."), ASK],
        ),
        ({"prompt": [said(*ASK)], "chosen": [GOOD], "rejected": [BAD]}, [ASK]),
        ({"prompt": [said(*ASK)], "chosen": GOOD, "rejected": BAD}, [ASK]),
        ({"prompt": [said(*ASK)], "chosen": "Good.", "rejected": "Bad."}, [ASK]),
        ({"prompt": "Ask.", "chosen": [GOOD], "rejected": [BAD]}, [ASK]),
        ({"prompt": [said(*ASK)], "chosen": [*LONG, GOOD], "rejected": [*LONG, BAD]}, [ASK, HI, MORE]),
        ({"prompt": [said(*ASK), *LONG], "chosen": [GOOD], "rejected": [BAD]}, [ASK, HI, MORE]),
        ({"prompt": [said(*ASK)], "chosen": [said(*ASK), GOOD], "rejected": [said(*ASK), BAD]}, [ASK]),
        ({"prompt": "Ask.", "chosen": [said(*ASK), GOOD], "rejected": [said(*ASK), BAD]}, [ASK]),
        ({"chosen": [said(*ASK), *LONG, GOOD], "rejected": [said(*ASK), *LONG, BAD]}, [ASK, HI, MORE]),
        (
            {"system": "Be kind.", "prompt": [said(*ASK)], "chosen": [GOOD], "rejected": [BAD]},
            [("system", "Be kind."), ASK],
        ),
    ],
)
def test_a_preference_keeps_its_whole_conversation(
    row: dict[str, Any], messages: list[tuple[str, str]], tmp_path: Path
) -> None:
    found, wrong, notes = read_preferences(wrote(tmp_path / "p.jsonl", row))
    assert found == [Preference(messages=talk(*messages), chosen="Good.", rejected="Bad.")]
    assert (wrong, notes) == (0, [])


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"prompt": [said(*ASK)], "chosen": [said(*MORE), GOOD], "rejected": [said(*MORE), BAD]},
            "chosen neither continues nor repeats the messages of prompt",
        ),
        (
            {"prompt": [said(*ASK)], "chosen": [*LONG, GOOD], "rejected": [BAD]},
            "chosen and rejected answer different conversations",
        ),
        ({"chosen": [GOOD], "rejected": [BAD]}, "line 1 chosen: the message before the answer must be the user's"),
    ],
)
def test_a_preference_that_does_not_fit_its_prompt_is_refused(row: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_preferences(wrote(tmp_path / "p.jsonl", row))


def test_a_run_says_and_notes_which_columns_of_pairs_it_left_out(tmp_path: Path) -> None:
    rows = [{"prompt": f"Ask {i}?", "chosen": "Yes it is.", "rejected": "No.", "margin": 2} for i in range(4)]
    path = wrote(tmp_path / "pairs" / "train.jsonl", *rows[:3])
    wrote(tmp_path / "pairs" / "test.jsonl", rows[3])
    heard = run(write_recipe(tmp_path, "manual_data", method={"data": str(path.parent)}), tmp_path / "run")
    told = [
        f"{path.parent}: left out: test.jsonl; give a file's own path to read it",
        f"{path.parent}: left out: 'margin' in 3 of 3 rows",
    ]
    assert [sentence for sentence in heard.said if "left out" in sentence] == told
    assert summary(tmp_path / "run")["iterations"][1]["notes"]["data"] == {"sentences": "; ".join(told)}


# Folders.


def row(text: str) -> dict[str, str]:
    return {"prompt": text, "response": "Answer."}


def texts(folder: Path) -> list[str]:
    return [seed.messages[-1].content for seed in read_seeds(folder)[0]]


@pytest.mark.parametrize(
    ("main", "others"),
    [
        (["train.jsonl"], ["test.jsonl"]),
        (["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"], ["validation-00000-of-00001.jsonl"]),
        (["train.json"], ["dev.jsonl", "notes.jsonl", "test.csv"]),
    ],
)
def test_of_several_splits_only_train_is_read_and_the_others_are_named(
    main: list[str], others: list[str], tmp_path: Path
) -> None:
    for name in (*main, *others):
        wrote(tmp_path / name, row(f"of {name}"))
    assert texts(tmp_path) == [f"of {name}" for name in main]
    notes = read_seeds(tmp_path)[1]
    assert notes[-1] == f"{tmp_path}: left out: {', '.join(others)}; give a file's own path to read it"
    assert sorted(read_prompts(tmp_path)) == sorted(
        f"of {name}" for name in (*main, *others) if not name.endswith("csv")
    ), "a benchmark is kept away from with all its splits"


def test_splits_without_a_train_are_refused(tmp_path: Path) -> None:
    for name in ("train_sft-00000-of-00001.jsonl", "test_sft-00000-of-00001.jsonl", "train_gen-00000-of-00001.jsonl"):
        wrote(tmp_path / name, row(name))
    with pytest.raises(
        ValueError, match=r"holds the splits test_sft, train_gen, train_sft \(.*\); give the file of one"
    ):
        read_seeds(tmp_path)


def test_several_files_are_named_with_their_rows(tmp_path: Path) -> None:
    wrote(tmp_path / "b.jsonl", row("1"), row("2"))
    wrote(tmp_path / "a.jsonl", row("0"))
    wrote(tmp_path / "deep" / "c.jsonl", row("3"))
    wrote(tmp_path / "dataset_infos.json", {"default": {}})
    (tmp_path / "README.md").write_text("Two files.")
    seeds, notes = read_seeds(tmp_path)
    assert [seed.messages[-1].content for seed in seeds] == ["0", "1", "2"]
    assert notes == [
        f"{tmp_path}: 2 files read: a.jsonl (1 rows), b.jsonl (2 rows)",
        f"{tmp_path}: left out: deep/; give a file's own path to read it",
    ]


@needs_datasets
def test_a_folder_of_save_to_disk_is_read_as_a_seed_and_refused_for_paragraphs(tmp_path: Path) -> None:
    import datasets

    one = datasets.Dataset.from_list([row("1")])
    one.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(train=one).save_to_disk(str(tmp_path / "all"))
    for folder in (tmp_path / "one", tmp_path / "all", tmp_path / "all" / "train"):
        assert texts(folder) == ["1"]
        with pytest.raises(ValueError, match=r"is a folder of datasets' save_to_disk \(Arrow files\), which is not"):
            list(read_paragraphs(folder))
