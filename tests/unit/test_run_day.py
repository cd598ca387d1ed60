"""One day for a run, the same in all its stages however long it takes; given answers that a run changes are said."""

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from engine_models import TEMPLATE, WORDS, save_llama

from fake_recipes import Heard, results
from selfboost import loop, recipe, store
from selfboost.disk.json_files import read_json
from selfboost.engines.local import Local
from selfboost.engines.run_day import codes, on_day
from selfboost.loop import boost
from selfboost.records import Answer, Message, Model, Pair

RECIPE = """
[run]
iterations = 1
[model]
path = "MODEL"
[seed]
path = "seed.jsonl"
validation = 2
held_out = 2
[method]
kind = "spin"
sampling = {temperature = 1.0, max_tokens = 6}
distributions = {pairs = 0, prompts = 0}
[loss]
kind = "dpo"
[training]
learning_rate = 1e-3
batch_size = 4
[scorer]
kind = "likelihood"
policy = "initial"
[benchmark]
kind = "held_out"
samples = 1
greedy = false
max_tokens = 4
scorer = {kind = "likelihood", policy = "initial"}
[engine]
kind = "local"
batch_size = 8
[trainer]
kind = "local"
"""
DATED = "{% set day = strftime_now('%d') | int %}{{ 'w' ~ day ~ ' ' }}" + TEMPLATE
"""Begins with the word w5 on the fifth of a month."""
FIRST, LATER = date(2031, 5, 5), date(2031, 5, 9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_llama(tmp_path / "model")
    settings = tmp_path / "model" / "chat_template.jinja"
    settings.write_text(DATED)
    seeds = [{"prompt": f"w{i} w{i + 1}", "response": f"w{i + 2} w{i + 3}"} for i in range(12)]
    (tmp_path / "seed.jsonl").write_text("\n".join(map(json.dumps, seeds)))
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("MODEL", str(tmp_path / "model")))
    return tmp_path


def run_on(day: date, folder: Path, patch: pytest.MonkeyPatch, *settings: str) -> Heard:
    heard = Heard()
    with patch.context() as on_that_day:
        on_that_day.setattr(loop, "today", lambda: day)
        boost(recipe.read(folder / "recipe.toml", settings), folder / "run", heard)
    return heard


def rows(folder: Path, stage: str, kind: type[Any]) -> list[Any]:
    card = store.read_card(folder / "run" / "stages" / stage)
    assert card is not None
    return store.read_rows(folder / "run", card, kind)


def first_words(folder: Path) -> set[int]:
    """The first id of every prompt in the run: what the template wrote for the day."""
    drawn = rows(folder, "iteration-1/own-answers", Answer)
    pairs = rows(folder, "iteration-1/policy", Pair)
    assert {pair.prompt_ids for pair in pairs} <= {answer.prompt_ids for answer in drawn}
    sides = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    return {one.prompt_ids[0] for one in (*drawn, *pairs, *sides)}


def test_a_run_that_is_resumed_on_another_day_repeats_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between two stages, the ids before and after are those of the day it started; so says the run."""
    heard = run_on(FIRST, folder, monkeypatch)
    whole = results(folder / "run")
    word = 5 + WORDS.index("w5")  # behind the special ones
    assert first_words(folder) == {word}
    said = "the chat template can show the date: it is 2031-05-05 in all stages of the run (run.date)"
    assert said in heard.said
    assert said in read_json(folder / "run" / "run.json")["said"]
    again = run_on(LATER, folder, monkeypatch)
    assert again.started_stages == []
    shutil.rmtree(folder / "run" / "stages" / "iteration-1" / "policy")
    later = run_on(LATER, folder, monkeypatch)
    assert later.started_stages == ["iteration-1/policy"]
    card = "stages/iteration-1/policy/stage.json"
    assert {k: v for k, v in results(folder / "run").items() if k != card} == {
        k: v for k, v in whole.items() if k != card
    }
    assert results(folder / "run")[card]["fingerprint"] == whole[card]["fingerprint"]
    assert not [sentence for sentence in later.said if "runs again" in sentence]


def test_the_day_is_a_setting_of_the_recipe_that_a_run_writes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_on(FIRST, folder, monkeypatch)
    written = folder / "run" / "recipe.toml"
    assert recipe.read(written).run.date == "2031-05-05"
    changed = run_on(LATER, folder, monkeypatch, "run.date=2031-05-07")
    assert "iteration-1/policy" in changed.started_stages
    assert first_words(folder) == {5 + WORDS.index("w7")}
    written.write_text(written.read_text().partition("\n")[0] + "\n[run")  # damaged: the run starts a new one
    assert run_on(LATER, folder, monkeypatch).started_stages
    assert first_words(folder) == {5 + WORDS.index("w9")}


@pytest.mark.parametrize("day", ["today", "2031-5-5", "20310505", "2031-02-30"])
def test_a_wrong_day_is_refused(day: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=rf"run: date = '{day}': must be a day such as '2026-01-31', or empty"):
        recipe.read(folder / "recipe.toml", [f'run.date="{day}"'])


def test_a_model_that_is_handed_out_shows_the_runs_day(folder: Path) -> None:
    path = str(folder / "model")
    with on_day(FIRST), Local().load(Model(name="dated", path=path, fingerprint="")) as loaded:
        text = loaded.tokenizer.apply_chat_template([{"role": "user", "content": "w1"}], tokenize=False)
        own = Local().tokenizer(Model(name="dated", path=path, fingerprint=""))
        assert text.startswith("w5 ")
        assert own.rendered([Message(role="user", content="w1")]).startswith(text)


def test_every_code_of_strftime_is_that_days() -> None:
    found = codes(FIRST)
    assert (found["%d"], found["%-d"], found["%B"], found["%Y"], found["%H:%M"[:2]]) == ("05", "5", "May", "2031", "12")
    assert list(found)[-1] == "%%"


def test_a_run_says_and_keeps_what_it_changed_in_given_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows_of_seed = [json.loads(line) for line in (folder / "seed.jsonl").read_text().splitlines()]
    marked = [{**row, "response": row["response"] + " <end>"} for row in rows_of_seed[:3]]
    (folder / "seed.jsonl").write_text("\n".join(map(json.dumps, [*marked, *rows_of_seed[3:]])))
    heard = run_on(FIRST, folder, monkeypatch)
    told = "3 of 12 given answers ended with the text of an end token, which was taken off"
    assert told in heard.said
    assert told in read_json(folder / "run" / "run.json")["said"]
    for pair in rows(folder, "iteration-1/policy", Pair):
        assert "<end>" not in pair.chosen.text
        assert pair.chosen.token_ids.count(2) == 1
