"""Arena-Hard: a judge compares the model with a baseline on hard questions, in two games each (arXiv 2406.11939).

Questions (v0.1 or v2.0) and baseline answers are the user's files; the judge's wording is our own unless a template is
given. The measure is the mean over both games, a tie half. Beside it stand the published score, in which a clear win
counts as three battles, and the style-controlled one, with intervals over prompts (see parts/arena_hard.py). Left out:
the published resampling of battles, whose intervals are too narrow, and style control over a table of several models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from selfboost.benchmarks.parts.arena_data import ArenaQuestion, read_questions
from selfboost.benchmarks.parts.arena_hard import (
    Game,
    controlled_scores,
    game,
    score_of,
    style_features,
    style_of,
)
from selfboost.benchmarks.parts.arena_judge import OUTCOMES, ArenaJudge
from selfboost.benchmarks.parts.form_judge import Judging
from selfboost.benchmarks.parts.outcomes import Outcomes
from selfboost.benchmarks.parts.own_items import of_split
from selfboost.disk.record_files import hash_records
from selfboost.engines import Engine, Progress
from selfboost.measures import SHARE, Declared, Measure
from selfboost.records import SAMPLING_LIMITS, Answer, Example, Model, Rated, Sampling, Verdict
from selfboost.setting_types import MOST_ROWS, PathOrName, PathOrNone, Share, Text, Tokens
from selfboost.templates import about_tokens
from selfboost.verbs import Verbs

FORM = (Path(__file__).parent / "parts" / "arena_hard_pair.txt").read_text(encoding="utf-8").rstrip("\n")
Judged = tuple[ArenaQuestion, Answer, Verdict, Verdict]
"""A question, the model's answer, and the verdicts of the game in which the baseline is A and of the other."""


@dataclass(frozen=True, kw_only=True)
class ArenaHard:
    """Arena-Hard: win rate against a baseline on hard questions, two games each, by a judge behind a server."""

    judge: Judging
    """Who judges. Fields of its template: {prompt}, {answer_a} and {answer_b}."""
    questions: PathOrName
    """File of questions: uid and prompt (v2.0), or question_id and turns (v0.1)."""
    baseline: PathOrNone = ""
    """File of the baseline's answers, as published; empty: `answer_column` names them."""
    answer_column: Text = ""
    """Column of `questions` that holds the baseline's answers."""
    clear: Annotated[int, Field(ge=1, le=100)] = 3
    """Battles that a clear win (>>) counts as in the published score."""
    limit: Annotated[int, Field(ge=0, le=MOST_ROWS)] = 0
    """Questions to use, drawn by their hash (0 = all)."""
    validation: Share = 0.2
    """In a run, the share of the questions on which decisions are made; the others are reported."""
    temperature: Annotated[float, Field(ge=0, le=SAMPLING_LIMITS["temperature"][1])] = 0.0
    """Temperature of the model's answers; 0 is greedy, as published."""
    max_tokens: Tokens = 4096
    """Longest answer, in tokens."""

    def __post_init__(self) -> None:
        if bool(self.baseline) == bool(self.answer_column):
            given = "both are given" if self.baseline else "neither is given"
            raise ValueError(f"baseline, answer_column: {given}; the baseline's answers have one place")
        _ = self.scorer

    @property
    def own_items(self) -> bool:
        """The questions are the benchmark's own."""
        return True

    @property
    def scorer(self) -> ArenaJudge:
        """The judge in Arena-Hard's form."""
        return ArenaJudge(judging=self.judge, form=self.judge.template or FORM)

    @property
    def measures(self) -> Declared:
        """Judge and prompt stand in the title: numbers of different judges are not comparable."""
        by = f"judged by {self.judge.endpoint.model} (prompt {self.scorer.prompt_hash})"
        return {
            "arena_hard": Measure(title=f"win rate on Arena-Hard, {by}", unit=SHARE),
            "arena_hard/length": Measure(
                title="length of Arena-Hard answers", unit="characters", better="neither", metric="length"
            ),
        }

    def rate(self, run: Verbs, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        """Answer all questions, judge each answer with the baseline's in both orders; the splits share both stages.

        Raises:
            ValueError: a file is not what it should be.
        """
        del examples
        items = read_questions(self.questions, self.baseline, self.answer_column, self.limit)
        sampling = Sampling(temperature=self.temperature, max_tokens=self.max_tokens)
        own = run.sample("arena_hard-answers", model, [item.prompt for item in items], sampling)
        sides = [
            side
            for item, answer in zip(items, own, strict=True)
            for side in (run.given(item.prompt, item.answer), answer)
        ]
        verdicts = run.score("arena_hard-judgments", sides, self.scorer)
        judged = list(zip(items, own, verdicts[::2], verdicts[1::2], strict=True))
        rated = of_split([_rated(each, split) for each in judged], split, self.validation)
        won = [each.values["arena_hard"][0] for each in rated]
        note = Outcomes.of(won, judge=self.scorer.name, opponent=items[0].baseline)
        run.note(note)
        inputs = {"rated": hash_records(rated), "verdicts": hash_records(verdicts), "clear": self.clear}
        chosen = {each.prompt for each in rated}
        some = [each for each in judged if each[1].prompt.id in chosen]
        work = partial(self._figures, run, some, rated, note)
        return run.compute(f"arena_hard-figures-{split}", model, inputs, work, items=len(rated))

    def _figures(
        self,
        run: Verbs,
        judged: Sequence[Judged],
        rated: Sequence[Rated],
        note: Outcomes,
        engine: Engine,
        progress: Progress,
    ) -> tuple[Sequence[Rated], Mapping[str, Any]]:
        """The ratings, and beside them the published and the style-controlled score, in percent."""
        del engine, progress
        games = [found for each in judged if (found := _game(each, self.clear)) is not None]
        scores: dict[str, Any] = {}
        if games:
            style = {item.prompt.id: _style(item, answer) for item, answer, _, _ in judged}
            scores["score"] = asdict(score_of(games))
            scores["style_controlled"] = asdict(controlled_scores({"model": games}, {"model": style})["model"])
        words = "; ".join(
            f"{name.replace('_', '-')} {s['score']:.1f} [{s['low']:.1f}, {s['high']:.1f}]" for name, s in scores.items()
        )
        run.say(f"Arena-Hard: {note.sentence}; {words or 'no scores'}")
        return rated, {**asdict(note), **scores, "clear": self.clear}


def _game(judged: Judged, clear: int) -> Game | None:
    """Both games of a question; None if either has no verdict."""
    item, _, first, second = judged
    texts = [f"[[{OUTCOMES.get(-1 if v.value is None else v.value, '')}]]" for v in (first, second)]
    return game(item.prompt.id, *texts, clear=clear)


def _rated(judged: Judged, split: str) -> Rated:
    found, answer = _game(judged, clear=1), judged[1]
    values = {
        "arena_hard": (None if found is None else found.points / found.battles,),
        "arena_hard/length": (None if answer.finish == "failed" else float(len(answer.text)),),
    }
    return Rated(prompt=judged[0].prompt.id, split=split, values=values)


def _style(item: ArenaQuestion, answer: Answer) -> tuple[float, float, float, float]:
    """Style against the baseline's; tokens are estimated from characters, the same for every model."""
    one, other = (style_of(text, round(about_tokens(text))) for text in (answer.text, item.answer))
    return style_features(one, other)
