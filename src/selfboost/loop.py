"""The loop: the method proposes a candidate, the run measures it against the incumbent, the gate decides and says why.

Decisions are made on the validation prompts, results reported on the held-out ones. Everything is kept in `run.json`.
"""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from selfboost import results, store
from selfboost.cluster.threads import limit_torch
from selfboost.disk import files
from selfboost.disk.locks import NAME as LOCK
from selfboost.disk.locks import LockLost, check_held, lock
from selfboost.drift import Drift, Measured
from selfboost.drift.panel import drift_panel
from selfboost.drift.passes import Passes, run_passes, why_not_scored
from selfboost.engines import Holding
from selfboost.engines.run_day import on_day, today
from selfboost.gate import BestSoFar, decide, too_far, worsened
from selfboost.measures import Estimated, Measure, MeasureRow, Measures, gain_of, measures_of, with_win_rate
from selfboost.recipe import Recipe
from selfboost.recipe_text import kind_of, recipe_text
from selfboost.records import Model, Rated
from selfboost.results import Beside, Decision, Iteration, Results, beside_place
from selfboost.results.best_model import LINK, is_ours, lead_to
from selfboost.results.environment import continued, environment
from selfboost.results.tracked import RunTracking
from selfboost.run import Run
from selfboost.stages import Listener
from selfboost.system import peak_memory_of_all
from selfboost.train import Sequenced
from selfboost.train.devices.launched import launched

TITLE = "The complete recipe of this run."
"""First line of a recipe that a run wrote."""
FOLDERS = (store.STAGES, store.SUPERSEDED, "cache")
NAMED = 5
"""Most foreign files that are named."""


@dataclass(frozen=True, kw_only=True)
class Rating:
    """A model's ratings on both splits."""

    model: Model
    held_out: list[Rated]
    validation: list[Rated]


def boost(recipe: Recipe, root: Path, listener: Listener) -> None:
    """Run a recipe in a folder, resuming from what is already there.

    Raises:
        ValueError: an error that the user can fix, in one sentence.
    """
    _spare_own_recipe(root)
    with lock(root):
        started = time.monotonic()
        limit_torch(recipe.run.threads)
        if launched():
            from selfboost.train.devices.shared_folder import require_shared

            require_shared(root)
        _look_around(root, listener)
        day = _day_of(recipe, root)
        with on_day(day):
            _go(replace(recipe, run=replace(recipe.run, date=day.isoformat())), root, listener, started)


def _go(recipe: Recipe, root: Path, listener: Listener, started: float) -> None:
    run = Run(recipe, root, listener)
    text = recipe_text(recipe, TITLE)
    loop = Loop(run, started, RunTracking(recipe, root, tomllib.loads(text)))
    check_held(root)
    files.write_atomically(root / results.RECIPE, text.encode())
    try:
        with run.cluster:
            loop.go()
    except LockLost:
        raise  # whatever is in the folder may be another run's
    except KeyboardInterrupt:
        with suppress(LockLost):
            loop.save("stopped")
        raise
    except (ValueError, FloatingPointError) as error:
        if loop.iterations:
            loop.save("failed", str(error))  # the folder records failures too
        raise


def _day_of(recipe: Recipe, root: Path) -> date:
    """The day that chat templates show: the recipe's, that of the run being resumed, or today."""
    return date.fromisoformat(recipe.run.date or results.recorded_date(root) or today().isoformat())


def _spare_own_recipe(root: Path) -> None:
    """Refuse a folder whose recipe was not written by a run: this run would overwrite it."""
    path = root / results.RECIPE
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace").startswith(f"# {TITLE}"):
        return
    cure = f"choose another folder, such as --into {root / 'out'}"
    if (root / results.SUMMARY).exists() or (root / store.STAGES).exists():
        cure = "move it away to resume the run in this folder, or choose another folder"
    raise ValueError(f"{path}: not written by a run, and this run would overwrite it; {cure}")


def _look_around(root: Path, listener: Listener) -> None:
    """Refuse symbolic links where this run writes, and say what in the folder is not a run's."""
    own = (results.SUMMARY, results.RECIPE, LOCK)
    for name in (*own, results.REPORT):
        files.refuse_link(root / name)
    for name in FOLDERS:
        files.refuse_links_inside(root / name, spare=store.CARD)
    ours = [*own, results.REPORT, *([LINK] if is_ours(root / LINK) else [])]
    written = re.compile(f"({'|'.join(map(re.escape, ours))})(\\.new|\\.broken-\\d+)?")
    foreign = sorted(p.name for p in root.iterdir() if not (p.name in FOLDERS or written.fullmatch(p.name)))
    if foreign:
        more = f" and {len(foreign) - NAMED} more" if len(foreign) > NAMED else ""
        listener.say(f"{root}: holds what no run wrote, which is left as it is: {', '.join(foreign[:NAMED])}{more}")


