"""What holds for every component file, found by folder as a recipe finds it."""

import ast
import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from fake_recipes import METHODS, write_recipe
from fake_recipes import run as run_recipe
from judged_recipes import write_judged
from selfboost import plugins, recipe
from selfboost.benchmarks.held_out import HeldOut
from selfboost.endpoints import Endpoint
from selfboost.endpoints.fake_server import FakeServer
from selfboost.losses.simpo import SimPO
from selfboost.new_recipe import RecipeRequest, write_new_recipe
from selfboost.recipe_text import field_docs
from selfboost.run import Run
from selfboost.scorers import work_of
from selfboost.scorers.judge import Judge
from selfboost.stages import Silent
from selfboost.trust import Trust

SOURCE = Path(plugins.__file__).parent
COMPONENTS = [(role, kind) for role in plugins.FOLDERS for kind in plugins.kinds(role)]
BENCHMARKS = {"held_out": ["benchmark.greedy=false"]}
"""Settings that change what a benchmark rates."""
ON_REAL_MODELS = {"harness"}
"""Benchmarks that stand-ins cannot be measured by; their own tests say the same of them."""
BEHAVIOUR = {
    "method": ["iterate"],
    "loss": ["losses", "rewards", "needs_reference", "head"],
    "engine": ["open", "tokenizer", "fingerprint", "block_size"],
    "trainer": ["finetune", "prefer", "logps", "rewards"],
    "scorer": ["score", "needs", "threshold"],
    "benchmark": ["rate", "measures"],
    "cluster": ["start"],
}


def test_the_foundation_is_there() -> None:
    wanted = {
        ("method", "synpo"), ("method", "spin"), ("method", "sampling_ranking"),
        ("loss", "dpo"), ("loss", "simpo"), ("engine", "fake"), ("engine", "local"),
        ("scorer", "checks"), ("scorer", "implicit"), ("scorer", "reward_model"),
    }  # fmt: skip
    assert wanted <= set(COMPONENTS)


@pytest.mark.parametrize(("role", "kind"), COMPONENTS)
def test_is_one_frozen_keyword_only_dataclass(role: str, kind: str) -> None:
    found = plugins.load(role, kind)
    assert dataclasses.is_dataclass(found)
    assert found.__dataclass_params__.frozen
    assert all(f.kw_only for f in dataclasses.fields(found))


@pytest.mark.parametrize(("role", "kind"), COMPONENTS)
def test_says_what_it_is_and_what_each_setting_means(role: str, kind: str) -> None:
    found = plugins.load(role, kind)
    first = plugins.kinds(role)[kind]
    assert first.endswith("."), first
    undocumented = {f.name for f in dataclasses.fields(found)} - field_docs(found).keys()
    assert not undocumented


@pytest.mark.parametrize(("role", "kind"), COMPONENTS)
def test_does_what_its_role_asks(role: str, kind: str) -> None:
    found = plugins.load(role, kind)
    missing = [name for name in BEHAVIOUR[role] if not hasattr(found, name) and name not in field_docs(found)]
    assert not missing


@pytest.mark.parametrize("kind", sorted(plugins.kinds("benchmark").keys() - ON_REAL_MODELS))
def test_a_benchmark_declares_exactly_the_measures_that_it_rates(kind: str, tmp_path: Path) -> None:
    with FakeServer(lambda request: "m, so [[A=B]] and [[5]]") as server:
        path = write_judged(tmp_path, kind, url=server.url)
        for settings in ([], BENCHMARKS.get(kind, [])):
            read = recipe.read(path, [f"benchmark.kind={kind}", *settings])
            run = Run(read, tmp_path / "run", Silent())
            run.begin(0, run.initial)
            rated = read.benchmark.rate(run, run.initial, run.held_out, "held_out")
            assert {tuple(row.values) for row in rated} == {tuple(read.measures)}
            for name, measure in read.measures.items():
                assert measure.title[0].islower(), name
                assert measure.unit, name
                values = [value for row in rated for value in row.values[name] if value is not None]
                assert not measure.share or all(0 <= value <= 1 for value in values), name


