"""A recipe: one complete TOML file <-> frozen dataclasses. Unknown or clashing settings fail here, before any work.

Sections are the fields of `Recipe`; a section with a `kind` is a component found by `plugins`. Files named in a recipe
are relative to the recipe. Leaf values are checked by pydantic against the annotations of the dataclasses.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from dataclasses import Field as Setting
from functools import cache
from importlib.resources import files
from inspect import get_annotations
from pathlib import Path
from typing import Any, Protocol, Self, cast, get_type_hints, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from selfboost import plugins
from selfboost.benchmark import Benchmark
from selfboost.cluster import Cluster
from selfboost.cluster.here import Here
from selfboost.data.seed_data import SeedSource
from selfboost.disk.toml_files import read_toml
from selfboost.engines import Engine, PutsOn, check_draws
from selfboost.losses import Loss
from selfboost.measures import WIN_RATE, Declared, check_decides
from selfboost.method import Method
from selfboost.scorers import Scorer
from selfboost.setting_types import BESIDE_RECIPE, NAMES_CODE, SENDS, STARTS, PathOrName, allowed
from selfboost.settings import Gate, ModelSource, RunSettings, SeedModels, check_divergence, plain
from selfboost.suggestions import did_you_mean, nearest, shown
from selfboost.train import Trainer, Training
from selfboost.trust import LISTED, Trust, trusting

ROLES: Mapping[type, str] = {
    Method: "method",
    Loss: "loss",
    Engine: "engine",
    Trainer: "trainer",
    Scorer: "scorer",
    Benchmark: "benchmark",
    Cluster: "cluster",
}
"""A field of one of these types is a component, chosen by `kind`."""


@runtime_checkable
class FromRecipe(Protocol):
    """A component whose recipe settings differ from its fields, such as a file that holds a text."""

    @classmethod
    def from_recipe(cls, **settings: Any) -> Self:
        """Build the component from a recipe's settings; raises ValueError with one sentence."""
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
    cluster: Cluster = field(default_factory=Here)
    """Where blocks are sampled and scored; changes how fast a run is, no result."""

    def __post_init__(self) -> None:
        check_roles(self)
        if self.loss.head == "reward":
            kinds = [kind for kind in plugins.kinds("loss") if plugins.load("loss", kind)().head == "logps"]
            wrong = f"{type(self.loss).__name__} trains a reward model, not a policy"
            raise ValueError(f"loss.kind: {wrong}; allowed: {', '.join(kinds)}, or 'package.module:Class'")
        self._check_measures()
        check_draws(self.engine, self)
        if isinstance(self.engine, PutsOn):
            check_ranks(self, self.engine.max_lora_rank)

    @property
    def measures(self) -> Declared:
        """What the benchmark measures, by name."""
        return self.benchmark.measures

    def _check_measures(self) -> None:
        name = type(self.benchmark).__name__
        if not getattr(self.benchmark, "measures", None):
            raise ValueError(f"benchmark.kind: {name} must declare `measures` (name → selfboost.Measure)")
        if WIN_RATE in self.measures:
            raise ValueError(f"benchmark.kind: {name} declares a measure {WIN_RATE!r}, a name reserved for the run")
        for setting, names in (("gate.measure", [self.gate.measure]), ("gate.guards", self.gate.guards)):
            for name in names:
                check_decides(self.measures, name, setting)
        check_divergence(self.gate, self.run.drift)


def check_roles(part: Any, where: str = "") -> None:
    """Check that each component of a recipe, those inside others included, can do what its role asks.

    Raises:
        ValueError: one cannot; names it and its place.
    """
    for name, hint in _hints(cast(type, part.__class__)).items():
        value: Any = getattr(part, name, None)
        cls = cast(type, value.__class__)
        if hint in ROLES and (wrong := plugins.objection(ROLES[hint], cls)):
            raise ValueError(f"{where}{name}: {cls.__name__} {wrong}")
        if is_dataclass(value):
            check_roles(value, f"{where}{name}.")


def check_ranks(part: Any, most: int, where: str = "") -> None:
    """Check that an engine which puts adapters on takes those that a recipe trains.

    Raises:
        ValueError: a rank is too large; names it and its place.
    """
    for f in fields(part):
        value = getattr(part, f.name)
        if isinstance(value, Training) and 0 < most < value.lora_rank:
            raise ValueError(
                f"{where}{f.name}.lora_rank = {value.lora_rank}: is above engine.max_lora_rank = {most}; raise that, "
                "or set it to 0, which samples from merged weights"
            )
        if is_dataclass(value):
            check_ranks(value, most, f"{where}{f.name}.")


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
        hint = did_you_mean(recipe, known)
        raise ValueError(f"{recipe!r}: no such recipe{hint}; give a .toml file, or one of: {', '.join(known)}")
    return known[recipe]


