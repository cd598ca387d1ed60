"""A rehearsal: the real loop and method on made-up answers and small counts, to see which stages there will be.

Nothing is sampled, scored, trained or stored; each verb records its calls. A rehearsal in which answers fail shows
which rows depend on the answers. Costs are computed elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from selfboost.data.seed_data import SeedSource
from selfboost.data.seeds import Seed
from selfboost.drift import Drift
from selfboost.loop import Loop, Rating
from selfboost.losses import Loss
from selfboost.measures import Measures
from selfboost.plan.stand_ins import StandIn, write_seeds
from selfboost.plan.texts import NONE, Texts, Tokens
from selfboost.recipe import Recipe
from selfboost.records import Answer, Example, Model, Pair, Prompt, Rated, Sampling, Verdict
from selfboost.run import Run
from selfboost.scorers import Scorer
from selfboost.seed_models import MAKERS
from selfboost.settings import ModelSource
from selfboost.stages import Silent
from selfboost.train import Training
from selfboost.train.fake import Fake as FakeTrainer
from selfboost.verbs import Work

NAMED = ("initial", "previous", *MAKERS)
"""Models that a run has or makes itself."""
FAR = 1e6
"""Difference between the scores of two answers: more than any threshold."""
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """One stage's calls."""

    name: str
    verb: str
    rows: int
    asked: Tokens = NONE
    """Mean tokens of a row's prompt."""
    answers: tuple[Tokens, ...] = ()
    """Mean tokens of a row's answer; of a pair's chosen and rejected answers."""
    sampling: Sampling | None = None
    training: Training | None = None
    loss: Loss | None = None
    scorer: Scorer | None = None
    judges: tuple[str, ...] = ()
    """The scorer's models: folders or hub names, or an empty text for one that the run has or makes itself."""
    measuring: bool = False
    """Whether it is part of a measurement."""


@dataclass(frozen=True, kw_only=True)
class RehearsalContext:
    """The rehearsal as a component sees it (`method.Rehearsal`)."""

    folder: Path
    texts: Texts
    make_few: Callable[[int], int]
    counts: set[int] = field(default_factory=set[int])
    """All counts that were shrunk."""

    def few(self, count: int) -> int:
        """The small count that stands for a true one."""
        self.counts.add(count)
        return self.make_few(count)

    def seeds(self, count: int) -> list[Seed]:
        """Made-up seeds, all different."""
        return self.texts.seeds(count)


def rehearse(
    recipe: Recipe, sizes: Mapping[str, int], stage: RehearsalContext, *, failing: int = 0
) -> dict[str, Rehearsed]:
    """The stages, by name and in order, of a run of a recipe whose counts are already small.

    `sizes`: training seeds, validation and held-out prompts; `failing`: of this many answers, all but
    the first fail. If nothing is left to continue with, the stages up to that point.
    """
    files = {name: write_seeds(stage.folder / f"{name}.jsonl", stage.seeds(count)) for name, count in sizes.items()}
    played = replace(
        recipe,
        run=replace(recipe.run, beside=tuple(name for name in recipe.run.beside if name in NAMED)),
        model=ModelSource(path="rehearsed"),
        seed=SeedSource(path=files["train"], validation=files["validation"], held_out=files["held_out"]),
        gate=replace(recipe.gate, rule="always", largest_divergence=0.0),
        engine=StandIn(texts=stage.texts),
        trainer=FakeTrainer(),
    )
    run = RehearsedRun(played, stage, failing=failing)
    try:
        RehearsedLoop(run, time.monotonic()).go()
    except Exception:  # a user's method may fail in any way when almost nothing is left
        if not failing:
            raise
    return run.noted


@dataclass(frozen=True, kw_only=True)
class MadeUp(Answer):
    """An answer identified by its text's number, which is faster than a hash."""

    @property
    def id(self) -> str:
        """Unique within the rehearsal."""
        return f"a-{self.token_ids[0] if self.token_ids else (self.prompt.text, self.index)}"


@lru_cache(maxsize=10_000)
def _logps(count: int) -> tuple[float, ...]:
    """Held once for all answers of a length."""
    return (-1.0,) * count


