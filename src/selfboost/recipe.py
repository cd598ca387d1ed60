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
from typing import Annotated, Any, Literal, cast, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from selfboost import plugins
from selfboost.benchmarks import Benchmark
from selfboost.engines import Engine
from selfboost.losses import Loss
from selfboost.method import Method
from selfboost.scorers import Scorer
from selfboost.seeds import Turns
from selfboost.setting_types import BESIDE_RECIPE, PathOrName
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
EMBEDDED_MODEL = Path(__file__).parent / "demo" / "assets" / "model"
EMBEDDED = "embedded"
"""As a model's or a seed's path: the ones that ship with selfboost."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The loop."""

    iterations: Annotated[int, Field(ge=1)] = 4
    """Rounds of self-improvement."""
    patience: Annotated[int, Field(ge=1)] = 1000
    """Stop after this many iterations in a row without a promotion."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything random: data order, sampling, splits, resampling."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of PyTorch on the CPU (0 = its own choice)."""
    beside: tuple[str, ...] = ()
    """Models to measure beside the policy: `seed_sft`, or a folder or hub name."""
    agreement: Annotated[float, Field(gt=0)] = 0.05
    """Most the sampler's and the trainer's log-probabilities may differ, mean over tokens, in nats."""


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """The initial model."""

    path: PathOrName
    """A transformers folder, a hub name, or `embedded`."""

    @property
    def location(self) -> str:
        """Where it is: the path itself, or the folder of the embedded model."""
        return str(EMBEDDED_MODEL) if self.path == EMBEDDED else self.path


@dataclass(frozen=True, kw_only=True)
class SeedSource:
    """The seed: prompts with good answers, and the prompts kept apart for measuring."""

    path: PathOrName
    """JSONL or Parquet, file or folder: prompt/response, instruction/input/output or messages; a hub data set by its
    name (owner/name or owner/name:split); or `embedded`."""
    turns: Turns = "last"
    """Of messages: the conversation up to the assistant's last answer, or its first request and answer alone."""
    limit: Annotated[int, Field(ge=0)] = 0
    """Use this many of the training seeds, at random by the run's seed, of the embedded ones the first (0 = all)."""
    validation: Annotated[str | Annotated[int, Field(ge=1)], BESIDE_RECIPE] = 200
    """Prompts on which choices are made: a file or data set, or how many to set apart from the seed."""
    held_out: Annotated[str | Annotated[int, Field(ge=1)], BESIDE_RECIPE] = 200
    """Prompts on which results are reported, never used for a choice: a file or data set, or how many to set apart."""


@dataclass(frozen=True, kw_only=True)
class SeedModels:
    """How the models made from the seed alone are trained, where a scorer or `run.beside` asks for them."""

    sft: Training = field(default_factory=lambda: Training(learning_rate=1e-6, batch_size=32, epochs=3))
    """`seed_sft`: the initial model fine-tuned on the seed."""
    reward: Training = field(default_factory=lambda: Training(learning_rate=1e-5, batch_size=32, epochs=1))
    """`seed_reward`: a reward model (initial model, scalar head) trained on gold over the initial model's answers."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Whether a candidate becomes the policy: a paired test on the validation prompts."""

    rule: Literal["always", "not_worse", "better"] = "always"
    """Promote always (the papers), unless the gain's interval is below the margin, or only if it is above 0."""
    measure: str = "sampled"
    """The measure that decides."""
    margin: Annotated[float, Field(ge=0)] = 0.01
    """`not_worse` promotes while the upper end of the gain's interval is above minus this."""


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
            allowed = "dpo, ipo, simpo or noise_preference"
            raise ValueError(f"loss.kind: {type(self.loss).__name__} trains a reward model; a policy needs {allowed}")


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
        return kind(**values) if base is None else replace(base, **values)
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
