"""A plan's rows are those of the true counts: exact where it says so, never too few where it says at most."""

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from fake_recipes import METHODS, write_recipe
from fake_recipes import run as run_recipe
from selfboost import plugins, recipe, store
from selfboost.plan import PlannedStage, plan
from selfboost.plan import rows as rows_of_plan
from selfboost.plan.counts import FEWEST, TRUE_COUNTS, line_through

COUNTS: dict[str, dict[str, tuple[int, ...]]] = {
    "synpo": {
        "method": {"prompts": (5, 40), "pairs": (1, 60), "more_prompts": (0, 2)},
        "method.search": {"pairs": (0, 30)},
        "method.self_instruct": {"prompts": (0, 9)},
    },
    "sampling_ranking": {"method": {"prompts": (5, 30), "pairs": (1, 40), "samples": (2, 4)}},
    "self_rewarding": {"method": {"prompts": (5, 20), "pairs": (1, 30), "samples": (2, 3)}},
    "iterative_dpo": {"method": {"pairs": (1, 40), "samples": (2, 4)}},
    "delta_learning": {"method": {"pairs": (1, 20)}},
    "cream": {"method": {"pairs": (1, 40), "samples": (2, 4)}},
    "temporal_self_rewarding": {"method": {"pairs": (1, 40), "samples": (2, 3)}},
    "self_distillation": {},
    "sgpo": {"method": {"pairs": (1, 20)}},
    "hint_delta": {"method": {"pairs": (1, 20)}},
    "seed_po": {"method": {"pairs": (1, 20)}},
    "seed_sft_po": {"method": {"pairs": (1, 20)}},
    "manual_data": {"method": {"pairs": (1, 12)}},
    "spin": {"method": {"prompts": (0, 14)}, "method.distributions": {"pairs": (0, 14), "prompts": (0, 14)}},
    "dnpo": {"method": {"prompts": (0, 14)}, "method.distributions": {"pairs": (0, 14), "prompts": (0, 14)}},
    "seed_sft": {},
}
"""Method → the counts of its recipe, and from where to where they are drawn."""


def drawn(method: str, data: st.DataObject, times: int = 1) -> dict[str, dict[str, Any]]:
    """Settings of a method's recipe, counts `times` as large among them."""
    small = ("more_prompts", "samples")
    found = {
        section: {
            name: data.draw(st.integers(low, high)) * (1 if name in small else times)
            for name, (low, high) in ranges.items()
        }
        for section, ranges in COUNTS[method].items()
    }
    if method == "synpo" and data.draw(st.booleans()):
        found["method.search"] |= {"betas": [1.0, 2.0]}
    if method == "sampling_ranking":
        found["method"]["gold_share"] = data.draw(st.sampled_from([0.0, 0.3]))
    windowed = "window" in {f.name for f in fields(plugins.load("method", method))}
    window = {"window": data.draw(st.sampled_from(["last", "last_two", "all"]))} if windowed else {}
    lists = {"method.generator": {"paragraphs": "embedded"}} if "prompts" in COUNTS[method].get("method", {}) else {}
    lists = {} if method in ("spin", "dnpo") else lists
    return {**found, **lists, "method": found.get("method", {}) | window}


def planned(path: Path) -> dict[str, PlannedStage]:
    return {stage.name: stage for stage in plan(recipe.read(path, trust="someones_squares")).stages}


QUICK = ("synpo", "dnpo", "seed_sft")
"""Methods whose plans are compared with runs in every test run."""


def test_the_planned_methods_are_all_there_are() -> None:
    assert COUNTS.keys() == METHODS.keys()


