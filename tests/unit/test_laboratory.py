"""The laboratory: its recipes are recipes, its sloppy golds and its judges are what they say, and no row gets lost."""

import json
from itertools import product
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from benchmarks import laboratory_judges, noise_regimes, noise_world
from benchmarks.laboratory import settings_of, unfinished
from benchmarks.laboratory_cells import Cell
from benchmarks.laboratory_compared import COMPARED, best, compared, over_others, passed_over
from benchmarks.laboratory_golds import seed_file, spoilt
from benchmarks.laboratory_groups import CELLS, GROUPS
from benchmarks.laboratory_rows import ALL, VALIDATION, Row, Rows, known, merged, read, standing, write
from benchmarks.laboratory_self_play import SELF_PLAY_GROUPS
from benchmarks.laboratory_tables import PAIRS, insides

from selfboost.data.seeds import read_seeds
from selfboost.demo import EMBEDDED_FILES
from selfboost.demo.checks import check
from selfboost.methods.parts.self_play import SelfPlay
from selfboost.recipe import Recipe, shipped
from selfboost.recipe import read as read_recipe

LINES = [json.loads(line) for line in (EMBEDDED_FILES / "seed.jsonl").read_text().splitlines()]
GOLDS = [(line["prompt"], line["response"]) for line in LINES]
SEEDS, _ = read_seeds(EMBEDDED_FILES / "seed.jsonl")


def test_every_cell_of_self_play_is_a_recipe_and_one_name_is_one_recipe(tmp_path: Path) -> None:
    found: dict[str, Recipe] = {}
    for cell in (cell for group in SELF_PLAY_GROUPS for cell in group.cells):
        recipe = read_recipe(shipped()["demo"], settings_of(tmp_path, cell, 0), trust="benchmarks")
        recipe.method.check(recipe, SEEDS)
        assert found.setdefault(cell.name, recipe) == recipe, cell.name


def test_every_other_cell_is_a_recipe(tmp_path: Path) -> None:
    for cell in (cell for group in GROUPS if group not in SELF_PLAY_GROUPS for cell in group.cells):
        recipe = read_recipe(shipped()["demo"], settings_of(tmp_path, cell, 0), trust="benchmarks")
        recipe.method.check(recipe, SEEDS)


def test_every_arm_of_the_noise_is_a_recipe() -> None:
    seen = {(case.labels, case.arm): case for case in noise_regimes.cases([0])}
    for case in seen.values():
        recipe = read_recipe(noise_regimes.RECIPE, case.settings, trust="benchmarks")
        assert isinstance(recipe.method, SelfPlay)
        recipe.method.check(recipe, SEEDS)


def test_a_spelling_is_right_where_it_is_spelled_right() -> None:
    prompt = noise_world.prompts("any", 1)[0]
    assert noise_world.share_right(prompt, noise_world.spelled(prompt, {}, Random(0))) == 1
    slips = dict.fromkeys(noise_world.RIGHT, 1.0)
    assert noise_world.share_right(prompt, noise_world.spelled(prompt, slips, Random(0))) == 0
    assert noise_world.share_right(prompt, "") == 0


def test_the_policy_that_stands_is_the_last_promoted() -> None:
    decisions = ["initial", "promoted", "kept", "promoted", "kept"]
    entries: Any = [SimpleNamespace(iteration=t, decision=decision) for t, decision in enumerate(decisions)]
    assert [standing(entries, t) for t in range(5)] == [0, 1, 1, 3, 3]


def test_the_first_run_seed_chooses_a_rate_and_the_others_leave_the_rest_out() -> None:
    slow, fast = COMPARED["full", "synpo"]
    found: list[Row] = []

    def add(cell: Cell, seed: int, validation: float) -> None:
        for measure, value in (("sampled", 0.5), (VALIDATION, validation)):
            row = Row(cell=cell.name, iteration=1, seed=seed, measure=measure, value=value, low=value, high=value)
            found.append(row)

    add(slow, 0, 0.6)
    assert best(Rows(found), "full", "synpo") is None  # the other rate was not tried
    assert not passed_over(Rows(found))
    add(fast, 0, 0.7)
    add(slow, 1, 0.9)  # a later seed has no say
    assert best(Rows(found), "full", "synpo") == fast.name
    assert passed_over(Rows(found)) == {slow.name}


