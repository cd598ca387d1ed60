"""Writes a recipe for a user's own model and seed that fits both, and this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from selfboost import plugins
from selfboost.data.columns import RECOGNISE, Columns
from selfboost.data.hub_data import is_hub_name
from selfboost.data.seed_data import read_source
from selfboost.data.seeds import Seed
from selfboost.demo import EMBEDDED
from selfboost.demo.templates import GENERATOR_TARGET, GENERATOR_TEMPLATE, KEYWORD_SEPARATOR, REWRITE_TEMPLATE
from selfboost.method import Method
from selfboost.new_recipe.device import Machine
from selfboost.new_recipe.fit import Fitted, fit
from selfboost.new_recipe.short import short_text
from selfboost.plan.model_size import is_model_name
from selfboost.recipe import Recipe, build
from selfboost.recipe_text import recipe_text
from selfboost.trust import trusting

NAME = "recipe.toml"
SELF_JUDGED = (
    "the results are self-judged: {why}. For results to rely on, take another judge: give init --judge REWARD_MODEL, "
    "or set benchmark.scorer in the recipe"
)
CHOOSER = (
    "what chooses the training pairs also rates the outcome, and it is made of your own model and seed, so a model "
    "that learns to please it looks better than it is"
)
OWN_MODEL = "the judge is your own model, fine-tuned on the seed, which does not see the mistakes that it makes itself"
MEASURED_BY = "self-judged; set another judge here, such as {kind = 'reward_model', path = …}"
WORLD = "selfboost.demo.checks:check"
"""Knows the right answers to the embedded seed's prompts."""
ITS_WORDS: Mapping[str, Any] = {
    "method.generator.template": GENERATOR_TEMPLATE,
    "method.generator.target": GENERATOR_TARGET,
    "method.generator.prefix": "",
    "method.generator.separator": KEYWORD_SEPARATOR,
    "method.generator.paragraphs": EMBEDDED,
    "method.generator.keywords.keep_numbers": True,
    "method.improver.template": REWRITE_TEMPLATE,
}
"""Requests in the few words that the embedded model knows: others it cannot even read."""
Table = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RecipeRequest:
    """What a recipe is asked for."""

    model: str
    """A transformers folder or hub name, or `embedded`."""
    seed: str
    """A file, a folder, a hub data set, or `embedded`."""
    method: str = "synpo"
    columns: Columns = RECOGNISE
    """Which columns of the seed hold what, as far as they are not recognised."""
    judge: str = ""
    """A reward model that rates the results; empty: none is at hand."""

    def check(self) -> None:
        """Check that seed and judge can be there.

        Raises:
            ValueError: one of them is not.
        """
        if self.seed != EMBEDDED and not Path(self.seed).expanduser().exists() and not is_hub_name(self.seed):
            raise ValueError(f"--seed {self.seed}: no such file or folder, and not the name of a data set")
        if self.seed == EMBEDDED and self.columns.named:
            raise ValueError("--columns: the embedded seed has columns of its own; leave it out")
        if self.judge and not Path(self.judge).expanduser().is_dir() and not is_model_name(self.judge):
            raise ValueError(f"--judge {self.judge}: no such folder, and not the name of a model")

    def table(self, machine: Machine) -> Table:
        """The recipe before it is fitted."""
        rating: Table = {"kind": "implicit"}
        if self.judge:
            rating = {"kind": "reward_model", "path": _absolute(self.judge)}
        elif self.seed == EMBEDDED:
            rating = {"kind": "checks", "function": WORLD}
        names = {name: value for name, value in asdict(self.columns).items() if value}
        return {
            "run": {"iterations": machine.iterations},
            "model": {"path": _absolute(self.model)},
            "seed": {"path": _absolute(self.seed), **({"columns": names} if names else {})},
            "method": {"kind": self.method},
            "scorer": {"kind": "implicit"},
            "benchmark": {"kind": "held_out", "scorer": rating},
            "engine": {"kind": "local"},
            "trainer": {"kind": "local"},
        }


@dataclass(frozen=True, kw_only=True)
class NewRecipe:
    """A recipe that was written."""

    path: Path
    seeds: int
    """Prompts of the seed that was read; 0 where it is on the hub."""
    notes: Sequence[str]
    """What the seed holds, in sentences."""
    warnings: Sequence[str]
    """What the user must know, in sentences."""


def write_new_recipe(
    folder: Path,
    wanted: RecipeRequest,
    trust: str | Sequence[str] = (),
    *,
    full: bool = False,
    machine: Machine | None = None,
) -> NewRecipe:
    """Write `folder/recipe.toml`; an existing one is never overwritten. `trust` names modules, as for `recipe.read`.

    The recipe fits the model, the seed and the machine (this one by default) as far as they can be opened here. `full`
    writes every setting, else those that matter first and those that differ from their defaults.

    Raises:
        ValueError: the model, the method or the seed cannot be used, the method is not trusted, or a recipe exists.
    """
    path = folder / NAME
    if path.exists():
        raise ValueError(f"{path}: already exists; choose another folder or edit it")
    wanted.check()
    trusted = trusting(trust)
    kind = cast("type[Method]", plugins.load("method", wanted.method, trust=trusted))
    machine = machine or Machine.here()
    table = wanted.table(machine) | {name: dict(found) for name, found in kind.suggested().items()}
    recipe: Recipe = build(Recipe, table, trust=trusted)
    seeds, notes = _read(recipe)
    table["method"] |= recipe.method.fitted(recipe, recipe.seed.path, seeds)
    if wanted.model == EMBEDDED:
        _put_all(table, {where: value for where, value in ITS_WORDS.items() if _has(recipe, where)})
    fitted = fit(build(Recipe, table, trust=trusted), machine, seeds)
    _put_all(table, fitted.settings)
    recipe = build(Recipe, table, trust=trusted)
    self_judged = table["benchmark"]["scorer"] == table["scorer"]
    title = f"{wanted.method} on {wanted.model}, from the seed {wanted.seed}."
    folder.mkdir(parents=True, exist_ok=True)
    text = recipe_text(recipe, title) if full else short_text(table, _reasons(fitted, self_judged), title)
    path.write_text(text, encoding="utf-8")
    judged = [SELF_JUDGED.format(why=CHOOSER if recipe.method.scored else OWN_MODEL)] if self_judged else []
    return NewRecipe(path=path, seeds=len(seeds), notes=notes, warnings=[*fitted.warnings, *judged])


def _read(recipe: Recipe) -> tuple[Sequence[Seed], Sequence[str]]:
    """The whole seed, read once, and what it holds; none where it is on the hub."""
    if is_hub_name(recipe.seed.path):
        return (), ()
    seeds, notes = read_source(recipe.seed)
    return seeds, [note.removeprefix(f"{recipe.seed.path}: ") for note in notes]


def _reasons(fitted: Fitted, self_judged: bool) -> dict[str, str]:
    return {**fitted.reasons, **({"benchmark.scorer": MEASURED_BY} if self_judged else {})}


def _has(recipe: Recipe, where: str) -> bool:
    """Whether a recipe has a setting of this path."""
    value: Any = recipe
    for name in where.split("."):
        if not hasattr(value, name):
            return False
        value = getattr(value, name)
    return True


def _put_all(table: Table, settings: Mapping[str, Any]) -> None:
    for where, value in settings.items():
        *sections, last = where.split(".")
        inner = table
        for name in sections:
            inner = inner.setdefault(name, {})
        inner[last] = value


def _absolute(path: str) -> str:
    here = Path(path).expanduser()
    return str(here.resolve()) if path != EMBEDDED and here.exists() else path
