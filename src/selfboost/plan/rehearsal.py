"""A rehearsal: the true loop on fake models and a small share of a recipe's counts, to see which stages there will be.

Filters are open, so that rows are the most there can be; what is not on this machine has a stand-in. Leaves out costs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, get_type_hints

from selfboost import store
from selfboost.data.hub_data import is_hub_name
from selfboost.data.preferences import read_preferences
from selfboost.data.seed_data import SeedData, SeedSource, load_seed_data
from selfboost.data.seeds import Seed, read_seeds
from selfboost.demo import EMBEDDED, EMBEDDED_FILES
from selfboost.engines.fake import Fake as FakeEngine
from selfboost.loop import boost
from selfboost.methods.manual_data import ManualData
from selfboost.prompts.generator import PromptGenerator
from selfboost.prompts.novelty import NoveltyRule
from selfboost.recipe import ROLES, Recipe
from selfboost.records import Answer, Example, Pair
from selfboost.scorers import Scorer, pairwise
from selfboost.scorers.judge import Judge
from selfboost.scorers.likelihood import Likelihood
from selfboost.seed_models import MAKERS
from selfboost.setting_types import Count
from selfboost.settings import ModelSource
from selfboost.stages import Silent
from selfboost.train.fake import Fake as FakeTrainer

NAMED = ("initial", "previous", *MAKERS)
"""Models a run has or makes by itself."""
REHEARSED, MEASURED = 60, 12
"""Most prompts of a kind in the rehearsal, and of those that are measured on."""
OPEN = -1e9
"""A threshold that keeps all and, other than -inf, still has everything scored."""
ASSUMED_SEEDS = 10_000
"""Rows of a data set that is not looked at, where the recipe does not say how many are used."""
SOME = 1_000
"""Of the embedded paragraphs: enough for a rehearsal's keyword lists."""
MADE_UP = 8
"""Made-up words in the prompt of a stand-in."""
ANY_QUESTION = r"<question>(.*?)</"
"""As a generator's pattern of a question: finds one even where a fake leaves its closing tag out."""
RECORDS: Mapping[str, type[Answer] | type[Example] | type[Pair]] = {
    "sample": Answer,
    "finetune": Example,
    "prefer": Pair,
}
"""Verb → the records of its stages."""


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """One stage to come."""

    name: str
    verb: str
    rows: int
    """The most there can be."""
    source: str = ""
    """Where its prompts come from: `keywords`, `rewrite`, `seed` …"""
    given: bool = False
    """It trains on answers that people gave; of a pair, one is at least."""
    sampling: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    reference: bool = False
    """Its loss needs a reference model."""
    loss: Mapping[str, Any] | None = None
    self_scored: bool = False
    """It scores by the likelihood under a policy, not by another model that the recipe's scorer has."""

    @property
    def measured(self) -> bool:
        """Whether it is part of a benchmark."""
        return any(split in self.name for split in ("validation", "held_out"))


@dataclass(frozen=True, kw_only=True)
class FreeScorer(Likelihood):
    """In the place of a scorer whose model is not looked at or whose prompts a fake does not understand."""


@dataclass(frozen=True, kw_only=True)
class FreePairwise(FreeScorer):
    """In the place of one that compares answers."""

    pairwise: ClassVar[bool] = True


