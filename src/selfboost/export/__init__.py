"""What a run made, as folders that others can use: a model with its card, an adapter, the pairs, all records.

Nothing is overwritten; a folder appears when it is complete.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from selfboost import store
from selfboost.disk.json_files import read_json
from selfboost.engines.checkpoint import ADAPTER, ADAPTER_SETTINGS
from selfboost.export import pairs
from selfboost.export.model_card import Exported, model_card, pairs_card
from selfboost.export.new_folder import copy_files, new_folder
from selfboost.export.parquet import write_stages
from selfboost.results import check_is_run
from selfboost.results.models import BEST, RunModel, find_model
from selfboost.views.summary import summary

What = Literal["model", "adapter", "pairs", "parquet"]
CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What is exported, and where to."""

    root: Path
    to: Path | None = None
    """The new folder; None: beside the run's, named after it."""
    what: What = "model"
    iteration: str = BEST
    """Of `model` and `adapter`: the iteration's number, or `best`."""

    @property
    def target(self) -> Path:
        """The new folder."""
        root = self.root.absolute()
        return self.to or root.with_name(f"{root.name}-{self.what}")


def export(request: ExportRequest) -> Path:
    """Write what is asked for to a new folder, and return it.

    Raises:
        ValueError: there is no such run or model, or the folder exists; in one sentence.
    """
    check_is_run(request.root)
    if request.what in ("pairs", "parquet"):
        if request.iteration != BEST:
            raise ValueError(f"--iteration {request.iteration}: chooses a model; --{request.what} is of the whole run")
        with new_folder(request.target) as fresh:
            _write_data(request, fresh)
        return request.target
    model = trained_model(request.root, request.iteration)
    with new_folder(request.target) as fresh:
        if request.what == "adapter":
            _write_adapter(model, fresh)
        else:
            _write_model(model, fresh)
    return request.target


def trained_model(root: Path, iteration: str) -> RunModel:
    """A model that the run made, its files as the run wrote them.

    Raises:
        ValueError: there is no such run or model, it is the initial one, or a file is damaged.
    """
    model = find_model(root, iteration)
    if model.card is None:
        raise ValueError(
            f"{root}@{model.entry.iteration}: is the initial model ({model.path}), which this run did not "
            "make; choose the candidate of another iteration with --iteration"
        )
    store.verify(Path(model.path).parent, model.card)
    return model


def pair_counts(root: Path) -> pairs.PairCounts:
    """How many pairs a run made, and from what."""
    counts = pairs.PairCounts()
    for pair in pairs.pairs_of(root):
        counts.add(pair)
    return counts


def _write_data(request: ExportRequest, into: Path) -> None:
    if request.what == "pairs":
        _write_pairs(request.root, into)
    elif not write_stages(request.root, into):
        raise ValueError(f"{request.root}: no stage of this run is finished yet")


def _write_pairs(root: Path, into: Path) -> pairs.PairCounts:
    counts = pairs.write_pairs(root, into)
    (into / CARD).write_text(pairs_card(summary(root), counts), encoding="utf-8")
    return counts


def _write_model(model: RunModel, into: Path) -> None:
    copy_files(Path(model.path), into, without=ADAPTER)
    counts = pairs.PairCounts()
    if any(True for _ in pairs.pairs_of(model.root)):
        (into / pairs.FOLDER).mkdir()
        counts = _write_pairs(model.root, into / pairs.FOLDER)
    story = Exported(model=model, run=summary(model.root), pairs=counts)
    (into / CARD).write_text(model_card(story), encoding="utf-8")


def _write_adapter(model: RunModel, into: Path) -> None:
    folder = Path(model.path) / ADAPTER
    if not (folder / ADAPTER_SETTINGS).is_file():
        raise ValueError(
            f"{model.root}@{model.entry.iteration}: was trained in full, so there is no adapter; export the model "
            "without --adapter, or train with training.lora_rank"
        )
    name, words = _base_of(model)
    copy_files(folder, into)
    settings = cast("dict[str, Any]", read_json(into / ADAPTER_SETTINGS)) | {"base_model_name_or_path": name or None}
    (into / ADAPTER_SETTINGS).write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    story = Exported(model=model, run=summary(model.root), pairs=pair_counts(model.root), adapter_base=words)
    (into / CARD).write_text(model_card(story), encoding="utf-8")


def _base_of(model: RunModel) -> tuple[str, str]:
    """The model that an adapter belongs on: its path, where it is the initial one, and in words."""
    assert model.card is not None, "the initial model has no adapter"
    start = model.card.parts.get("start")
    initial = find_model(model.root, "0")
    measured = store.read_card(model.root / store.STAGES / "iteration-0" / "measure-held_out")
    if measured is not None and measured.parts.get("model") == start:
        return initial.path, "the initial model"
    for number in range(model.entry.iteration - 1, 0, -1):
        earlier = find_model(model.root, str(number)).card
        if earlier is not None and earlier.made == start:
            return "", f"the model of iteration {number}, which `--iteration {number}` exports"
    return "", "a model that was trained before it in the run (see the recipe)"