def read(
    path: Path,
    settings: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
    *,
    trust: str | Sequence[str] = (),
) -> Recipe:
    """Read and check a recipe; `settings` are `section.key=value` overrides.

    Changing a component's kind keeps only the settings that both kinds share; `say` reports the dropped ones. `trust`
    names the modules and packages that the recipe may import, beside selfboost's and those of the user's settings file.

    Raises:
        ValueError: names the setting, its value and what is allowed.
    """
    trusted = trusting(trust)
    table = with_settings(read_toml(path), settings, say, trusted)
    return build(Recipe, table, folder=path.resolve().parent, trust=trusted)


def with_settings(
    table: dict[str, Any], settings: Sequence[str], say: Callable[[str], None] | None, trust: Trust
) -> dict[str, Any]:
    """A recipe's table, changed by `section.key=value` overrides; `say` reports settings that a new kind drops.

    Raises:
        ValueError: an override is not `section.key=value`, or a later one of a whole section says otherwise.
    """
    changes = [_parsed(setting, table, trust) for setting in settings]
    _refuse_contradictions(changes)
    # Whole sections first, then the kinds of their components, then single settings.
    for names, value in sorted(changes, key=lambda change: (len(change[0]), change[0][-1] != "kind")):
        dropped = _override(table, names, value, trust)
        if dropped and say is not None:
            say(dropped)
    return table


def read_section(name: str, table: Mapping[str, Any], folder: Path, trust: Trust = LISTED) -> Any:
    """One section of a recipe's table; the others are neither checked nor imported.

    Raises:
        ValueError: an unknown, missing or wrong setting, or code that is not trusted.
    """
    return _value(get_type_hints(Recipe, include_extras=True)[name], table.get(name, {}), name, folder, None, trust)


def build(
    kind: type,
    table: Mapping[str, Any],
    where: str = "",
    folder: Path | None = None,
    base: Any = None,
    trust: Trust = LISTED,
) -> Any:
    """Build a dataclass from a table of settings, nested ones and components included; `folder` is the recipe's.

    Settings missing from the table come from `base`, if given: setting one of `seed_models.sft` keeps the others.

    Raises:
        ValueError: an unknown, missing or wrong setting, or untrusted code; says where and what is allowed.
    """
    hints = _hints(kind)
    known = {f.name: f for f in fields(kind) if f.init}
    for key in table:
        if key not in known:
            hint = did_you_mean(key, known)
            raise ValueError(f"{where}{key:.200}: no such setting{hint}; allowed: {', '.join(known) or 'none'}")
    values = {
        key: _value(hints[key], value, f"{where}{key}", folder, _default(known[key], base), trust)
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
        raise ValueError(f"{where.rstrip('.')}: {error}" if where else str(error)) from error


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind, include_extras=True)


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def _default(f: Setting[Any], base: Any) -> Any:
    if base is not None:
        return getattr(base, f.name)
    return None if f.default_factory is MISSING else f.default_factory()


def _value(hint: Any, value: Any, where: str, folder: Path | None, default: Any, trust: Trust) -> Any:
    role = ROLES.get(hint)
    if role is not None or is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} = {shown(value)}: must be a table of settings")
        table = dict(cast(Mapping[str, Any], value))
        if role is None:
            return build(cast(type, hint), table, f"{where}.", folder, default, trust)
        if not isinstance(table.get("kind"), str):
            kinds = ", ".join(plugins.kinds(role))
            raise ValueError(f"{where}.kind: is missing; allowed: {kinds}, or 'package.module:Class'")
        return build(plugins.load(role, table.pop("kind"), where, trust), table, f"{where}.", folder, trust=trust)
    value = plain(value, where)
    if folder is not None and BESIDE_RECIPE in getattr(hint, "__metadata__", ()):
        value = _beside(value, folder, where)
    if folder is not None and hint == tuple[PathOrName, ...] and isinstance(value, tuple):
        value = tuple(_beside(item, folder, where) for item in cast("tuple[Any, ...]", value))
    try:
        checked: Any = _adapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        raise ValueError(f"{where} = {shown(value)}: must be {allowed(hint)}") from error
    _require_trust(getattr(hint, "__metadata__", ()), checked, where, trust)
    return checked


def _require_trust(marks: Sequence[Any], value: Any, where: str, trust: Trust) -> None:
    """Refuse a setting that would run untrusted code, send texts away or start a program."""
    if NAMES_CODE in marks:
        _require_code(value, where, trust)
    if SENDS in marks:
        urls: tuple[str, ...] = (value,) if isinstance(value, str) else value
        for url in urls:
            trust.require_server(where, url)
    if STARTS in marks and value:
        trust.require_command(where, value)