def rehearse(recipe: Recipe, data: SeedData) -> list[Rehearsed]:
    """All stages of a run of the recipe, in order, with the rows of the true counts."""
    manual = _manual_pairs(recipe)
    counts = [len(data.train), *([manual] if manual else _counts(recipe.method))]
    scales = [max(1.0, max(counts) / (REHEARSED * times)) for times in (1, 2, 4)]
    # The coarsest that keeps different counts apart: rows are told by them.
    scale = next((s for s in scales if len({math.ceil(c / s) for c in counts}) == len(set(counts))), scales[0])
    few = SeedData(
        train=data.train[: math.ceil(len(data.train) / scale)],
        validation=data.validation[:MEASURED],
        held_out=data.held_out[:MEASURED],
    )
    with TemporaryDirectory() as folder:
        root = Path(folder)
        played = _on_fakes(recipe, scale, _written(few, root / "seed"))
        if isinstance(played.method, ManualData):
            pairs = _write_pairs(root / "pairs.jsonl", math.ceil(manual / scale))
            played = replace(played, method=replace(played.method, data=pairs))
        boost(played, root / "run", Silent())
        found = [_rehearsed(root / "run", card) for card in store.cards(root / "run")]
    true_rows = {
        rounds * math.ceil(count / scale): rounds * count
        for rounds in range(recipe.run.iterations, 0, -1)  # pairs of several iterations may come together
        for count in counts
    }

    def rows(stage: Rehearsed) -> int:
        for split, true, rehearsed in (
            ("validation", data.validation, few.validation),
            ("held_out", data.held_out, few.held_out),
        ):
            if split in stage.name:
                return stage.rows * len(true) // len(rehearsed)
        return true_rows.get(stage.rows, round(stage.rows * scale))

    return [replace(stage, rows=rows(stage)) for stage in found]


def with_stand_ins(source: SeedSource, seed: int) -> SeedData:
    """The seed's data as they will be, with stand-ins for those hub data sets that it names.

    Raises:
        ValueError: a file is wrong, or there are too few prompts.
    """
    with TemporaryDirectory() as folder:
        apart = [value for value in (source.validation, source.held_out) if isinstance(value, int)]
        wanted = {"path": (source.limit or ASSUMED_SEEDS) + sum(apart), "validation": 500, "held_out": 500}
        changes: dict[str, Any] = {}
        for name, count in wanted.items():
            if isinstance(value := getattr(source, name), str) and is_hub_name(value):
                changes[name] = _write(Path(folder) / f"{name}.jsonl", _stand_ins(count, f"{name} of {value}"))
        return load_seed_data(replace(source, **changes), seed)


def scorers_of(component: Any) -> list[Scorer]:
    """All scorers of a component, those of its parts included."""
    found: list[Scorer] = []
    for name, hint in _hints(component):
        value = getattr(component, name)
        if ROLES.get(hint) == "scorer":
            found.append(value)
        elif is_dataclass(value):
            found += scorers_of(value)
    return found


def _stand_ins(count: int, use: str) -> list[Seed]:
    """The embedded seed's, as often as it takes; made-up words make each prompt another, rich enough in keywords."""
    known, _ = read_seeds(EMBEDDED_FILES / "seed.jsonl")
    found: list[Seed] = []
    for i in range(count):
        seed = known[i % len(known)]
        words = " ".join(_word(MADE_UP * i + place) for place in range(MADE_UP))
        asked = replace(seed.messages[-1], content=f"{seed.messages[-1].content} {use} {words}")
        found.append(replace(seed, messages=(*seed.messages[:-1], asked)))
    return found


def _manual_pairs(recipe: Recipe) -> int:
    """How many pairs that others made are trained on; assumed where they are on the hub."""
    if not isinstance(recipe.method, ManualData):
        return 0
    most, data = recipe.method.pairs, recipe.method.data
    return min(most, ASSUMED_SEEDS if is_hub_name(data) else len(read_preferences(data)[0]))


