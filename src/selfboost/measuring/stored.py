"""A measurement as a file: figures with intervals, every item's values, and all that they depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from selfboost.disk.json_files import read_json, write_json
from selfboost.extras import frame
from selfboost.measures import Declared, Estimated
from selfboost.measuring.paired import Compared, compare_ratings
from selfboost.notes import Kept
from selfboost.records import Model, Rated
from selfboost.results.environment import Environment
from selfboost.statistics import mean_interval, share_interval, summed

FORMAT = "selfboost measurement 1"
"""The mark of a file of this kind; the number goes up when it changes."""


@dataclass(frozen=True, kw_only=True)
class Figure(Estimated):
    """One measure of one model, with its 95 % interval over items: Wilson's where all values are 0 or 1, else BCa."""

    n: int
    """Items with a value."""
    missing: int = 0
    """Items that belong to the measure and have none."""


@dataclass(frozen=True, kw_only=True)
class StageFacts:
    """A stage of the measurement: what determined its result."""

    fingerprint: str
    parts: Mapping[str, Any]
    """Settings, and hashes of models, prompts and task files; a scorer's kind and models are who judged."""
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A benchmark's rating of one model."""

    format: str = FORMAT
    model: Model
    benchmark: Mapping[str, Any]
    """Its kind and settings."""
    random_seed: int
    date: str
    """The day that chat templates saw."""
    environment: Environment
    said: tuple[str, ...] = ()
    """Sentences about the model and the prompts that the user must know."""
    declared: Declared
    figures: Mapping[str, Figure]
    """By measure."""
    items_hash: str
    """SHA-256 over the ids of the items, in order."""
    items: tuple[Rated, ...]
    stages: Mapping[str, StageFacts]
    notes: Kept = field(default_factory=dict[str, Any])
    """What the benchmark noted, by name."""
    against: Measurement | None = None
    """Another model, measured in the same way."""

    @property
    def differences(self) -> dict[str, Compared]:
        """The model minus the other one, by measure; empty if it was measured alone."""
        if self.against is None:
            return {}
        others = {rated.prompt: rated for rated in self.against.items}
        own = [rated for rated in self.items if rated.prompt in others]
        return compare_ratings(self.declared, [others[rated.prompt] for rated in own], own, "items")

    def to_pandas(self) -> Any:
        """A data frame with a row for each model and measure; shares are from 0 to 1.

        Columns: model, measure, title, unit, better, metric, value, low, high, n, missing.

        Raises:
            ValueError: pandas is not installed.
        """
        rows: list[dict[str, Any]] = []
        for each in (self, *([self.against] if self.against else [])):
            for name, figure in each.figures.items():
                known = {"model": each.model.name, "measure": name, **vars(each.declared[name])}
                rows.append(known | vars(figure))
        return frame(rows)


def figures_of(declared: Declared, items: Sequence[Rated]) -> dict[str, Figure]:
    """Measure → its figure.

    Raises:
        ValueError: a measure has no value for any item.
    """
    found: dict[str, Figure] = {}
    for name in declared:
        own = [rated.values[name] for rated in items if rated.values[name]]
        known = [[value for value in values if value is not None] for values in own]
        means = [summed(values) / len(values) if values else None for values in known]
        if all(len(values) == 1 and values[0] in (0, 1) for values in known if values):
            interval = share_interval(sum(mean == 1 for mean in means), sum(mean is not None for mean in means))
        else:
            interval = mean_interval(means)
        found[name] = Figure(
            value=interval.value,
            low=interval.low,
            high=interval.high,
            n=interval.count,
            missing=len(own) - interval.count,
        )
    return found


def check_replaceable(path: Path) -> None:
    """Refuse a place where a measurement cannot be written, or would replace something else.

    Raises:
        ValueError: the folder is missing, or the file is no measurement.
    """
    if not path.parent.is_dir():
        raise ValueError(f"--to {path}: there is no folder {path.parent}")
    if path.exists():
        try:
            read(path)
        except (ValueError, OSError) as error:
            raise ValueError(f"--to {path}: exists and is no measurement, so it is left as it is") from error


def write(path: Path, found: Measurement) -> None:
    """Write a measurement, readable for people."""
    write_json(path, asdict(found))


def read(path: Path) -> Measurement:
    """Read a stored measurement.

    Raises:
        ValueError: the file is missing, damaged, or of another kind.
    """
    found = read_json(path)
    if not isinstance(found, dict) or cast(dict[str, Any], found).get("format") != FORMAT:
        raise ValueError(f"{path}: is not a stored measurement (selfboost measure MODEL ... --to FILE)")
    try:
        read = _adapter().validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: is damaged ({where}: {first['msg'].lower()})") from error
    if any(set(rated.values) != set(read.declared) for rated in read.items):
        raise ValueError(f"{path}: is damaged (an item has other measures than the file declares)")
    return read


@cache
def _adapter() -> TypeAdapter[Measurement]:
    return TypeAdapter(Measurement)
