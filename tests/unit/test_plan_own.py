"""Components of one's own are planned as the shipped ones are: counted, priced, and asked for what only they know."""

from pathlib import Path
from typing import Any

import pytest

from fake_recipes import write_recipe
from selfboost import recipe
from selfboost.new_recipe import RecipeRequest, write_new_recipe
from selfboost.plan import Plan, PlannedStage, plan
from selfboost.plan.hardware import KINDS, LAUNCH
from selfboost.plan.model_size import from_parameters

CODE = '''
import re
from dataclasses import dataclass, replace
from typing import Annotated

from selfboost import Measure, Method, Origin, Sampling
from selfboost.records import Rated, user_prompt
from selfboost.scorers import ScoringWork
from selfboost.setting_types import Count

WISH = "Say in one sentence what is wrong with this answer, and nothing else about it. Question: {q} Answer: {a}"


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Keeps replies that its pattern knows."""

    known: str = "^wrong: "

    def for_rehearsal(self, rehearsal):
        return replace(self, known="")


@dataclass(frozen=True, kw_only=True)
class Critics(Method):
    """Criticism of some seeds' answers, twice; every third one is trained on."""

    answered: Count = 30_000
    first: int = 7
    extra: str = "owner/critiques"
    filter: Filter = Filter()

    def reads(self, seed):
        return {self.extra: "critiques"}

    def remarks(self):
        return ("critics are slow",)

    @classmethod
    def suggested(cls):
        return {"loss": {"kind": "ipo"}, "training": {"epochs": 2}}

    def fitted(self, recipe, seed, seeds):
        return {"answered": 12}

    def iterate(self, run):
        prompts = [seed.prompt for seed in run.seeds[: self.answered]]
        answers = run.sample("answers", run.previous, prompts, Sampling(max_tokens=100, samples=2))
        wishes = [
            user_prompt(WISH.format(q=a.prompt.text, a=a.text), Origin(source="critics", parent=a.id)) for a in answers
        ]
        critiques = run.sample("critiques", run.previous, [*wishes, *wishes[: self.first]], Sampling(max_tokens=50))
        kept = [c for c in critiques if re.match(self.filter.known, c.text)]
        scores = run.score("scores", answers[::2])
        best = [a for _, a in sorted(zip([v.value for v in scores], answers[::2]), key=lambda x: -x[0])]
        pairs = [run.pair(c.prompt, c, best[i % len(best)]) for i, c in enumerate(kept[: 2 * self.answered : 3])]
        run.memory["seen"] = run.memory.get("seen", []) + pairs
        return run.prefer("policy", run.memory["seen"], start=run.initial)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Three readings by one model, and a sentence."""

    threshold: float = 0.5

    def needs(self):
        return {"panel": "o/panel-3B"}

    def work(self, prompt, answer):
        return ScoringWork(read=3 * (prompt + answer + 10), written=40, weight_bytes=4, rows=5, longest=1000)

    def score(self, answers, models, trainer):
        raise AssertionError("a plan asks no model")


@dataclass(frozen=True, kw_only=True)
class Shortness:
    """Of five answers to the first prompts."""

    prompts: Count = 90

    @property
    def measures(self):
        return {"sampled": Measure(title="length of answers", unit="tokens", better="lower")}

    def rate(self, run, model, examples, split):
        some = examples[: self.prompts]
        answers = run.sample(f"{split}-five", model, [e.prompt for e in some], Sampling(max_tokens=9, samples=5))
        lengths = {e.prompt.id: tuple(float(len(a.token_ids)) for a in answers[:5]) for e in some}
        return [
            Rated(prompt=e.prompt.id, split=split, values={"sampled": lengths.get(e.prompt.id, (None,))})
            for e in examples
        ]
'''
SEEDS = 20_000
OWN = ("someones_components", "someones_closed")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "someones_components.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return write(tmp_path)


def write(folder: Path, **method: Any) -> Path:
    path = write_recipe(
        folder,
        "seed_sft",
        model={"path": "o/model-1B"},
        seed={"path": "owner/seeds", "limit": SEEDS, "validation": 300, "held_out": 60},
        method={"kind": "someones_components:Critics", **method},
        scorer={"kind": "someones_components:Panel"},
        benchmark={"kind": "someones_components:Shortness"},
        engine={"kind": "local"},
    )
    text = path.read_text()
    start, end = text.index("[benchmark.scorer]"), text.index("[engine]")
    text = text[:start] + text[end:]
    path.write_text(text.replace("threshold = 0.0\n", "").replace("samples = 2\n", ""))
    return path


