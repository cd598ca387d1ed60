"""Two runs compared prompt by prompt; what cannot be compared is refused."""

import json
from pathlib import Path

import pytest

from fake_recipes import run, write_recipe
from selfboost import store
from selfboost.cli import main
from selfboost.records import Rated
from selfboost.views.comparison import compare


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compared")
    for name, method in (("synpo", "synpo"), ("sft", "seed_sft")):
        run(write_recipe(root / "recipes" / name, method), root / name)
    run(write_recipe(root / "recipes" / "longer", benchmark={"samples": 3}), root / "longer")
    run(
        write_recipe(root / "recipes" / "other", seed={"held_out": 2, "validation": 2}, run={"seed": 5}), root / "other"
    )
    return root


def rated(root: Path, iteration: int) -> dict[str, Rated]:
    card = store.read_card(root / "stages" / f"iteration-{iteration}" / "measure-held_out")
    assert card is not None
    return {each.prompt: each for each in store.read_rows(root, card, Rated)}


def mean(values: tuple[float | None, ...]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def test_the_difference_is_the_mean_over_prompts_of_second_minus_first(folders: Path) -> None:
    found = compare(folders / "sft", folders / "synpo")
    one, other = rated(folders / "sft", 1), rated(folders / "synpo", 2)
    for name, each in found.items():
        by_hand = [mean(other[prompt].values[name]) - mean(one[prompt].values[name]) for prompt in one]
        assert each.difference.value == pytest.approx(sum(by_hand) / len(by_hand))
        assert each.difference.count == len(one) == 4
    assert {"sampled", "greedy", "length", "ended"} == set(found)
    back = compare(folders / "synpo", folders / "sft")
    assert all(back[name].difference.value == pytest.approx(-each.difference.value) for name, each in found.items())


def test_a_run_does_not_differ_from_itself(folders: Path) -> None:
    found = compare(folders / "synpo", folders / "synpo")
    assert all(
        (e.difference.value, e.difference.low, e.difference.high, e.difference.p) == (0, 0, 0, 1)
        for e in found.values()
    )


def test_as_json_and_as_a_table(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = [str(folders / "sft"), str(folders / "synpo")]
    with pytest.raises(SystemExit) as end:
        main(["compare", *folder, "--json"])
    assert end.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert {"difference", "low", "high", "n"} <= found["sampled"].keys()
    with pytest.raises(SystemExit):
        main(["compare", *folder])
    shown = capsys.readouterr().out
    assert "score of sampled answers (%)" in shown
    assert "percentage points" in shown


def test_other_settings_of_the_benchmark_are_named(folders: Path) -> None:
    with pytest.raises(ValueError, match=r"measured differently \(benchmark.samples\)"):
        compare(folders / "synpo", folders / "longer")


def test_runs_without_a_common_prompt_are_refused(folders: Path) -> None:
    with pytest.raises(ValueError, match="no held-out prompt in common"):
        compare(folders / "synpo", folders / "other")


def test_what_is_no_run_is_refused(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run's folder"):
        compare(folders / "synpo", tmp_path)
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(ValueError, match="measured no model yet"):
        compare(tmp_path, folders / "synpo")
