"""The Python face of runs: `boost`, `load_run`, `compare`, `export_run`. Paths may be texts; results are typed objects.

Left out: what prints (`check`, `try`, `inspect`) or serves (`view`, `chat`); it is the command line's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfboost import loop
from selfboost import recipe as recipes
from selfboost.export import ExportRequest, What, export
from selfboost.measuring.paired import Compared
from selfboost.recipe import Recipe
from selfboost.results.models import BEST
from selfboost.stages import Listener, Silent
from selfboost.views import comparison
from selfboost.views.frames import frame
from selfboost.views.summary import RunSummary, summary

Address = str | Path
"""A file or a folder."""


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """Two runs or stored measurements, item by item: the second's values minus the first's."""

    first: str
    second: str
    measures: Mapping[str, Compared]
    """Measure → paired difference, with its interval and test."""

    def __getitem__(self, measure: str) -> Compared:
        return self.measures[measure]

    def to_pandas(self) -> Any:
        """A data frame with a row for each measure.

        Columns: measure, difference, low, high, n, p, p_holm, test, over, title, unit, better.

        Raises:
            ValueError: pandas is not installed.
        """
        found = comparison.as_json(self.measures)
        return frame([{"measure": name, **columns} for name, columns in found.items()])


def boost(
    recipe: Recipe | Address,
    into: Address,
    listener: Listener | None = None,
    *,
    settings: Sequence[str] = (),
    trust: str | Sequence[str] = (),
) -> RunSummary:
    """Run a recipe in a folder, resuming from what is already there, and return what came of it.

    `recipe`: one that was read, a TOML file, or the name of a shipped one; of the latter two `settings` are
    `section.key=value` changes, and `trust` names what the recipe may import. `listener` hears of stages and progress.

    Raises:
        ValueError: an error that the user can fix, in one sentence.
    """
    heard = listener or Silent()
    if isinstance(recipe, Recipe):
        if settings or trust:
            raise ValueError("boost: settings and trust belong to a recipe's file or name; this recipe has been read")
    else:
        recipe = recipes.read(recipes.find(str(recipe)), settings, heard.say, trust=trust)
    loop.boost(recipe, Path(into), heard)
    return load_run(into)


def load_run(folder: Address) -> RunSummary:
    """What a folder says about its run, finished, running or killed.

    Raises:
        ValueError: the folder is not a run's, or one of its files is damaged.
    """
    return summary(Path(folder))


def compare(first: Address, second: Address) -> RunComparison:
    """Paired differences of two runs' policies, of models (`DIR@N`), or of two stored measurements.

    Raises:
        ValueError: one of them cannot be read, or the two share no items or were measured differently.
    """
    found = comparison.compare(Path(first), Path(second))
    return RunComparison(first=str(first), second=str(second), measures=found)


def export_run(folder: Address, to: Address, what: What = "model", iteration: int | str = BEST) -> Path:
    """Write a run's model, adapter, pairs or records to a new folder, and return it.

    Raises:
        ValueError: there is no such run or model, or the folder exists.
    """
    return export(ExportRequest(root=Path(folder), to=Path(to), what=what, iteration=str(iteration)))
