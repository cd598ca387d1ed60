"""Plain self-instruct: what is asked, where an item ends, what is read and counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_recipes import Heard, write_recipe
from selfboost import recipe, store
from selfboost.prompts.self_instruct import STAGE, SelfInstruct, SelfInstructed, known_prompts, read_prompts
from selfboost.records import Answer, Origin, Sampling, user_prompt
from selfboost.run import Run

REQUEST = user_prompt("Come up with tasks.", Origin(source="shown"))
TAGGED: dict[str, Any] = {"item": "<task> {prompt} </task>", "template": "{items}", "separator": " "}


def answer(text: str, finish: str = "stop") -> Answer:
    return Answer(prompt=REQUEST, text=text, prompt_ids=(), token_ids=(1,), finish=finish)  # type: ignore[arg-type]


def open_run(folder: Path, **sections: dict[str, Any]) -> Run:
    run = Run(recipe.read(write_recipe(folder, "spin", **sections)), folder / "run", Heard())
    run.begin(1, run.initial)
    return run


def stored(run: Run) -> Sequence[Answer]:
    card = store.read_card(run.root / "stages" / STAGE)
    assert card is not None
    return store.read_rows(run.root, card, Answer)


def test_every_answer_is_counted_once_and_every_kept_prompt_is_new(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    written = SelfInstruct(prompts=50).write(run)
    note = run.notes.get(SelfInstructed)
    assert note is not None
    counts = dict(note.counts)
    answers = stored(run)
    assert counts.pop("answers") == sum(counts.values()) == len(answers) == 50
    assert counts["kept"] == len(written) == len({prompt.text for prompt in written}) > 0
    assert {prompt.origin.parent for prompt in written} <= {answer.id for answer in answers}
    assert {prompt.origin.source for prompt in written} == {"self-instruct"}
    known = {example.prompt.text for example in (*run.seeds, *run.validation, *run.held_out)}
    assert not known & {prompt.text for prompt in written}
    again = open_run(tmp_path)
    assert SelfInstruct(prompts=50).write(again) == written
    assert not again.listener.started_stages  # type: ignore[attr-defined]


def test_none_are_written_unless_wanted(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    assert SelfInstruct().write(run) == []
    assert run.notes.kept == {}
    assert not (run.root / "stages").exists()


def test_a_request_shows_different_seeds_in_order_and_the_answer_begins_the_next_item(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    seeds = {seed.prompt.text for seed in run.seeds}
    requests = SelfInstruct(prompts=5, shown=3).requests(run)
    assert len({request.text for request in requests}) == 5
    for request in requests:
        items = request.text.splitlines()[-3:]
        shown = [item.partition(": ")[2] for item in items]
        assert [item.partition(": ")[0] for item in items] == ["Task 1", "Task 2", "Task 3"]
        assert len(set(shown) & seeds) == 3
        assert request.prefix == "Task 4:"


@pytest.mark.parametrize(
    ("settings", "prefix", "stop"),
    [({}, "Task 11:", "Task 12:"), (TAGGED, "<task>", "</task>"), ({"item": "* {prompt}"}, "*", "*")],
)
def test_an_item_ends_where_the_next_begins_even_where_seeds_are_few(
    tmp_path: Path, settings: dict[str, Any], prefix: str, stop: str
) -> None:
    run = open_run(tmp_path)
    assert len(run.seeds) == 10
    SelfInstruct(prompts=2, shown=50, sampling=Sampling(stop=("END",)), **settings).write(run)
    for found in stored(run):
        assert found.prompt.prefix == prefix
        assert found.sampling is not None
        assert found.sampling.stop == ("END", stop)
        assert stop not in found.text


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (answer(" Name a fruit. \n"), "kept"),
        (answer("two\nlines"), "kept"),
        (answer(" \n"), "empty"),
        (answer("Name a", "length"), "cut at the token limit"),
        (answer("", "failed"), "failed"),
        (answer("known "), "equals a held_out prompt"),
    ],
)
def test_reads_a_prompt_or_says_why_not(found: Answer, reason: str) -> None:
    known = known_prompts([user_prompt("known", Origin(source="held_out"))])
    kept, counts = read_prompts([found], known)
    assert counts == {reason: 1}
    assert [prompt.text for prompt in kept] == ([found.text.strip()] if reason == "kept" else [])


@given(st.lists(st.sampled_from(["a", "b", " a", "", "c"])))
def test_a_prompt_is_kept_once(texts: list[str]) -> None:
    kept, counts = read_prompts([answer(text) for text in texts], {"c": "equals a seed prompt"})
    assert [prompt.text for prompt in kept] == list(dict.fromkeys(t.strip() for t in texts if t.strip() in ("a", "b")))
    assert sum(counts.values()) == len(texts)
    assert counts.get("kept", 0) == len(kept)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"template": "no field"}, "template: has the fields"),
        ({"item": "Task {number}"}, "item: has the fields"),
        ({"item": "{prompt}"}, "must have text beside"),
        ({"item": " {prompt}\n"}, "must have text beside"),
        ({"item": "{prompt} {"}, "item: "),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SelfInstruct(**settings)  # type: ignore[arg-type]
