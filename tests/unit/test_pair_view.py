"""One pair on a terminal: found by its id, whole provenance, the tokens that were trained on, nothing hostile."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from small_run import EVIL, evil_pair, finished_run

from selfboost import store
from selfboost.records import Pair
from selfboost.train.packs.rows import pair_items
from selfboost.views.pair_view import find_pair, pair_view, print_pair


def shown(root: Path, pair_id: str, **given: object) -> str:
    console = Console(width=80, record=True, highlight=False, force_terminal=False)
    console.print(pair_view(root, pair_id, **given))
    return console.export_text()


def trained_pairs(root: Path) -> list[Pair]:
    [card] = [card for card in store.cards(root) if card.verb == "prefer"]
    return store.read_rows(root, card, Pair)


def stage_of(root: Path, pairs: list[Pair], name: str, max_length: int = 2048) -> None:
    stage = store.Stage(root, name, "prefer", {"training": {"max_length": max_length}, "name": name})
    stage.append(pairs)
    stage.finish(rows=len(pairs), tokens=0, seconds=0, result=store.ROWS, notes={})


def tokens(text: str, mark: str) -> list[int]:
    return [int(found) for found in re.findall(rf"{mark} (\d+)", text)]


def test_every_pair_is_found_by_its_id_with_and_without_its_beginning() -> None:
    for pair in trained_pairs(finished_run()):
        for wanted in (pair.id, pair.id.removeprefix("pair-"), pair.id[:-1]):
            found, [card] = find_pair(finished_run(), wanted)
            assert found == pair
            assert card.name == "iteration-1/policy"


def test_the_tokens_shown_are_those_trained_on_with_their_mask() -> None:
    pair = trained_pairs(finished_run())[0]
    text = shown(finished_run(), pair.id)
    rows = pair_items([pair], 2048)[0].rows
    assert tokens(text, "○") == [i for row in rows for i in row.prompt_ids]
    assert tokens(text, "●") == [i for row in rows for i in row.token_ids]
    assert "only ids are shown" in text


def test_tokens_are_cut_as_the_training_cut_them(tmp_path: Path) -> None:
    stage_of(tmp_path, [evil_pair()], "iteration-1/policy", max_length=4)
    text = shown(tmp_path, evil_pair().id)
    assert (tokens(text, "○"), tokens(text, "●")) == ([3, 4, 3, 4], [5, 6, 8, 9])
    assert "Truncated to max_length = 4" in text


def test_provenance_is_whole() -> None:
    pair = trained_pairs(finished_run())[0]
    text = shown(finished_run(), pair.id)
    assert pair.rejected.sampling is not None
    for part in (
        pair.prompt.id,
        pair.chosen.id,
        pair.rejected.id,
        "a person",
        str(pair.rejected.seed),
        "temperature 1",
    ):
        assert part in text


def test_a_pair_names_every_stage_it_was_trained_in_and_the_request_behind_an_answer(tmp_path: Path) -> None:
    stage_of(tmp_path, [evil_pair()], "iteration-1/policy")
    stage_of(tmp_path, [evil_pair(), replace(evil_pair(), iteration=2)], "iteration-2/policy")
    text = shown(tmp_path, evil_pair().id)
    assert "iteration-1/policy, iteration-2/policy" in text
    assert "written for" in text
    assert "score gap      +1.2500 by implicit" in text


def test_text_of_a_model_cannot_act_on_a_terminal(tmp_path: Path) -> None:
    stage_of(tmp_path, [evil_pair()], "iteration-1/policy")
    text = shown(tmp_path, evil_pair().id, decode=lambda ids: EVIL)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]" in text
    assert "\\x1b[31m\\u202e" in text


def test_printing_opens_the_tokenizer_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    print_pair(finished_run(), trained_pairs(finished_run())[0].id)
    printed = capsys.readouterr().out
    assert f"○ {ord('s')} “s”" in printed
    assert "260 (special)" in printed


def test_unknown_and_ambiguous_ids_are_answered_with_what_there_is(tmp_path: Path) -> None:
    count = len(trained_pairs(finished_run()))
    with pytest.raises(ValueError, match=rf"no such pair among the {count} of this run; nearest: pair-"):
        find_pair(finished_run(), "pair-nothing")
    with pytest.raises(ValueError, match=rf"{count} pairs begin with this"):
        find_pair(finished_run(), "pair-")
    with pytest.raises(ValueError, match="is not a run's folder"):
        find_pair(tmp_path, "pair-")
    (tmp_path / "stages").mkdir()
    with pytest.raises(ValueError, match="no stage of this run has been trained on pairs"):
        find_pair(tmp_path, "pair-1")