def stages(found: Plan) -> dict[str, PlannedStage]:
    return {stage.name: stage for stage in found.stages}


def test_a_method_and_a_benchmark_of_ones_own_are_counted(own: Path) -> None:
    found = stages(plan(recipe.read(own, trust=OWN)))
    rows = {name: (stage.rows, stage.bound) for name, stage in found.items()}
    answers = 2 * SEEDS
    pairs = -(-(answers + 7) // 3)
    assert rows["iteration-1/answers"] == (answers, "exact")
    assert rows["iteration-1/critiques"] == (answers + 7, "exact")
    assert rows["iteration-1/scores"] == (SEEDS, "exact")
    assert rows["iteration-1/policy"] == (pairs, "at most"), "it breaks off where an answer has no score"
    assert rows["iteration-2/policy"][0] == 2 * pairs
    assert rows["iteration-0/validation-five"] == (5 * 90, "exact")
    assert rows["iteration-0/held_out-five"] == (5 * 60, "exact")


def test_fewer_wanted_than_there_are_seeds_is_counted_too(tmp_path: Path, own: Path) -> None:
    found = stages(plan(recipe.read(write(own.parent, answered=4_321), trust=OWN)))
    assert found["iteration-1/answers"].rows == 2 * 4_321
    assert found["iteration-1/policy"].rows == -(-2 * 4_321 // 3)


def test_requests_and_scores_of_ones_own_are_priced(own: Path) -> None:
    found = plan(recipe.read(own, trust=OWN))
    critiques, scores = (stages(found)[f"iteration-1/{name}"] for name in ("critiques", "scores"))
    wish = len("Say in one sentence what is wrong with this answer, and nothing else about it. Question:  Answer: ")
    # 200 and 350 tokens are assumed of a seed that is not here; its answers are cut at 100 tokens, critiques at 50.
    asked = 200 + 100 + wish / 4
    usable = KINDS["H100"].share * KINDS["H100"].peak
    step = LAUNCH * from_parameters(10**9).layers
    seconds = 2 * 1e9 * critiques.rows * asked / usable + critiques.rows / 64 * 50 * step
    assert critiques.mean.hours == pytest.approx(seconds / 3600)
    assert scores.mean.tokens == SEEDS * (3 * (200 + 100 + 10) + 40)
    step = LAUNCH * from_parameters(3 * 10**9).layers
    seconds = 2 * 3e9 * SEEDS * 3 * 310 / usable + SEEDS / 5 * 40 * step
    assert scores.mean.hours == pytest.approx(seconds / 3600)
    held = found.memory["scoring"]
    assert held is not None
    assert held > 4 * 3e9, "its weights are its own to hold, and five rows beside them"


def test_what_only_the_method_knows_is_said(own: Path) -> None:
    notes = plan(recipe.read(own, trust=OWN)).notes
    assert "critics are slow" in notes
    assert "owner/critiques (critiques) is read from the hub when the run starts; not looked at" in notes
    assert "o/panel-3B (scorer) is not on this machine; it is downloaded when it is needed" in notes


def test_a_method_that_takes_no_made_up_answer_says_how_it_would(own: Path) -> None:
    text = own.with_name("someones_components.py").read_text()
    own.with_name("someones_closed.py").write_text(text.replace("def for_rehearsal", "def not_for_rehearsal"))
    path = write(own.parent, kind="someones_closed:Critics")
    with pytest.raises(
        ValueError, match=r"iteration-1/policy: there is nothing to train on in a rehearsal .*for_rehearsal"
    ):
        plan(recipe.read(path, trust=OWN))


def test_a_new_recipe_has_what_the_method_suggests(tmp_path: Path, own: Path) -> None:
    wanted = RecipeRequest(model="some/model", seed="embedded", method="someones_components:Critics")
    path = write_new_recipe(tmp_path / "mine", wanted, OWN).path
    found = recipe.read(path, trust=OWN)
    method: Any = found.method
    assert (type(found.loss).__name__, found.training.epochs, method.answered) == ("IPO", 2, 12)
