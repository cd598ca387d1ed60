"""A language model improves itself: from a small seed of prompts with good answers, on preference data of its own.

The public face (docs/python.md) does what the commands do: `init`, `check`, `try_recipe` and `boost` for a recipe;
`load_run`, `compare`, `write_report`, `export_run`, `push_run` for a run; `measure` and `ask` for a model. The rest is
what a component of your own is written against (docs/guides/).
Everything is loaded on first use, so that importing selfboost is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfboost.benchmark import Benchmark
    from selfboost.engines import Engine, Generation, Request, Sampler, Tokenizer
    from selfboost.export.gguf import Gguf
    from selfboost.export.push import Pushed
    from selfboost.face import RunComparison, boost, compare, export_gguf, export_run, load_run, push_run
    from selfboost.face.before import check, init, try_recipe, write_launch
    from selfboost.face.models import ask, measure
    from selfboost.losses import Loss, PairScores
    from selfboost.measures import Measure
    from selfboost.measuring.stored import Measurement
    from selfboost.measuring.stored import read as read_measurement
    from selfboost.method import Method
    from selfboost.new_component import write_new_component
    from selfboost.new_recipe import NewRecipe
    from selfboost.notes import Counts, Note
    from selfboost.plan import Plan
    from selfboost.recipe import find as find_recipe
    from selfboost.recipe import read as read_recipe
    from selfboost.records import Answer, Example, Message, Model, Origin, Pair, Prompt, Rated, Sampling, Verdict
    from selfboost.report import write_report as write_report
    from selfboost.scorers import Scorer, unit_of
    from selfboost.train import Sequenced, Trainer, Training, TrainingResult
    from selfboost.trial import Trial
    from selfboost.trust.check_functions import check_function as check_function
    from selfboost.verbs import Settings, Verbs
    from selfboost.views.pair_view import find_pair
    from selfboost.views.summary import RunSummary

_NAMES = {
    "benchmark": "Benchmark",
    "engines": "Engine Generation Request Sampler Tokenizer",
    "export.gguf": "Gguf",
    "export.push": "Pushed",
    "face": "RunComparison boost compare export_gguf export_run load_run push_run",
    "face.before": "check init try_recipe write_launch",
    "face.models": "ask measure",
    "losses": "Loss PairScores",
    "measures": "Measure",
    "measuring.stored": "Measurement read=read_measurement",
    "method": "Method",
    "new_component": "write_new_component",
    "new_recipe": "NewRecipe",
    "notes": "Counts Note",
    "plan": "Plan",
    "recipe": "find=find_recipe read=read_recipe",
    "records": "Answer Example Message Model Origin Pair Prompt Rated Sampling Verdict",
    "report": "write_report",
    "scorers": "Scorer unit_of",
    "train": "Sequenced Trainer Training TrainingResult",
    "trial": "Trial",
    "trust.check_functions": "check_function",
    "verbs": "Settings Verbs",
    "views.pair_view": "find_pair",
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
    "Gguf",
    "Loss",
    "Measure",
    "Measurement",
    "Message",
    "Method",
    "Model",
    "NewRecipe",
    "Note",
    "Origin",
    "Pair",
    "PairScores",
    "Plan",
    "Prompt",
    "Pushed",
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
    "Trial",
    "Verbs",
    "Verdict",
    "ask",
    "boost",
    "check",
    "check_function",
    "compare",
    "export_gguf",
    "export_run",
    "find_pair",
    "find_recipe",
    "init",
    "load_run",
    "measure",
    "push_run",
    "read_measurement",
    "read_recipe",
    "try_recipe",
    "unit_of",
    "write_launch",
    "write_new_component",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'selfboost' has no attribute {name!r}; it offers {', '.join(__all__)}")
    module, inside = _HOMES[name]
    return getattr(import_module(f"selfboost.{module}"), inside)