class RehearsedLoop(Loop):
    """The loop without the intervals that it would report."""

    def _measures(self, rating: Rating, against: Rating | None) -> tuple[Measures, Measures]:
        del rating, against
        return {}, {}

    def _panel(self, *_: Any, **__: Any) -> Drift:
        return Drift()


class RehearsedRun(Run):
    """A run whose verbs only record their calls and return made-up results."""

    def __init__(self, recipe: Recipe, stage: RehearsalContext, *, failing: int) -> None:
        super().__init__(recipe, stage.folder, Silent())
        self.noted: dict[str, Rehearsed] = {}
        self._texts, self._failing = stage.texts, failing
        self._made_up: dict[str, tuple[Any, Any]] = {}
        self._replies: dict[str, Tokens] = {}
        """Fingerprint of a fine-tuned model → length of the answers it learned."""
        self._scores = 0

    def sample(self, name: str, model: Model, prompts: Sequence[Prompt], sampling: Sampling) -> list[Answer]:
        """Made-up answers, all different."""

        def made_up(place: str) -> list[Answer]:
            learned = self._replies.get(model.fingerprint, self._texts.sampled).mean
            tokens = Tokens(min(sampling.max_tokens, learned), sampling.max_tokens)
            asked = [self._texts.asked(prompt.messages, prompt.prefix) for prompt in prompts]
            count = len(prompts) * sampling.samples
            self._note(place, "sample", count, asked=Tokens.average(asked), answers=(tokens,), sampling=sampling)
            good = self._good(count, sampling.samples)
            return [
                self._answer(model, prompt, ids, sampling, index, tokens, fails=at * sampling.samples + index >= good)
                for at, (prompt, ids) in enumerate(zip(prompts, (each.prompt_ids for each in asked), strict=True))
                for index in range(sampling.samples)
            ]

        return self._once(name, (model, list(prompts), sampling), made_up)

    def score(
        self, name: str, answers: Sequence[Answer], scorer: Scorer | None = None, **given: Model
    ) -> list[Verdict]:
        """Scores that decrease from one answer to the next."""
        self.scorer_used |= scorer is None
        scorer = scorer or self.recipe.scorer
        judges = {
            role: "" if given.get(role) or self._has(wanted) else wanted for role, wanted in scorer.needs().items()
        }

        def made_up(place: str) -> list[Verdict]:
            asked, (tokens,) = self._rows(answers, lambda answer: (answer,))
            self._note(
                place, "score", len(answers), asked=asked, answers=(tokens,), scorer=scorer, judges=(*judges.values(),)
            )
            good = self._good(len(answers), 2)
            return [self._verdict(answer, fails=at >= good) for at, answer in enumerate(answers)]

        return self._once(name, (list(answers), scorer, given), made_up)

    def finetune(
        self, name: str, examples: Sequence[Example], training: Training, *, start: Model, model_name: str = ""
    ) -> Model:
        """A model whose answers are as long as its examples."""

        def made_up(place: str) -> Model:
            self._need(place, examples)
            asked, (tokens,) = self._rows(examples, lambda example: (example.answer,))
            self._note(place, "finetune", len(examples), asked=asked, answers=(tokens,), training=training)
            return self._model(model_name or name, place, tokens)

        return self._once(name, (list(examples), training, start), made_up)

    def prefer(
        self,
        name: str,
        pairs: Sequence[Pair],
        *,
        start: Model,
        reference: Model | None = None,
        loss: Loss | None = None,
        training: Training | None = None,
    ) -> Model:
        """A model whose answers are as long as its start model's."""
        loss, training = loss or self.recipe.loss, training or self.recipe.training

        def made_up(place: str) -> Model:
            self._need(place, pairs)
            asked, sides = self._rows(pairs, lambda pair: (pair.chosen, pair.rejected))
            self._note(place, "prefer", len(pairs), asked=asked, answers=sides, training=training, loss=loss)
            learned = self._replies.get(start.fingerprint, self._texts.sampled)
            return self._model(f"iteration {self.iteration}" if name == "policy" else name, place, learned)

        made = self._once(name, (list(pairs), loss, training, start, reference), made_up)
        self.trained_pairs = len(pairs)
        return made

    def measure(self, model: Model, split: Literal["validation", "held_out"]) -> list[Rated]:
        """The benchmark's own rating of made-up answers."""
        examples = self.validation if split == "validation" else self.held_out
        rated = list(self.rated(model, examples, split))
        self.measured = tuple(rated[0].values)
        self._note(self._place(f"measure-{split}"), "measure", len(examples))
        return rated

    def given(self, prompt: Prompt, text: str) -> Answer:
        """An answer with the made-up kind of id."""
        asked, tokens = self.tokenizer.prompt_ids(prompt.messages, prompt.prefix), self.tokenizer.answer_ids(text)
        return MadeUp(prompt=prompt, text=text, prompt_ids=asked, token_ids=tokens)

    def compute(self, name: str, model: Model, inputs: Mapping[str, Any], work: Work, *, items: int = 0) -> list[Rated]:
        """Ratings of two made-up items by every measure."""
        del model, inputs, work
        self._note(self._place(name), "measure", items)
        values = dict.fromkeys(self.recipe.measures, (0.0,))
        return [Rated(prompt=f"item {i}", split="", values=values) for i in range(2)]

    def recent(self, model: Model) -> list[Answer]:
        """None: nothing is sampled here."""
        del model
        return []

    def _once(self, name: str, asked_for: Any, make: Callable[[str], Result]) -> Result:
        """The result for a stage's name and inputs, from before or computed now."""
        place = self._place(name)
        if place not in self._made_up or self._made_up[place][0] != asked_for:
            self._made_up[place] = asked_for, make(place)
        return self._made_up[place][1]

    def _note(self, place: str, verb: str, rows: int, **facts: Any) -> None:
        self.noted[place] = Rehearsed(name=place, verb=verb, rows=rows, measuring=self._measuring, **facts)

    def _rows(
        self, rows: Sequence[Any], sides: Callable[[Any], tuple[Answer, ...]]
    ) -> tuple[Tokens, tuple[Tokens, ...]]:
        """Mean tokens of the rows' prompts, and of each of their answers."""
        rows = list(rows)  # which may be made only now
        prompts: dict[int, Prompt] = {id(row.prompt): row.prompt for row in rows}  # many rows share one
        known = {key: self._texts.asked(prompt.messages, prompt.prefix) for key, prompt in prompts.items()}
        asked = [known[id(row.prompt)] for row in rows]
        answers = [[self._texts.of(side.text) for side in sides(row)] for row in rows]
        return Tokens.average(asked), tuple(Tokens.average(side) for side in zip(*answers, strict=True)) or (NONE,)

    def _has(self, wanted: str) -> bool:
        """Whether a model is the run's own; seed models are made now."""
        return wanted in NAMED and bool(self.model(wanted))

    def _good(self, count: int, at_least: int) -> int:
        """How many answers do not fail."""
        return max(at_least, count // self._failing) if self._failing else count

    def _answer(
        self,
        model: Model,
        prompt: Prompt,
        prompt_ids: tuple[int, ...],
        sampling: Sampling,
        index: int,
        tokens: Tokens,
        *,
        fails: bool,
    ) -> Answer:
        text = "" if fails else self._texts.reply(prompt.text, model.name, tokens)
        ids = () if fails else (hash(text),) * max(1, round(tokens.mean))
        return MadeUp(
            prompt=prompt,
            text=text,
            prompt_ids=prompt_ids,
            token_ids=ids,
            logps=_logps(len(ids)),
            finish="failed" if fails else "stop",
            reason="rehearsed" if fails else "",
            model=model.fingerprint,
            model_name=model.name,
            sampling=sampling,
            index=index,
        )

    def _verdict(self, answer: Answer, *, fails: bool) -> Verdict:
        self._scores += 1
        value = None if fails else -FAR * self._scores
        return Verdict(answer=answer.id, scorer="rehearsed", value=value, reason="rehearsed" if fails else "")

    def _model(self, name: str, place: str, learned: Tokens) -> Model:
        made = Model(name=name, path=place, fingerprint=f"{place} {len(self._replies)}")
        self._replies[made.fingerprint] = learned
        return made

    @staticmethod
    def _need(place: str, records: Sequence[object]) -> None:
        if not records:
            raise ValueError(
                f"{place}: there is nothing to train on in a rehearsal with made-up answers; a method that parses "
                "answers must define for_rehearsal() (selfboost.method.Rehearsable)"
            )