class Loop:
    """The state of a loop: the incumbent and the results of every iteration."""

    def __init__(self, run: Run, started: float, tracking: RunTracking | None = None) -> None:
        self.run, self.recipe = run, run.recipe
        self.iterations: list[Iteration] = []
        self.beside: list[Beside] = []
        self.first_measured = Measured()
        self.first_passes: Passes | None = None
        self._best = BestSoFar(run.recipe.gate, run.recipe.measures)
        self._clock = started
        self._tracking = tracking
        earlier = _earlier(run)
        self._told_before = {each.iteration: list(each.drift.alarms.values()) for each in earlier.iterations}
        self._seconds, self._peak = earlier.seconds, earlier.peak_memory_bytes
        self._environments, self._before = earlier.environments, earlier.iterations

    def go(self) -> None:
        """Run all iterations, or until patience runs out."""
        self.run.begin(0, self.run.initial)
        self.first = incumbent = self._rate(self.run.initial)
        self.first_measured = self.run.last_measured
        passes = self._passes(self.run.initial)
        self._add(incumbent, incumbent, "initial", "the model to improve", self.run.initial, passes)
        without_gain = 0
        rounds = 1 if self.recipe.method.once else self.recipe.run.iterations
        for number in range(1, rounds + 1):
            self.run.begin(number, incumbent.model)
            self._best.stands(incumbent.model.name, incumbent.validation)
            candidate = self._rate(self.recipe.method.iterate(self.run))
            passes = self._passes(candidate.model)
            promote, why = self._decide(candidate, incumbent, passes)
            without_gain = 0 if promote else without_gain + 1
            stop = without_gain >= self.recipe.run.patience
            decision: Decision = "promoted" if promote else "stopped" if stop else "kept"
            policy = candidate.model if promote else incumbent.model
            self._add(candidate, incumbent, decision, why, policy, passes)
            incumbent = candidate if promote else incumbent
            if stop:
                break
        self._lead_to(incumbent.model)
        self._measure_beside(incumbent)
        self.save("finished")

    @property
    def _compared(self) -> tuple[str, Measure]:
        """The measure that the gate decides by."""
        name = self.recipe.gate.measure
        return name, self.recipe.measures[name]

    def _decide(self, candidate: Rating, incumbent: Rating, passes: Passes | None) -> tuple[bool, str]:
        gate, seed, (_, measure) = self.recipe.gate, self.recipe.run.seed, self._compared
        promote, why = decide(gate, measure, candidate.validation, incumbent.validation, seed)
        if not promote:
            return False, why
        guards = {name: self.recipe.measures[name] for name in gate.guards}
        objections = [
            worsened(guards, candidate.validation, incumbent.validation, seed),
            self._best.objection(candidate.validation, incumbent.model.name, seed),
            too_far(gate, passes, seed),
        ]
        found = "; ".join(filter(None, objections))
        return not found, f"{why}; not promoted: {found}" if found else why

    def _rate(self, model: Model) -> Rating:
        return Rating(
            model=model, validation=self.run.measure(model, "validation"), held_out=self.run.measure(model, "held_out")
        )

    def _measures(self, rating: Rating, against: Rating | None) -> tuple[Measures, Measures]:
        seed, measure = self.recipe.run.seed, self._compared
        return (
            measures_of(rating.held_out, self.first.held_out, against and against.held_out, measure, seed),
            measures_of(rating.validation, self.first.validation, against and against.validation, measure, seed),
        )

    def _passes(self, model: Model) -> Passes | None:
        """The drift panel's own stages of a model; those of the initial model are kept."""
        recipe = self.recipe
        if not recipe.run.drift.prompts:
            return None
        reporting = getattr(recipe.benchmark, "scorer", None)
        unasked = why_not_scored(recipe.scorer, reporting, self.run.scorer_used)
        found = run_passes(self.run, model, self.first_passes, unasked)
        self.first_passes = self.first_passes or found
        return found

    def _drift(self, model: Model, gain: Estimated, passes: Passes | None) -> Drift:
        """The panel of the model that was just rated."""
        return self._panel(gain, (passes, self.first_passes), self.run.histories.get(model.fingerprint, ()))

    def _panel(
        self,
        gain: Estimated,
        passes: tuple[Passes | None, Passes | None] = (None, None),
        history: Sequence[Mapping[str, float]] = (),
    ) -> Drift:
        first = self.iterations[0].drift if self.iterations else None
        return drift_panel(
            self.run.last_measured,
            self.first_measured,
            history=history,
            passes=passes if first else (passes[0], None),
            first_panel=first,
            gain=gain,
            sign=self._compared[1].sign,
            seed=self.recipe.run.seed,
        )

    def _add(
        self,
        candidate: Rating,
        incumbent: Rating,
        decision: Decision,
        why: str,
        policy: Model,
        passes: Passes | None,
    ) -> None:
        held_out, validation = self._measures(candidate, None if decision == "initial" else incumbent)
        drift = self._drift(candidate.model, held_out.get(self.recipe.gate.measure, MeasureRow()).gained, passes)
        self.iterations.append(
            Iteration(
                iteration=self.run.iteration,
                policy=relative(policy, self.run.root),
                decision=decision,
                why=why,
                pairs=self.run.trained_pairs,
                measures=held_out,
                validation=validation,
                notes=self.run.notes.kept,
                agreement=check_agreement(self.run, candidate.model),
                drift=drift,
            )
        )
        self.tell_alarms(drift, decision)
        if self._tracking and (failed := self._tracking.tell(self.iterations[-1], self._before, self.run.held_out)):
            self.run.say(failed)
        if not any(each.iteration > self.run.iteration for each in self._before):  # a resumed run only passes by
            self._lead_to(policy)
        self.save("running")

    def _lead_to(self, policy: Model) -> None:
        """Let `DIR/model` lead to the policy; nothing is there while the initial model is the best."""
        if in_the_way := lead_to(self.run.root, relative(policy, self.run.root)):
            self.run.say(in_the_way)

    def tell_alarms(self, drift: Drift, decision: Decision) -> None:
        """Say what is alarming in the panel of this iteration's candidate, unless a run that is resumed has said it."""
        for sentence in drift.alarms.values():
            if sentence in self._told_before.get(self.run.iteration, ()):
                continue
            self.run.say(f"iteration {self.run.iteration}, {decision}: {sentence}")

    def _measure_beside(self, policy: Rating) -> None:
        for name in self.recipe.run.beside:
            self.run.begin(0, self.run.initial, place=beside_place(name))
            model = self.run.model(name)
            # The policy itself is not measured again: new samples would show a spurious difference.
            same = model.fingerprint == policy.model.fingerprint
            rating = policy if same else self._rate(model)
            measures, _ = self._measures(rating, None)
            gain = measures.get(self.recipe.gate.measure, MeasureRow()).gained
            over = gain_of(policy.held_out, rating.held_out, self.recipe.gate.measure, self.recipe.run.seed)
            self.beside.append(
                Beside(
                    name=name,
                    policy=relative(rating.model, self.run.root),
                    measures=measures,
                    policy_over_it=Estimated.of(over),
                    drift=Drift() if same else self._panel(gain),
                )
            )
            self.save("running")

    def save(self, status: str, error: str = "") -> None:
        """Write the summary; `error` says why the run failed."""
        self.run.tell()
        now = time.monotonic()
        self._seconds, self._clock = self._seconds + max(now - self._clock, 0.0), now
        self._peak = max(self._peak, peak_memory_of_all())
        found = Results(
            status=status,
            method=type(self.recipe.method).__name__,
            seconds=round(self._seconds, 1),
            peak_memory_bytes=self._peak,
            gate_measure=self.recipe.gate.measure,
            declared=with_win_rate(self.recipe.measures),
            seeds=tuple(len(part) for part in (self.run.seeds, self.run.validation, self.run.held_out)),
            said=tuple(self.run.said),
            iterations=tuple(self.iterations) or self._before,
            beside=tuple(self.beside),
            environments=continued(self._environments, environment(kind_of(self.recipe.engine))),
            error=error,
        )
        results.write(self.run.root, found)


