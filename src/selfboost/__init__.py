"""A language model improves itself: from a small seed of prompts with good answers, on preference data of its own.

The public face: `boost` runs a recipe in a folder; `read_recipe` and `find_recipe` read one; `load_run`, `compare`,
`export_run` and `write_report` tell what a folder holds (docs/python.md). The rest is what a component of your own is
written against (docs/guides/).
Everything is loaded on first use, so that importing selfboost is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfboost.benchmark import Benchmark
    from selfboost.engines import Engine, Generation, Request, Sampler, Tokenizer
    from selfboost.face import RunComparison, boost, compare, export_run, load_run
    from selfboost.losses import Loss, PairScores
    from selfboost.measures import Measure
    from selfboost.method import Method
    from selfboost.notes import Counts, Note
    from selfboost.recipe import find as find_recipe
    from selfboost.recipe import read as read_recipe
    from selfboost.records import Answer, Example, Message, Model, Origin, Pair, Prompt, Rated, Sampling, Verdict
    from selfboost.report import write_report as write_report
    from selfboost.scorers import Scorer, unit_of
    from selfboost.train import Sequenced, Trainer, Training, TrainingResult
    from selfboost.trust.check_functions import check_function as check_function
    from selfboost.verbs import Settings, Verbs
    from selfboost.views.summary import RunSummary

_NAMES = {
    "benchmark": "Benchmark",
    "engines": "Engine Generation Request Sampler Tokenizer",
    "face": "RunComparison boost compare export_run load_run",
    "losses": "Loss PairScores",
    "measures": "Measure",
    "method": "Method",
    "notes": "Counts Note",
    "recipe": "find=find_recipe read=read_recipe",
    "records": "Answer Example Message Model Origin Pair Prompt Rated Sampling Verdict",
    "report": "write_report",
    "scorers": "Scorer unit_of",
    "train": "Sequenced Trainer Training TrainingResult",
    "trust.check_functions": "check_function",
    "verbs": "Settings Verbs",
    "views.summary": "RunSummary",
}
"""Module → its public names; `own=public` where it is called otherwise there."""
_HOMES = {
    name.rpartition("=")[2]: (module, name.partition("=")[0])
    for module, names in _NAMES.items()
    for name in names.split()
}

__all__ = [
    "Answer",
    "Benchmark",
    "Counts",
    "Engine",
    "Example",
    "Generation",
    "Loss",
    "Measure",
    "Message",
    "Method",
    "Model",
    "Note",
    "Origin",
    "Pair",
    "PairScores",
    "Prompt",
    "Rated",
    "Request",
    "RunComparison",
    "RunSummary",
    "Sampler",
    "Sampling",
    "Scorer",
    "Sequenced",
    "Settings",
    "Tokenizer",
    "Trainer",
    "Training",
    "TrainingResult",
    "Verbs",
    "Verdict",
    "boost",
    "check_function",
    "compare",
    "export_run",
    "find_recipe",
    "load_run",
    "read_recipe",
    "unit_of",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'selfboost' has no attribute {name!r}; it offers {', '.join(__all__)}")
    module, inside = _HOMES[name]
    return getattr(import_module(f"selfboost.{module}"), inside)