def test_who_stops_where_the_validation_prompts_are_best_keeps_that_iteration() -> None:
    found: list[Row] = []
    for cell, t, measure in product(COMPARED["full", "spin"], range(3), ("sampled", VALIDATION)):
        value = (0.5, 0.7, 0.6)[t]
        made = Row(cell=cell.name, iteration=t, seed=0, measure=measure, value=value, low=value, high=value)
        found.append(made)
    last, stopped = (compared(Rows(found), stopped=stopped).splitlines() for stopped in (False, True))
    assert "| [SPIN](laboratory-commands.md#compared-spin) |  |  |  |  | 60.0 |  |" in last
    assert "| [SPIN](laboratory-commands.md#compared-spin) |  |  |  |  | 70.0 |  |" in stopped


def test_a_method_stands_beside_each_other_one_at_their_best_rates() -> None:
    found: list[Row] = []
    ends = {"synpo": (0.5, 0.7), "spin": (0.4, 0.6, 0.5)}
    for name, seed, measure in product(ends, range(2), ("sampled", VALIDATION)):
        for cell, value in zip(COMPARED["full", name], ends[name], strict=True):
            made = Row(cell=cell.name, iteration=1, seed=seed, measure=measure, value=value, low=value, high=value)
            found.append(made)
    told = over_others(Rows(found), "synpo").splitlines()
    assert told[0] == "| SynPO over | scarce gold | sloppy gold | full gold |"
    assert "| [SPIN](laboratory-commands.md#compared-spin) |  |  | **+10.0 [+10.0, +10.0]** |" in told
    assert "| [DNPO](laboratory-commands.md#compared-dnpo) |  |  |  |" in told
    assert not any(line.startswith("| [SynPO]") for line in told)
    assert over_others(Rows(), "synpo") == ""


@pytest.mark.parametrize(("seeds", "last"), [((3, 4), "| 50 | 3 4 |"), ((2, 3), "| 50 |")])
def test_a_table_says_which_run_seeds_its_means_are_of_where_they_differ(seeds: tuple[int, ...], last: str) -> None:
    cells = [CELLS["synpo"], CELLS["self-rewarding"]]
    found = [
        Row(cell=cell.name, iteration=1, seed=ALL, seeds=of, measure="right", value=0.5, low=0.5, high=0.5)
        for cell, of in zip(cells, ((2, 3), seeds), strict=True)
    ]
    assert insides(Rows(found), cells, PAIRS).splitlines()[-1].endswith(f") {last}")


def test_only_runs_without_rows_are_missing(tmp_path: Path) -> None:
    one, other = CELLS["spin"], CELLS["dnpo"]
    row = Row(cell=one.name, iteration=1, seed=0, measure="sampled", value=0.5, low=0.5, high=0.5)
    everything = [(one.name, 0), (other.name, 0), (one.name, 1), (other.name, 1)]
    assert unfinished(tmp_path, [one, other], [0, 1], Rows([row]), missing=False) == everything
    assert unfinished(tmp_path, [one, other], [0, 1], Rows([row]), missing=True) == everything[1:]


@pytest.mark.parametrize(("share", "there"), [(0.51234567, True), (0.6, False)])
def test_a_finished_run_is_read_again_only_if_its_rows_are_another_ones(share: float, there: bool) -> None:
    measured: Any = {"sampled": SimpleNamespace(value=share)}
    entries: Any = [SimpleNamespace(iteration=0, decision="initial", measures=measured)]
    row = Row(cell="spin", iteration=0, seed=0, measure="sampled", value=0.51235, low=0.5, high=0.5)
    assert known({row.key: row}, entries, "spin", 0) is there
    assert not known({row.key: row}, entries, "spin", 1)


