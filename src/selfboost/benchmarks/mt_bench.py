"""MT-Bench: 80 questions of two turns, each answer rated from 1 to 10 by a judge (arXiv 2306.05685).

The second question follows the model's own first answer. Temperatures by category and 1,024 tokens are FastChat's, as
are the reference answers for math, reasoning and coding, some of which are known to be wrong. Questions are the user's
file; the judge's wording is our own unless judge_prompts names FastChat's. Left out: comparison in pairs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from selfboost.benchmarks.parts.form_judge import Judging
from selfboost.benchmarks.parts.mt_bench import HIGHEST, LOWEST, TEMPERATURES, TurnRating, by_category, score_of
from selfboost.benchmarks.parts.mt_data import TwoTurns, read_two_turns
from selfboost.benchmarks.parts.mt_judge import OWN, MtJudge, read_forms
from selfboost.benchmarks.parts.own_items import of_split
from selfboost.disk.record_files import hash_records
from selfboost.engines import Engine, Progress
from selfboost.measures import Declared, Measure
from selfboost.notes import Note
from selfboost.records import Answer, Example, Message, Model, Origin, Prompt, Rated, Sampling
from selfboost.setting_types import MOST_ROWS, PathOrName, PathOrNone, Share, Text, Tokens
from selfboost.verbs import Verbs

Answers = dict[str, Answer]
"""Question → its answer."""


@dataclass(frozen=True, kw_only=True)
class RatedTurns(Note):
    """What the ratings came to, and what the unread ones could change."""

    judge: str
    """Model, address and hash of its prompts."""
    turns: int
    """Answers that were to be rated."""
    unread: int
    """Those without a rating; they are left out of the score."""
    lowest: float
    """The score if every unread rating were 1."""
    highest: float
    """The score if every unread rating were 10."""


@dataclass(frozen=True, kw_only=True)
class MtBench:
    """MT-Bench: ratings from 1 to 10 of two turns on 80 questions, by a judge behind a server."""

    judge: Judging
    """Who judges; its four forms are `judge_prompts`."""
    questions: PathOrName
    """File of questions: question_id, category and turns."""
    references: PathOrNone = ""
    """File of reference answers in FastChat's form; empty: a column of `questions` holds them."""
    reference_column: Text = "reference"
    """That column: a list of two texts."""
    judge_prompts: PathOrNone = ""
    """FastChat's judge_prompts.jsonl, or one in its form; empty: our own wording."""
    limit: Annotated[int, Field(ge=0, le=MOST_ROWS)] = 0
    """Questions to use, drawn by their hash; fewer than 80 are another measure (0 = all)."""
    validation: Share = 0.2
    """In a run, the share of the questions on which decisions are made; the others are reported."""
    max_tokens: Tokens = 1024
    """Longest answer, in tokens."""

    def __post_init__(self) -> None:
        if self.judge.template:
            raise ValueError("judge.template: MT-Bench has four forms; give a file of them as judge_prompts")

    @property
    def own_items(self) -> bool:
        """The questions are the benchmark's own."""
        return True

    @property
    def measures(self) -> Declared:
        """The judge stands in the title: numbers of different judges are not comparable."""
        by = f"judged by {self.judge.endpoint.model} ({'own prompts' if not self.judge_prompts else 'prompts given'})"
        return {
            "mt_bench": Measure(title=f"rating on MT-Bench, {by}", unit="points"),
            "mt_bench/first": Measure(title="rating of MT-Bench's first turns", unit="points", metric="first"),
            "mt_bench/second": Measure(title="rating of MT-Bench's second turns", unit="points", metric="second"),
        }

    def rate(self, run: Verbs, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        """Answer the first questions, then the second ones, and have all answers rated; the splits share these stages.

        Raises:
            ValueError: a file is not what it should be.
        """
        del examples
        items, judge = self._opened()
        first = self._sampled(run, model, items, 1, {item.id: _asked(item) for item in items})
        sound = {item.id: _asked(item, first[item.id]) for item in items if first[item.id].finish != "failed"}
        second = self._sampled(run, model, items, 2, sound)
        answers = [answer for item in items for answer in (first.get(item.id), second.get(item.id)) if answer]
        places = [(item.id, turn) for item in items for turn, a in ((1, first), (2, second)) if item.id in a]
        verdicts = run.score("mt_bench-ratings", answers, judge)
        values = dict(zip(places, [verdict.value for verdict in verdicts], strict=True))
        rated = of_split([_rated(item, values, split) for item in items], split, self.validation)
        by_id = {_asked(item).id: item for item in items}
        ratings = [rating for each in rated for rating in _ratings(by_id[each.prompt], values)]
        run.note(_note(judge, ratings))
        inputs = {"rated": hash_records(rated), "ratings": hash_records(ratings), "judge": judge.name}
        work = partial(_figures, run, rated, ratings, judge.name)
        return run.compute(f"mt_bench-figures-{split}", model, inputs, work, items=len(rated))

    def _opened(self) -> tuple[list[TwoTurns], MtJudge]:
        """The questions and the judge, which needs their reference answers."""
        items = read_two_turns(self.questions, self.references, self.reference_column, self.limit)
        forms = json.dumps(read_forms(self.judge_prompts or OWN), sort_keys=True)
        references = {item.turns[0]: item.references for item in items if item.references}
        return items, MtJudge(judging=self.judge, form=forms, references=references)

    def _sampled(
        self, run: Verbs, model: Model, items: Sequence[TwoTurns], turn: int, prompts: Mapping[str, Prompt]
    ) -> Answers:
        """The answers to one turn's prompts, in a stage for each temperature."""
        found: Answers = {}
        for temperature in sorted(set(TEMPERATURES.values())):
            ids = [i.id for i in items if i.id in prompts and TEMPERATURES[i.category] == temperature]
            if ids:
                sampling = Sampling(temperature=temperature, max_tokens=self.max_tokens)
                name = f"mt_bench-turn-{turn}-t{temperature:g}"
                answers = run.sample(name, model, [prompts[key] for key in ids], sampling)
                found |= dict(zip(ids, answers, strict=True))
        return found


def _asked(item: TwoTurns, first: Answer | None = None) -> Prompt:
    """The first question; after its answer, the whole conversation up to the second."""
    turns = (Message(role="user", content=item.turns[0]),)
    if first is not None:
        said = Message(role="assistant", content=first.text)
        turns = (*turns, said, Message(role="user", content=item.turns[1]))
    return Prompt(messages=turns, origin=Origin(source="mt_bench", parent=first.id if first else ""))


def _rated(item: TwoTurns, values: Mapping[tuple[str, int], float | None], split: str) -> Rated:
    first, second = (values.get((item.id, turn)) for turn in (1, 2))
    both = {"mt_bench": (first, second), "mt_bench/first": (first,), "mt_bench/second": (second,)}
    return Rated(prompt=_asked(item).id, split=split, values=both)


def _ratings(item: TwoTurns, values: Mapping[tuple[str, int], float | None]) -> list[TurnRating]:
    return [
        TurnRating(question=item.id, turn=turn, category=item.category, value=values.get((item.id, turn)))
        for turn in (1, 2)
    ]


def _note(judge: MtJudge, ratings: Sequence[TurnRating]) -> RatedTurns:
    known = [rating.value for rating in ratings if rating.value is not None]
    unread, total = len(ratings) - len(known), sum(known)
    return RatedTurns(
        judge=judge.name,
        turns=len(ratings),
        unread=unread,
        lowest=(total + LOWEST * unread) / len(ratings),
        highest=(total + HIGHEST * unread) / len(ratings),
    )


def _figures(
    run: Verbs, rated: Sequence[Rated], ratings: Sequence[TurnRating], judge: str, engine: Engine, progress: Progress
) -> tuple[Sequence[Rated], Mapping[str, Any]]:
    """The ratings, and beside them the published score over all turns, and that of each category."""
    del engine, progress
    if all(rating.value is None for rating in ratings):
        return rated, {"judge": judge, "unread": len(ratings)}
    found, parts = score_of(ratings), by_category(ratings)
    interval = f"{found.score.value:.2f} [{found.score.low:.2f}, {found.score.high:.2f}]"
    gaps = f"; {found.unread} without a rating, so {found.low:.2f} to {found.high:.2f} is possible"
    run.say(f"MT-Bench: {interval} over {found.turns} turns{gaps if found.unread else ''} ({judge})")
    return rated, {"judge": judge, **asdict(found), "categories": {name: asdict(part) for name, part in parts.items()}}