def _earlier(run: Run) -> Results:
    """The run's results from before it was resumed; a damaged file is set aside, since the stages hold them too."""
    path = run.root / results.SUMMARY
    if not path.exists():
        return Results()
    try:
        return results.read(run.root)
    except ValueError as error:
        run.say(f"{error}; kept as {files.set_aside(path)}, and made again from the stages")
        return Results()


def relative(model: Model, root: Path) -> str:
    """A model's folder, relative to the run's if it lies inside, so that the run can be moved as a whole."""
    path = Path(model.path)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else model.path


def check_agreement(run: Run, model: Model) -> float | None:
    """Mean absolute difference, in nats per token, over a few of the model's latest answers; None if there are none.

    None, too, where the recipe allows any: the trainer would hold the model on one device.

    Raises:
        ValueError: the difference is beyond the recipe's `run.agreement`.
    """
    answers = run.recent(model)
    if not answers or not run.recipe.run.agreement:
        return None
    sequences = [Sequenced(prompt_ids=a.prompt_ids, token_ids=a.token_ids) for a in answers]
    if isinstance(run.engine, Holding):
        run.cluster.release(run.engine)
    trained = run.trainer.logps(model, sequences)
    differences = [
        abs(mine - theirs)
        for answer, logps in zip(answers, trained, strict=True)
        for mine, theirs in zip(answer.logps, logps, strict=True)
    ]
    mean = sum(differences) / len(differences)
    if not mean <= run.recipe.run.agreement:
        raise ValueError(
            f"{model.name}: log-probabilities of sampler and trainer differ by {mean:.3g} nats per token, "
            f"more than run.agreement = {run.recipe.run.agreement}; the engine uses different weights, precision "
            "or tokenisation"
        )
    return mean
