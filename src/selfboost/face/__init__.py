"""What Python callers do with runs: make, load, compare, export, push. Paths may be texts; results are typed objects.

`before` has what comes before a run, `models` what is done with a model. Left out: what serves (`view`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selfboost import loop
from selfboost import recipe as recipes
from selfboost.export import ExportRequest, What, export, gguf
from selfboost.export.gguf import Gguf, GgufRequest
from selfboost.export.push import Pushed, PushRequest, push
from selfboost.extras import frame
from selfboost.measuring.paired import Compared
from selfboost.recipe import Recipe
from selfboost.results.models import BEST
from selfboost.stages import Listener, Silent
from selfboost.trust import trusting
from selfboost.views import comparison
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
    loop.boost(chosen_recipe(recipe, settings, trust, heard.say), Path(into), heard)
    return load_run(into)


def chosen_recipe(
    recipe: Recipe | Address,
    settings: Sequence[str],
    trust: str | Sequence[str],
    say: Callable[[str], None] = lambda _: None,
) -> Recipe:
    """A recipe that was read, or one by its file or name, with changes.

    Raises:
        ValueError: it does not exist, something in it is wrong, or changes are meant for a recipe that was read.
    """
    if not isinstance(recipe, Recipe):
        return recipes.read(recipes.find(str(recipe)), settings, say, trust=trust)
    if settings or trust:
        raise ValueError("settings and trust belong to a recipe's file or name; this recipe has been read")
    return recipe


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


def export_gguf(
    folder: Address,
    to: Address,
    convert: str,
    server: str = "",
    iteration: int | str = BEST,
    trust: str | Sequence[str] = (),
) -> Gguf:
    """Write a run's model as a GGUF file by llama.cpp's converter, and compare its samples by llama.cpp's server.

    `convert`, `server`: programs or whole commands, as `selfboost export` takes them, which `trust` must name. The
    result's `agreement` is None where there is no server.

    Raises:
        ValueError: there is no such run or model, a program is not trusted or fails, or samples are not the model's.
    """
    wanted = GgufRequest(
        root=Path(folder),
        to=Path(to),
        convert=convert,
        server=server,
        iteration=str(iteration),
        trust=trusting(trust),
    )
    return gguf.export_gguf(wanted)


def push_run(
    folder: Address,
    to: str,
    what: Literal["model", "adapter", "pairs"] = "model",
    iteration: int | str = BEST,
    *,
    public: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Send an export to the repository `to` (OWNER/NAME) of the Hugging Face hub, private unless `public`.

    Raises:
        ValueError: there is no such run or model, or the hub refuses.
    """
    wanted = PushRequest(root=Path(folder), to=to, what=what, iteration=str(iteration), public=public)
    return push(wanted, dry_run=dry_run)