def _require_code(value: Any, where: str, trust: Trust) -> None:
    """Refuse untrusted code; a setting that names none is left to its component."""
    if value is True:
        trust.require_remote_code(where)
    elif isinstance(value, str) and ":" in value:
        trust.require(where, value)


def _beside(value: Any, folder: Path, where: str) -> Any:
    """Make the path of a file beside the recipe absolute, so that the run's own copy of the recipe finds it too."""
    try:
        return str(folder / value) if isinstance(value, str) and value and (folder / value).exists() else value
    except OSError as error:
        raise ValueError(f"{where} = {shown(value)}: cannot be a path ({error.strerror})") from error


def _parsed(setting: str, table: Mapping[str, Any], trust: Trust) -> tuple[list[str], Any]:
    """The names of the sections and of the key, and the value, of a `section.key=value`."""
    name, equals, text = setting.partition("=")
    names = [part.strip() for part in name.split(".")]
    if not equals or not all(names):
        raise ValueError(f"--set {setting}: write section.key=value")
    if len(names) == 1 and names[0] not in _hints(Recipe):
        raise ValueError(f"--set {setting}: write section.key=value{_place_of(names[0], table, trust)}")
    try:
        return names, tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return names, text  # a bare word is a string
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--set {name}: the value is nested too deep, or a number of too many digits") from error


def _refuse_contradictions(changes: Sequence[tuple[list[str], Any]]) -> None:
    """Refuse a single setting that a whole section given after it sets otherwise: either could be meant."""
    for i, (names, value) in enumerate(changes):
        for section, inside in changes[i + 1 :]:
            if len(section) >= len(names) or names[: len(section)] != section:
                continue
            for key in names[len(section) :]:
                inside = cast("Mapping[str, Any]", inside).get(key, value) if isinstance(inside, Mapping) else value
            if inside != value:
                name = ".".join(names)
                raise ValueError(
                    f"--set {name}={value}: --set {'.'.join(section)}={{…}}, given later, has {inside} for it; leave "
                    "one of them out"
                )


def _place_of(key: str, table: Mapping[str, Any], trust: Trust) -> str:
    """A hint naming the recipe sections that have a setting of this name, or of one that it may have meant."""
    classes = {f.name: _class_of(Recipe, f.name, table.get(f.name), trust)[1] for f in fields(Recipe)}
    inside = {place: {f.name for f in fields(cls)} for place, cls in classes.items() if cls}
    for name in (key, *nearest(key, sorted(set[str]().union(*inside.values())))):
        if places := [f"{place}.{name}" for place, names in inside.items() if name in names]:
            return f" (did you mean {' or '.join(places)}?)"
    return did_you_mean(key, classes)


def _override(table: dict[str, Any], names: Sequence[str], value: Any, trust: Trust) -> str:
    """Change one setting; return a sentence naming the settings that a new kind drops, or an empty string."""
    *sections, key = names
    cls: type | None = Recipe
    role = ""
    for section in sections:
        inner = table.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ValueError(f"--set {'.'.join(names)}: {section} is a single setting, not a section")
        table = cast(dict[str, Any], inner)
        role, cls = _class_of(cls, section, table, trust)
    new = _component(role, value, trust) if role and key == "kind" else None
    replaced = [name for name in table if name != "kind"] if new and "kind" in table else []
    dropped = [name for name in replaced if new and not (cls and _shared(name, cls, new))]
    sentence = f"{'.'.join(names)}={value} drops settings of {table.get(key)}: {', '.join(dropped)}" if dropped else ""
    for name in dropped:
        del table[name]
    table[key] = value
    return sentence


def _class_of(outer: type | None, section: str, table: Any, trust: Trust) -> tuple[str, type | None]:
    """(the role of the section's component, if it is one; the class of its settings, if known)."""
    hint = _hints(outer).get(section) if outer else None
    role = ROLES.get(cast(type, hint), "")
    kind = cast("Mapping[str, Any]", table).get("kind") if isinstance(table, Mapping) else None
    cls = _component(role, kind, trust) if role else hint
    return role, cls if isinstance(cls, type) and is_dataclass(cls) else None


def _component(role: str, kind: object, trust: Trust) -> type | None:
    """The class of a kind; None if there is no such kind or it is not trusted, reported when the recipe is built."""
    try:
        return plugins.load(role, kind, trust=trust) if isinstance(kind, str) else None
    except ValueError:
        return None


def _shared(name: str, old: type, new: type) -> bool:
    """Whether a setting carries over to another kind: both inherit it from one base, or the old kind lacks it."""
    homes = [next((c for c in reversed(cls.__mro__) if name in get_annotations(c)), None) for cls in (old, new)]
    return homes[0] is None or homes[0] is homes[1]
