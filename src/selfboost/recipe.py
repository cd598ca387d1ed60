"""A recipe: one complete TOML file <-> frozen dataclasses. Unknown or clashing settings fail here, before any work.

Sections are the fields of `Recipe`; a section with a `kind` is a component found by `plugins`. Files named in a recipe
are relative to the recipe. Leaf values are checked by pydantic against the annotations of the dataclasses.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from dataclasses import Field as Setting
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, Self, cast, get_type_hints, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from selfboost import plugins
from selfboost.benchmark import Benchmark
from selfboost.data.seed_data import SeedSource
from selfboost.engines import Engine
from selfboost.losses import Loss
from selfboost.method import Method
from selfboost.scorers import Scorer
from selfboost.setting_types import BESIDE_RECIPE, PathOrName
from selfboost.settings import Gate, ModelSource, RunSettings, SeedModels
from selfboost.train import Trainer, Training

ROLES: Mapping[type, str] = {
    Method: "method",
    Loss: "loss",
    Engine: "engine",
    Trainer: "trainer",
    Scorer: "scorer",
    Benchmark: "benchmark",
}
"""A field of one of these types is a component, chosen by `kind`."""


@runtime_checkable
class FromRecipe(Protocol):
    """A component whose settings in a recipe are not all its fields as they stand, such as a file that holds a text."""

    @classmethod
    def from_recipe(cls, **settings: Any) -> Self:
        """The component of the settings that a recipe gives; raises ValueError with one sentence."""
        ...


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A complete run."""

    run: RunSettings = field(default_factory=RunSettings)
    model: ModelSource
    seed: SeedSource
    method: Method
    loss: Loss
    training: Training = field(default_factory=Training)
    """The preference optimisation of the policy."""
    scorer: Scorer
    benchmark: Benchmark
    gate: Gate = field(default_factory=Gate)
    seed_models: SeedModels = field(default_factory=SeedModels)
    engine: Engine
    trainer: Trainer

    def __post_init__(self) -> None:
        if self.loss.head == "reward":
            kinds = [kind for kind in plugins.kinds("loss") if plugins.load("loss", kind)().head == "logps"]
            wrong = f"{type(self.loss).__name__} trains a reward model, not a policy"
            raise ValueError(f"loss.kind: {wrong}; allowed: {', '.join(kinds)}, or 'package.module:Class'")


def shipped() -> dict[str, Path]:
    """The recipes that come with selfboost: name → file."""
    folder = Path(str(files("selfboost") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find(recipe: str) -> Path:
    """The file of a recipe given as a path or as the name of a shipped one.

    Raises:
        ValueError: neither.
    """
    path = Path(recipe)
    if path.suffix == ".toml" or path.exists():
        if not path.is_file():
            raise ValueError(f"{recipe}: no such recipe file")
        return path
    known = shipped()
    if recipe not in known:
        raise ValueError(f"{recipe!r}: no such recipe; give a .toml file, or one of: {', '.join(known)}")
    return known[recipe]


def read(path: Path, settings: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe; `settings` are `section.key=value` overrides.

    Raises:
        ValueError: names the setting, its value and what is allowed.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is not valid TOML ({error})") from error
    for setting in settings:
        _override(table, setting)
    return build(Recipe, table, folder=path.resolve().parent)


def build(kind: type, table: Mapping[str, Any], where: str = "", folder: Path | None = None, base: Any = None) -> Any:
    """A dataclass from a table of settings, nested ones and components included; `folder` is the recipe's.

    What the table leaves out is `base`'s, where there is one: a setting of `seed_models.sft` leaves its others alone.

    Raises:
        ValueError: an unknown, missing or wrong setting; says where and what is allowed.
    """
    hints = get_type_hints(kind, include_extras=True)
    known = {f.name: f for f in fields(kind) if f.init}
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"{where}{key}: no such setting{hint}; allowed: {', '.join(known) or 'none'}")
    values = {
        key: _value(hints[key], value, f"{where}{key}", folder, _default(known[key], base))
        for key, value in table.items()
    }
    for name, f in known.items():
        if name not in table and base is None and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{where}{name}: is missing")
    try:
        if base is not None:
            return replace(base, **values)
        return kind.from_recipe(**values) if issubclass(kind, FromRecipe) else kind(**values)
    except ValueError as error:
        raise ValueError(f"{where.rstrip('.')}: {error}") from error


def _default(f: Setting[Any], base: Any) -> Any:
    if base is not None:
        return getattr(base, f.name)
    return None if f.default_factory is MISSING else f.default_factory()


def _value(hint: Any, value: Any, where: str, folder: Path | None, default: Any) -> Any:
    role = ROLES.get(hint)
    if role is not None or is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} = {value!r}: must be a table of settings")
        table = dict(cast(Mapping[str, Any], value))
        if role is None:
            return build(cast(type, hint), table, f"{where}.", folder, default)
        if not isinstance(table.get("kind"), str):
            allowed = ", ".join(plugins.kinds(role))
            raise ValueError(f"{where}.kind: is missing; allowed: {allowed}, or 'package.module:Class'")
        return build(plugins.load(role, table.pop("kind"), where), table, f"{where}.", folder)
    if folder is not None and BESIDE_RECIPE in getattr(hint, "__metadata__", ()):
        value = _beside(value, folder)
    if folder is not None and hint == tuple[PathOrName, ...] and isinstance(value, list):
        value = [_beside(item, folder) for item in cast("list[Any]", value)]
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{where} = nan: must be a number")
    try:
        return TypeAdapter(hint).validate_python(
            value, strict=isinstance(value, bool) or not isinstance(value, list | int)
        )
    except ValidationError as error:
        told = dict.fromkeys(each["msg"].lower().replace("valid tuple", "list") for each in error.errors())
        raise ValueError(f"{where} = {value!r}: {' or '.join(told)}") from error


def _beside(value: Any, folder: Path) -> Any:
    """The path of what lies beside the recipe: absolute, so that the run's own copy of the recipe finds it too."""
    return str(folder / value) if isinstance(value, str) and value and (folder / value).exists() else value


def _override(table: dict[str, Any], setting: str) -> None:
    name, equals, text = setting.partition("=")
    if not equals or not all(part.strip() for part in name.split(".")):
        raise ValueError(f"--set {setting}: write section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *sections, key = name.strip().split(".")
    for section in sections:
        inner = table.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ValueError(f"--set {setting}: {section} is a single setting, not a section")
        table = cast(dict[str, Any], inner)
    table[key] = value