def _write_pairs(path: Path, count: int) -> str:
    """Stand-ins for them, in words that no measured prompt has."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            asked = " ".join(_word(26**4 + MADE_UP * i + place) for place in range(MADE_UP))
            file.write(json.dumps({"prompt": asked, "chosen": "a good answer", "rejected": "a poor answer"}) + "\n")
    return str(path)


def _word(number: int) -> str:
    """A word of five letters, another for each number below 26 to the power of 5."""
    return "".join(chr(ord("a") + number // 26**place % 26) for place in range(5))


def _written(data: SeedData, folder: Path) -> SeedSource:
    """The data as files."""
    folder.mkdir()
    return SeedSource(
        path=_write(folder / "seed.jsonl", data.train),
        validation=_write(folder / "validation.jsonl", data.validation),
        held_out=_write(folder / "held_out.jsonl", data.held_out),
    )


def _write(path: Path, seeds: Sequence[Seed]) -> str:
    with path.open("w", encoding="utf-8") as file:
        for seed in seeds:
            answer = [{"role": "assistant", "content": seed.response}] if seed.response else []
            file.write(json.dumps({"messages": [*map(asdict, seed.messages), *answer]}) + "\n")
    return str(path)


def _hints(component: Any) -> list[tuple[str, Any]]:
    return list(get_type_hints(component.__class__, include_extras=True).items())


def _is_count(name: str, hint: Any) -> bool:
    """Whether a setting is a number of prompts or pairs; those that may be 0 are known by their names."""
    return hint == Count or name in ("prompts", "pairs")


def _counts(component: Any) -> list[int]:
    counts: list[int] = []
    for name, hint in _hints(component):
        value: Any = getattr(component, name, None)
        counts += [value] if _is_count(name, hint) and value else _counts(value) if is_dataclass(value) else []
    return counts


def _on_fakes(recipe: Recipe, scale: float, source: SeedSource) -> Recipe:
    """The same recipe on fakes, its counts scaled down, its filters open: the plan is the most that can happen."""
    return replace(
        recipe,
        run=replace(recipe.run, beside=tuple(name for name in recipe.run.beside if name in NAMED)),
        model=ModelSource(path="fake"),
        seed=source,
        method=_opened(recipe.method, scale),
        scorer=_opened_scorer(recipe.scorer),
        benchmark=_opened(recipe.benchmark, scale),
        gate=replace(recipe.gate, rule="always"),
        engine=FakeEngine(limits=False),
        trainer=FakeTrainer(),
    )


def _opened(component: Any, scale: float) -> Any:
    changes: dict[str, Any] = {}
    for name, hint in _hints(component):
        value: Any = getattr(component, name, None)
        if _is_count(name, hint):
            changes[name] = math.ceil(value / scale)
        elif ROLES.get(hint) == "scorer":
            changes[name] = _opened_scorer(value)
        elif name == "threshold":
            changes[name] = OPEN if value is None else min(value, OPEN)
        elif is_dataclass(value):
            changes[name] = _opened(value, scale)
    if isinstance(component, PromptGenerator):
        # The true pool was looked at; a few seeds' own words would not do. Fakes know the default format alone.
        own = PromptGenerator()
        changes |= {"paragraphs": EMBEDDED, "template": own.template, "target": own.target, "question": ANY_QUESTION}
        changes |= {"paragraphs_column": own.paragraphs_column, "paragraphs_limit": SOME, "keywords": own.keywords}
        changes |= {"prefix": own.prefix, "longest": own.longest}
        changes["novelty"] = NoveltyRule(similarity=1, shared_words=0)
    return replace(component, **changes)


def _opened_scorer(scorer: Scorer) -> Scorer:
    """The scorer itself where the run makes its models, so that their training is in the plan; else a free one."""
    if isinstance(scorer, Judge):
        return FreeScorer(policy=scorer.path if scorer.path in NAMED else "initial", threshold=OPEN)
    if scorer.needs() and all(name in NAMED for name in scorer.needs().values()):
        return _opened(scorer, 1)
    free = FreePairwise if pairwise(scorer) else FreeScorer
    return free(policy="initial", threshold=-math.inf)


def _rehearsed(root: Path, card: store.StageCard) -> Rehearsed:
    """What the plan needs of a stage of the rehearsal; its rows are the rehearsal's."""
    kind = RECORDS.get(card.verb)
    first = store.read_rows(root, card, kind)[0] if kind and card.rows else None
    sides = [getattr(first, name) for name in ("answer", "chosen", "rejected") if hasattr(first, name)]
    scorer: Mapping[str, Any] = card.parts.get("scorer", {})
    return Rehearsed(
        name=card.name,
        verb=card.verb,
        rows=card.rows,
        source=first.prompt.origin.source if first else "",
        given=any(side.finish == "given" for side in sides),
        sampling=card.parts.get("sampling"),
        training=card.parts.get("training"),
        reference=bool(card.parts.get("reference")),
        loss=card.parts.get("loss"),
        self_scored=scorer.get("kind") == "likelihood",
    )