def test_cells_are_compared_with_cells() -> None:
    assert {cell.against or group.against for group in GROUPS for cell in group.cells} <= CELLS.keys()


def test_no_title_breaks_a_table() -> None:
    assert not [cell.title for group in GROUPS for cell in group.cells if "|" in cell.title]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_a_stated_share_of_golds_fails_and_the_others_are_untouched(share: float) -> None:
    found = list(spoilt(GOLDS, share))
    failing = [gold for gold in found if not check(*gold)]
    assert [prompt for prompt, _ in found] == [prompt for prompt, _ in GOLDS]
    assert len(failing) == round(share * len(GOLDS))
    assert {gold for gold in found if gold not in failing} <= set(GOLDS)


def test_more_sloppiness_keeps_what_there_was() -> None:
    some, more = (
        {prompt: answer for prompt, answer in spoilt(GOLDS, share) if not check(prompt, answer)} for share in (0.3, 0.6)
    )
    assert some.items() <= more.items()


def test_the_seed_file_is_the_same_every_time(tmp_path: Path) -> None:
    first, again = (seed_file(tmp_path / name, 50, 0.3).read_bytes() for name in ("a", "b"))
    assert first == again
    assert len(first.splitlines()) == 50


@pytest.mark.parametrize(("golds", "share"), [(0, 0.3), (1021, 0.3), (50, 1.1)])
def test_impossible_seeds_are_refused(tmp_path: Path, golds: int, share: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        seed_file(tmp_path, golds, share)


def test_judges_err_about_as_many_answers_as_they_say() -> None:
    answers = [*GOLDS, *spoilt(GOLDS, 1.0)]
    wrong_before: set[tuple[str, str]] = set()
    for percent in (100, 90, 75, 60):
        judge = getattr(laboratory_judges, f"right_in_{percent}")
        wrong = {gold for gold in answers if judge(*gold) is not check(*gold)}
        share = percent / 100
        assert abs(1 - len(wrong) / len(answers) - share) <= 3 * (share * (1 - share) / len(answers)) ** 0.5
        assert wrong_before <= wrong
        wrong_before = wrong


def test_a_judge_says_nothing_of_what_is_no_task() -> None:
    assert laboratory_judges.right_in_75("sing me a song", "la la") is None


def row(cell: str, value: float, seed: int = 0) -> Row:
    return Row(cell=cell, iteration=1, seed=seed, measure="sampled", value=value, low=0.0, high=1.0)


def test_a_run_of_some_cells_and_seeds_keeps_the_rows_of_the_others(tmp_path: Path) -> None:
    old = [row("gone", 0.1), row("kept", 0.2), row("again", 0.3), row("again", 0.4, seed=7)]
    write(tmp_path / "rows.json", old)
    found = merged(read(tmp_path / "rows.json"), [row("again", 0.5), row("new", 0.6)], ["new", "kept", "again"])
    assert found == [row("new", 0.6), row("kept", 0.2), row("again", 0.5), row("again", 0.4, seed=7), row("gone", 0.1)]


def test_what_holds_for_all_seeds_is_put_together_unless_they_share_one() -> None:
    old = Row(cell="a", iteration=1, seed=ALL, seeds=(0, 1), measure="right", value=0.2, low=0.1, high=0.3)
    more = Row(cell="a", iteration=1, seed=ALL, seeds=(2,), measure="right", value=0.5, low=0.5, high=0.5)
    both = Row(cell="a", iteration=1, seed=ALL, seeds=(0, 1, 2), measure="right", value=0.3, low=0.1, high=0.5)
    assert merged([old], [more], ["a"]) == [both]
    assert merged([both], [more], ["a"]) == [more]