def test_reading_and_listing_need_no_gpu_stack() -> None:
    program = (
        "import sys\n"
        "from selfboost import plugins, recipe, cli, report\n"
        "from selfboost.views import summary, terminal\n"
        "[plugins.load(role, kind) for role in plugins.FOLDERS for kind in plugins.kinds(role)]\n"
        "[recipe.read(path) for path in recipe.shipped().values()]\n"
        "print(sorted({'torch', 'transformers', 'scipy', 'pyarrow', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_component_inside_another_must_be_of_its_role_too(tmp_path: Path) -> None:
    """Made in Python, where no `kind` says what a component is."""
    whole = recipe.read(write_recipe(tmp_path, "seed_sft"))
    wrong = HeldOut(scorer=SimPO())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^benchmark.scorer: SimPO is not a scorer; it must define score\(\)"):
        dataclasses.replace(whole, benchmark=wrong)
    with pytest.raises(ValueError, match=r"^scorer.engine: SimPO is not an engine; it must define open\(\)"):
        dataclasses.replace(whole, scorer=Judge(engine=SimPO()))  # type: ignore[arg-type]


def test_an_unknown_kind_names_the_allowed_ones() -> None:
    with pytest.raises(ValueError, match=r"method.kind = 'synpoo': no such .* mean 'synpo'\?\); allowed:"):
        plugins.load("method", "synpoo")


def test_a_dotted_kind_loads_a_third_party_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "someones_methods.py").write_text(
        "import dataclasses\nfrom selfboost import Method\n"
        "@dataclasses.dataclass(frozen=True)\nclass Mine(Method):\n    def iterate(self, run): ...\n"
        "@dataclasses.dataclass\nclass Part: ...\n"
        "@dataclasses.dataclass\nclass Half:\n    def iterate(self, run): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    trust = Trust(("someones_methods",))
    assert plugins.load("method", "someones_methods:Mine", trust=trust).__name__ == "Mine"
    with pytest.raises(ValueError, match="cannot be loaded"):
        plugins.load("method", "someones_methods:Theirs", trust=trust)
    with pytest.raises(ValueError, match=r"'someones_methods:Part': is not a method; it must define iterate\(\)"):
        plugins.load("method", "someones_methods:Part", trust=trust)
    with pytest.raises(
        ValueError, match=r"is not a method; it must also define check, .*; derive it from selfboost.Met"
    ):
        plugins.load("method", "someones_methods:Half", trust=trust)


def test_a_class_that_does_not_do_what_its_role_asks_is_no_component() -> None:
    assert (SOURCE / "train" / "local_settings.py").exists(), "it defines a class of its own name, and no training"
    assert "local_settings" not in plugins.kinds("trainer")
    with pytest.raises(ValueError, match=r"trainer.kind = 'local_settings': no such trainer"):
        plugins.load("trainer", "local_settings")


def test_what_a_component_inherits_counts_too() -> None:
    assert "def iterate" not in (SOURCE / "methods" / "seed_sft_po.py").read_text()
    assert "seed_sft_po" in plugins.kinds("method")


@pytest.mark.parametrize("role", plugins.FOLDERS)
def test_listing_by_source_finds_what_the_classes_say(role: str) -> None:
    folder = plugins.FOLDERS[role]
    files = [path.stem for path in (SOURCE / folder).glob("*.py") if path.stem != "__init__"]
    modules = [importlib.import_module(f"selfboost.{folder}.{stem}") for stem in files]
    own = {c for module in modules for c in vars(module).values() if getattr(c, "__module__", "") == module.__name__}
    shipped = {cls.__module__.rpartition(".")[2] for cls in own if isinstance(cls, type) and plugins.is_shipped(cls)}
    assert shipped == plugins.kinds(role).keys()


@pytest.mark.parametrize("code", ["def broken(:", "1 / 0", "raise SystemExit"])
def test_a_third_party_module_that_cannot_be_imported_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    (tmp_path / "broken_methods.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"'broken_methods:Mine': cannot be loaded"):
        plugins.load("method", "broken_methods:Mine", trust=Trust(("broken_methods",)))
    with pytest.raises(ValueError, match="is not a dataclass"):
        plugins.load("method", "collections:Counter", trust=Trust(("collections",)))


def test_the_plan_and_new_recipes_know_no_component() -> None:
    """What they need to know of one is asked of it, so that a component of one's own is planned as well as ours."""
    shipped = {f"selfboost.{plugins.FOLDERS[role]}.{kind}" for role, kind in COMPONENTS}
    stand_ins = {"selfboost.engines.fake", "selfboost.train.fake"}
    parts = ("selfboost.methods", "selfboost.prompts", "selfboost.benchmarks")
    for file in [*(SOURCE / "plan").glob("*.py"), *(SOURCE / "new_recipe").glob("*.py")]:
        nodes = ast.walk(ast.parse(file.read_text()))
        imported = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not imported & (shipped - stand_ins), file
        rules = {"selfboost.prompts.novelty"}  # what counts as overlap is one rule, whatever makes the prompts
        assert not [module for module in imported - rules if module.startswith(parts)], file


@pytest.mark.parametrize("kind", plugins.kinds("scorer"))
def test_a_scorers_work_grows_with_what_it_reads(kind: str) -> None:
    endpoint = Endpoint(url="http://127.0.0.1:1/v1", model="some-model")
    required = {
        "checks": {"function": "selfboost.engines.fake:is_good"},
        "api_judge": {"endpoint": endpoint},
        "reward_server": {"url": endpoint.url},
    }
    scorer = plugins.load("scorer", kind)(**required.get(kind, {}))
    short, long = work_of(scorer, 10, 20), work_of(scorer, 100, 200)
    assert 30 <= short.read < long.read
    assert short.written == long.written


@pytest.mark.parametrize("kind", plugins.kinds("method"))
def test_init_writes_a_recipe_that_the_method_accepts(kind: str, tmp_path: Path) -> None:
    found = recipe.read(
        write_new_recipe(tmp_path, RecipeRequest(model="some/model", seed="embedded", method=kind)).path
    )
    suggested = plugins.load("method", kind).suggested()
    assert plugins.load("loss", suggested["loss"]["kind"]) is type(found.loss)
    assert {name: getattr(found.training, name) for name in suggested.get("training", {})} == suggested.get(
        "training", {}
    )


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_knows_whether_the_recipes_scorer_decides_what_it_trains_on(kind: str, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, kind, scorer={"policy": "initial", "reference": "seed_sft"})
    run_recipe(path, tmp_path / "run")
    stored = (file.read_text() for file in (tmp_path / "run" / "stages").rglob("records.jsonl"))
    named = any('"implicit(initial/seed_sft)"' in text for text in stored)
    assert named == recipe.read(path).method.scored