@pytest.mark.parametrize(
    "method", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]
)
@settings(max_examples=2, phases=[Phase.generate])
@given(st.data())
def test_rows_are_those_of_a_run_on_fakes(method: str, tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("run")
    path = write_recipe(folder, method, **{**drawn(method, data), "scorer": {"threshold": -1e9}})
    whole = {"method.improver.threshold": "-1e9"} if method == "synpo" else {}
    told = [f"{name}={value}" for name, value in whole.items()]
    run_recipe(path, folder / "run", *told)
    found = {stage.name: stage for stage in plan(recipe.read(path, told)).stages}
    real = {card.name: card.rows for card in store.cards(folder / "run")}
    assert {name for name in real if "/batch-" not in name} <= found.keys()
    for name in real.keys() & found.keys():
        if found[name].bound == "exact":
            assert real[name] == found[name].rows, name
        elif found[name].bound == "at most":
            assert real[name] <= found[name].rows, name
        else:
            assert "/batch-" in name, "the worse the first answers, the more prompts come later"


@pytest.mark.parametrize(
    "method", ["synpo", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sampling_ranking", "spin", "dnpo"))]
)
@settings(max_examples=1, phases=[Phase.generate])
@given(st.data())
def test_small_counts_lead_to_what_the_true_ones_come_to(
    method: str, tmp_path_factory: Any, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("plan")
    path = write_recipe(folder, method, **drawn(method, data, times=data.draw(st.integers(5, 13))))
    by_line = planned(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_of_plan, "line_through", lambda *_, **__: TRUE_COUNTS)
        as_they_are = planned(path)
    assert list(by_line) == list(as_they_are)
    assert {n: s.rows for n, s in by_line.items()} == {n: s.rows for n, s in as_they_are.items()}


@cache
def demo(*changes: str) -> dict[str, tuple[int, str]]:
    found = plan(recipe.read(recipe.find("demo"), changes))
    return {stage.name: (stage.rows, stage.bound) for stage in found.stages}


@pytest.mark.slow
def test_few_seeds_and_fewer_pairs_beside_many_prompts() -> None:
    found = demo("method.pairs=10", "method.prompts=10000")
    assert found["iteration-1/seed-answers"] == found["prepare/generator"] == found["prepare/seed_sft"] == (20, "exact")
    assert found["iteration-1/improver"] == (20, "at most")
    assert [found[f"iteration-{t}/policy"][0] for t in (1, 2, 3)] == [10, 20, 30]
    assert found["iteration-2/prompts"] == (10_000, "exact")
    assert found["iteration-2/pair-scores"] == (20_000, "at most")


@pytest.mark.slow
def test_counts_that_are_nearly_equal_are_told_apart() -> None:
    found = demo("method.pairs=10001", "method.prompts=10000", "method.more_prompts=0.0", "run.iterations=2")
    assert (found["iteration-1/policy"][0], found["iteration-2/policy"][0]) == (10_000, 20_000)
    found = demo("method.pairs=9999", "method.prompts=10000", "method.more_prompts=0.0", "run.iterations=2")
    assert (found["iteration-1/policy"][0], found["iteration-2/policy"][0]) == (9_999, 19_998)


def test_a_second_batch_of_prompts_is_planned_where_one_cannot_be_enough() -> None:
    found = demo("method.pairs=6000", "method.prompts=4000", "method.more_prompts=0.75", "run.iterations=1")
    # 1.2 times the 2,000 pairs that are missing, at most three quarters of the prompts; 6,000 pairs of 6,400.
    assert found["iteration-1/batch-2/prompts"][0] == 2_400
    assert found["iteration-1/policy"][0] == 6_000


@given(st.sets(st.integers(1, 200_000), min_size=1, max_size=6), st.integers(1, 8), st.sampled_from([1, 20]))
@example({10, 20, 10_000}, 3, 1)
@example({10_000, 10_001}, 4, 1)
@example({10_000, 10_000_000}, 4, 1)
@settings(max_examples=30)
def test_a_line_leads_to_the_true_counts_and_keeps_their_order(counts: set[int], multiples: int, grain: int) -> None:
    line = line_through(counts, {500}, multiples, grain)
    end = line.steps or 0
    for count in counts:
        assert line.few(count, end) == count
        assert min(count, FEWEST) <= line.few(count, 0) <= count
        assert (line.few(count, 1) - line.few(count, 0)) % grain == 0
        for other in counts:
            for times in range(1, multiples + 1):
                first = line.few(count, 0) * times - line.few(other, 0)
                assert first * (count * times - other) >= 0, "least ones of multiples are others at the end"


@given(
    st.lists(st.integers(1, 100_000), min_size=3, max_size=3, unique=True),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, FEWEST),
)
@settings(max_examples=50)
def test_rows_made_of_least_ones_multiples_and_sums_are_found(counts: list[int], a: int, b: int, constant: int) -> None:
    line = line_through(counts, (), 4)

    def rows(place: int) -> int:
        x, y, z = (line.few(count, place) for count in counts)
        return min(a * x, y) + b * z + min(z, constant)

    x, y, z = counts
    assert line.at_end([rows(place) for place in line.places]) == min(a * x, y) + b * z + min(z, constant)


def test_a_product_of_counts_is_not_passed_off_as_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "someones_squares.py").write_text(
        "from dataclasses import dataclass\n"
        "from selfboost import Method, Sampling\n"
        "from selfboost.setting_types import Count\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Squares(Method):\n"
        "    sides: Count = 40_000\n"
        "    def iterate(self, run):\n"
        "        prompts = [run.seeds[0].prompt] * (self.sides**2 // 1000)\n"
        "        run.sample('square', run.previous, prompts, Sampling())\n"
        "        return run.previous\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = write_recipe(tmp_path, "spin", method={"kind": "someones_squares:Squares"}, method__distributions={})
    path.write_text(path.read_text().replace("[method.distributions]\npairs = 0\nprompts = 0\n", ""))
    found = planned(path)
    assert found["iteration-1/square"].bound == "about"
    assert found["iteration-1/measure-held_out"].bound == "exact"
