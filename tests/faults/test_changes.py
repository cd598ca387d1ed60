"""A changed recipe runs again exactly what depends on the change, says what changed, and keeps the old results."""

from pathlib import Path

import pytest

from fake_recipes import results, run, write_recipe

PLACES = ("iteration-0", "iteration-1", "iteration-2", "beside-seed_sft")


def measured(place: str, *kinds: str) -> set[str]:
    """The stages of measuring a model."""
    inside = [f"{kind}{scores}" for kind in kinds or ("sampled", "greedy") for scores in ("", "-scores")]
    splits = ("validation", "held_out")
    return {f"{place}/measure-{split}" for split in splits} | {f"{place}/{s}-{name}" for s in splits for name in inside}


def stages(place: str, names: str) -> set[str]:
    """Names separated by spaces, at a place."""
    return {f"{place}/{name}" for name in names.split()}


POLICIES = (
    {"iteration-1/policy", "iteration-2/policy"}
    | measured("iteration-1")
    | measured("iteration-2")
    | stages("iteration-2", "seed-answers seed-scores improver drafts refined pair-scores")
)
"""Another first policy, and what follows from it: its own answers in iteration 2, not the prompts."""
PAIRS = POLICIES | stages("iteration-1", "refined pair-scores")
PROMPTS = PAIRS | {f"iteration-{t}/{name}" for t in (1, 2) for name in ("prompts", "drafts", "initial-answers")}
SCORES = {"prepare/gold-scores"} | {f"iteration-{t}/{name}" for t in (1, 2) for name in ("seed-scores", "pair-scores")}
CHANGES = [
    ("benchmark.temperature=0.9", set[str]().union(*(measured(p, "sampled") for p in PLACES)), "benchmark.temperature"),
    ("training.epochs=3", POLICIES, "iteration-1/policy runs again, changed: training.epochs"),
    ("loss.beta=7.0", POLICIES, "iteration-1/policy runs again, changed: loss.beta"),
    ("method.pairs=5", POLICIES, "iteration-1/policy runs again, changed: pairs"),
    ("scorer.threshold=0.8", POLICIES, "iteration-1/policy runs again, changed: pairs"),
    (
        "method.improver.sampling.top_p=0.9",
        PAIRS,
        "iteration-1/refined runs again, changed: sampling.top_p",
    ),
    (
        "method.generator.sampling.temperature=0.9",
        PROMPTS,
        "iteration-1/prompts runs again, changed: sampling.temperature",
    ),
    (
        "seed_models.sft.learning_rate=2e-6",
        {"prepare/seed_sft"} | SCORES | measured("beside-seed_sft"),
        "prepare/seed_sft runs again, changed: training.learning_rate",
    ),
    ("gate.margin=0.5", set[str](), ""),
    ("run.iterations=1", set[str](), ""),
    ("run.agreement=0.9", set[str](), ""),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe and the folder of its finished run."""
    folder = tmp_path_factory.mktemp("changes")
    path = write_recipe(folder, "synpo", run={"iterations": 2, "beside": ["seed_sft"]})
    run(path, folder / "run")
    return path, folder / "run"


@pytest.mark.parametrize(("change", "again", "says"), CHANGES, ids=[change for change, _, _ in CHANGES])
def test_exactly_what_depends_on_a_setting_runs_again_and_comes_back(
    whole: tuple[Path, Path], change: str, again: set[str], says: str
) -> None:
    path, root = whole
    before = results(root)
    heard = run(path, root, change)
    assert set(heard.started_stages) == again
    assert len(heard.started_stages) == len(again)
    assert any(sentence.startswith(says) or f"changed: {says}" in sentence for sentence in heard.said) or not again
    assert all(" runs again, changed: " in sentence for sentence in heard.said)
    back = run(path, root)
    assert (back.started_stages, back.said) == ([], [])
    assert run(path, root).alarms == [], "they have been said"
    assert results(root) == before


def test_a_changed_seed_file_runs_again_what_reads_it(tmp_path: Path) -> None:
    path, root = write_recipe(tmp_path, "spin", run={"iterations": 1}), tmp_path / "run"
    first = run(path, root)
    seed = tmp_path / "seed.jsonl"
    seed.write_text(seed.read_text().replace("It is gold 16.", "It is better gold 16."))
    heard = run(path, root)
    assert set(heard.started_stages) == {"iteration-1/policy"} | measured("iteration-1")
    assert heard.said[0] == "iteration-1/policy runs again, changed: pairs"
    assert set(heard.started_stages) < set(first.started_stages)


def test_a_nested_setting_leaves_its_neighbours_as_the_method_has_them(tmp_path: Path) -> None:
    from selfboost import recipe

    path = write_recipe(tmp_path, "spin")
    chosen = recipe.read(path, ["method.sampling.max_tokens=9", "seed_models.sft.epochs=2"])
    assert (chosen.method.sampling.temperature, chosen.method.sampling.max_tokens) == (1.0, 9)  # type: ignore[attr-defined]
    assert (chosen.seed_models.sft.batch_size, chosen.seed_models.sft.epochs) == (32, 2)
