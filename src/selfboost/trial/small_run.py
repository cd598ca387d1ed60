"""The run of a trial: the verbs and the loop as they are, on few seeds, with a record of every candidate pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from selfboost.data.seed_data import SeedData
from selfboost.drift import Drift
from selfboost.drift.passes import Passes
from selfboost.loop import Loop
from selfboost.measures import Estimated
from selfboost.methods.parts.pairing import PairFilter
from selfboost.notes import Counts
from selfboost.recipe import Recipe
from selfboost.recipe_parts import setting_of
from selfboost.records import Answer, Model, Pair, Prompt, Rated, Sampling, Verdict
from selfboost.run import Run
from selfboost.scorers import Scorer
from selfboost.stages import Listener
from selfboost.trial.reduced import MEASURED, Scale
from selfboost.verbs import Sides


@dataclass(frozen=True, kw_only=True)
class WatchedFilter(PairFilter):
    """A filter that remembers why it dropped a candidate."""

    dropped: dict[str, str] = field(default_factory=dict[str, str])
    """Id of the pair → reason."""

    def objection(self, pair: Pair, least: float) -> str:
        """The filter's own, remembered."""
        reason = super().objection(pair, least)
        if reason:
            self.dropped[pair.id] = reason
        return reason


@dataclass(kw_only=True)
class Seen:
    """What a trial saw besides its stages."""

    candidates: dict[str, Pair] = field(default_factory=dict[str, Pair])
    """Pairs that the method made, by id."""
    dropped: dict[str, str] = field(default_factory=dict[str, str])
    """Id of a candidate → why the filter dropped it."""
    trained: set[str] = field(default_factory=set[str])
    """Ids of those that the policy was trained on."""
    measuring: set[str] = field(default_factory=set[str])
    """Stages that the benchmark asked for."""
    settings: dict[str, str] = field(default_factory=dict[str, str])
    """Sampling stage → the setting of its sampling, such as `method.sampling`."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    """Name of a note → reason → how many."""

    def after(self, first: Seen) -> Seen:
        """With what another try in the same folder saw of stages that this one lacks."""
        return replace(
            self,
            measuring=first.measuring | self.measuring,
            settings=first.settings | self.settings,
            counts=first.counts | self.counts,
        )


class TrialRun(Run):
    """A run on the first few seeds."""

    def __init__(self, recipe: Recipe, root: Path, listener: Listener, scale: Scale, seen: Seen) -> None:
        self._scale, self.seen = scale, seen
        self._candidates: list[Sequence[Pair]] = []
        super().__init__(replace(recipe, method=_watched(recipe.method, seen.dropped)), root, listener)

    def read_data(self) -> SeedData:
        """A few rows of the run's own split."""
        data = super().read_data()
        return replace(
            data,
            train=data.train[: self._scale.seeds],
            validation=data.validation[:MEASURED],
            held_out=data.held_out[:MEASURED],
        )

    def sample(self, name: str, model: Model, prompts: Sequence[Prompt], sampling: Sampling) -> Sequence[Answer]:
        """As in a run."""
        self._remember(name)
        if not self._measuring:
            self.seen.settings[self._place(name)] = setting_of(self.recipe, sampling)
        return super().sample(name, model, prompts, sampling)

    def score(
        self, name: str, answers: Sequence[Answer], scorer: Scorer | None = None, **given: Model
    ) -> Sequence[Verdict]:
        """As in a run."""
        self._remember(name)
        return super().score(name, answers, scorer, **given)

    def prefer(self, name: str, pairs: Sequence[Pair], **settings: Any) -> Model:
        """As in a run; what trains a model beside the policy is no candidate."""
        ids = {pair.id for pair in pairs}
        if "/" in name:
            self._candidates = [[p for p in made if p.id not in ids] for made in self._candidates]
        else:
            self.seen.trained |= ids
        return super().prefer(name, pairs, **settings)

    def measure(self, model: Model, split: Literal["validation", "held_out"]) -> list[Rated]:
        """As in a run."""
        self.seen.measuring.add(self._place(f"measure-{split}"))
        return super().measure(model, split)

    def pair(
        self, prompt: Prompt, chosen: Answer, rejected: Answer, verdicts: tuple[Verdict, Verdict] | None = None
    ) -> Pair:
        """As in a run."""
        made = super().pair(prompt, chosen, rejected, verdicts)
        self._candidates.append([made])
        return made

    def pairs(self, sides: Callable[..., Sides], *sources: Sequence[Any]) -> Sequence[Pair]:
        """As in a run."""
        made = super().pairs(sides, *sources)
        self._candidates.append(made)
        return made

    def count(self, kind: type[Counts], counts: Mapping[str, int]) -> None:
        """As in a run."""
        super().count(kind, counts)
        note = self.notes.get(kind)
        if note is not None:
            self.seen.counts[kind.kept_as] = dict(note.counts)

    def look_back(self) -> None:
        """Note the candidates; of one that was made twice, without scores and with them, the second."""
        for made in self._candidates:
            self.seen.candidates.update({pair.id: pair for pair in made})

    def _remember(self, name: str) -> None:
        if self._measuring:
            self.seen.measuring.add(self._place(name))


class TrialLoop(Loop):
    """The loop without the drift panel, which needs more prompts."""

    def _drift(self, model: Model, gain: Estimated, passes: Passes | None) -> Drift:
        del model, gain, passes
        return Drift()


def _watched(method: Any, dropped: dict[str, str]) -> Any:
    """The method with its filters, wherever they are named, watched."""
    changes: dict[str, Any] = {}
    for f in fields(method):
        value = getattr(method, f.name)
        if isinstance(value, PairFilter):
            settings = {each.name: getattr(value, each.name) for each in fields(PairFilter)}
            changes[f.name] = WatchedFilter(**settings, dropped=dropped)
    return replace(method, **changes) if changes else method
