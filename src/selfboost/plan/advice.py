"""Warnings of a plan: trainings of too few steps or with a rate far off, texts that do not fit a model's context.

Each says what will happen, where, and which setting to change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from selfboost.plan import rates
from selfboost.plan.cost import Costs
from selfboost.plan.model_size import ModelSize, local_folder
from selfboost.plan.rows import Rows
from selfboost.recipe import Recipe
from selfboost.recipe_parts import setting_of
from selfboost.setting_types import parts_of
from selfboost.train import Training


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Looks for what will go wrong in a plan."""

    costs: Costs
    context: int | None
    """Most tokens that the initial model reads; None: unknown, or no limit."""

    @property
    def recipe(self) -> Recipe:
        """The planned recipe."""
        return self.costs.recipe

    def warnings(self) -> list[str]:
        """One sentence for each fault, the first stage that has it named."""
        trainings = _first_of_each(found for found in self.costs.stages if found.stage.training)
        samplings = _first_of_each(found for found in self.costs.stages if found.stage.sampling)
        scorings = _first_of_each(found for found in self.costs.stages if found.stage.scorer)
        return [
            *self._endless(),
            *(sentence for found in trainings for sentence in self._few_steps(found)),
            *dict.fromkeys(sentence for found in trainings for sentence in self._rate(found)),
            *(sentence for found in samplings for sentence in self._no_room(found)),
            *(sentence for found in trainings for sentence in self._cut(found)),
            *(sentence for found in scorings for sentence in self._unread(found)),
        ]

    def _endless(self) -> Iterator[str]:
        """On a model that was seen to end hardly any answer."""
        pace = self.costs.pace
        if pace is not None and 1 - pace.ended > self.recipe.run.max_cut:
            yield (
                f"the model ended {pace.ended:.0%} of its answers to the seed's prompts by itself: the rest is cut at "
                "max_tokens, and a stage that is cut more than run.max_cut allows ends the run; take a model that was "
                "fine-tuned to answer, such as that of a run with method.kind = 'seed_sft'"
            )

    def _few_steps(self, found: Rows) -> Iterator[str]:
        training = _training(found)
        steps = rates.steps(found.rows, training.batch_size, training.stop_after or training.epochs)
        if self.costs.model is None or not 0 < steps < rates.FEWEST:
            return
        where, fitting = self._setting(training), rates.training(training.learning_rate, found.rows)
        more = "" if found.bound == "exact" else "at most "
        yield (
            f"{found.stage.name} has {more}{found.rows:,} rows, which make {steps} optimiser step{'s' * (steps > 1)} "
            f"of {training.batch_size} rows: too few to learn much; set {where}.batch_size = {fitting['batch_size']} "
            f"and {where}.epochs = {fitting['epochs']}"
        )

    def _rate(self, found: Rows) -> Iterator[str]:
        training, size = _training(found), self.costs.model
        if size is None:
            return
        rule = rates.preference_rate if found.stage.verb == "prefer" else rates.finetuning_rate
        fitting = rule(size.parameters) * (rates.ADAPTER if training.lora_rank else 1.0)
        times = training.learning_rate / fitting
        if rates.LOWEST <= times <= rates.HIGHEST:
            return
        outcome = "is likely to ruin the model" if times > 1 else "will hardly change the model"
        yield (
            f"{self._setting(training)}.learning_rate = {training.learning_rate:g} {outcome} ({found.stage.name}): "
            f"about {fitting:g} suits {_size_text(size)}"
        )

    def _no_room(self, found: Rows) -> Iterator[str]:
        """On answers that end at the context."""
        sampling = found.stage.sampling
        assert sampling is not None, "a sampling stage has its settings"
        asked, context = round(found.stage.asked.mean), self.context
        if context is None or asked + sampling.max_tokens <= context:
            return
        where, left = setting_of(self.recipe, sampling) or "the sampling's", context - asked
        cure = (
            f"set {where}.max_tokens = {left} or less"
            if left >= 1
            else "take a model with a longer context, or shorter prompts"
        )
        yield (
            f"{found.stage.name}: requests of about {asked:,} tokens leave {max(0, left):,} of the model's context of "
            f"{context:,} for an answer, and {where}.max_tokens is {sampling.max_tokens:,}: {cure}"
        )

    def _cut(self, found: Rows) -> Iterator[str]:
        """On training texts that are cut."""
        training = _training(found)
        longest = found.stage.asked.mean + max(side.mean for side in found.stage.answers)
        most = min(training.max_length, self.context or training.max_length)
        if longest <= most:
            return
        where = self._setting(training)
        cure = (
            f"set {where}.max_length = {round(longest * 1.5):,} or more"
            if training.max_length < (self.context or longest)
            else "take a model with a longer context, or shorter texts"
        )
        yield f"{found.stage.name}: texts of about {longest:,.0f} tokens are cut to {most:,}: {cure}"

    def _unread(self, found: Rows) -> Iterator[str]:
        """On answers that a scorer's model cannot read whole."""
        work = self.costs.work(found.stage, "mean")
        row = work.longest if work.rows else work.read
        for name in dict.fromkeys(found.stage.judges):
            context = _context_of(name) if name else self.context
            if context is not None and row > context:
                yield (
                    f"{found.stage.name}: {name or 'the scorer'} reads {context:,} tokens, and prompt and answer have "
                    f"about {row:,.0f} together: most scores will be missing; choose a scorer with a longer context, "
                    "or set shorter answers (max_tokens)"
                )

    def _setting(self, training: Training) -> str:
        return next((where for where, each in parts_of(self.recipe, Training) if each == training), "the training's")


def _training(found: Rows) -> Training:
    assert found.stage.training is not None, "a training stage has its settings"
    return found.stage.training


def _first_of_each(stages: Iterable[Rows]) -> Sequence[Rows]:
    """Of stages that have one name in several iterations, the first."""
    return list({found.stage.name.partition("/")[2]: found for found in reversed(list(stages))}.values())[::-1]


def _context_of(name: str) -> int | None:
    """The context of a scorer's model on this machine; None where it is unknown."""
    folder = local_folder(name)
    if folder is None:
        return None
    from selfboost.scorers.contexts import context

    return context(str(folder))


def _size_text(size: ModelSize) -> str:
    millions = size.parameters / 1e6
    return f"{millions / 1e3:.3g} billion parameters" if millions >= 1000 else f"{millions:.3g} million parameters"
