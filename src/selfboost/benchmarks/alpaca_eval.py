"""AlpacaEval 2: a judge compares the model's answers to 805 instructions with a baseline's (arXiv 2404.04475).

The instructions and the baseline's outputs are the user's: their licence is CC BY-NC 4.0, so they are not shipped. The
judge's wording is our own unless a template is given, and another judge than the published one is another benchmark:
judge and prompt hash stand beside every number. Sampling as in SynPO (arXiv 2410.06961): temperature 0.7, 2,048 tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from selfboost.benchmarks.parts.alpaca_data import Instruction, read_instructions
from selfboost.benchmarks.parts.alpaca_judge import AlpacaJudge, Orders
from selfboost.benchmarks.parts.form_judge import Judging
from selfboost.benchmarks.parts.judgments import win_rate_of
from selfboost.benchmarks.parts.length_control import INSTRUCTIONS, OfficialTables, length_controlled, read_official
from selfboost.benchmarks.parts.outcomes import Outcomes
from selfboost.benchmarks.parts.own_items import of_split
from selfboost.data.hub_data import is_hub_name
from selfboost.disk.record_files import hash_records
from selfboost.engines import Engine, Progress
from selfboost.measures import SHARE, Declared, Measure
from selfboost.method import Rehearsal
from selfboost.records import SAMPLING_LIMITS, Answer, Example, Model, Rated, Sampling, Verdict, content_hash
from selfboost.setting_types import MOST_ROWS, Name, PathOrName, PathOrNone, Share, Tokens
from selfboost.verbs import Verbs

FORM = (Path(__file__).parent / "parts" / "alpaca_eval_pair.txt").read_text(encoding="utf-8").rstrip("\n")
Figures = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class AlpacaEval:
    """AlpacaEval 2: win rate against a baseline on 805 instructions, by a judge behind a server."""

    judge: Judging
    """Who judges. Fields of its template: {instruction}, {output_1} (labelled m) and {output_2} (M)."""
    prompts: PathOrName
    """The published file of the baseline's outputs (JSON with instruction, output, generator), or a hub name."""
    baseline: PathOrNone = ""
    """A second file with the baseline's outputs; empty: those of `prompts`."""
    output: Name = "output"
    """Column of the baseline's outputs."""
    orders: Orders = "one"
    """`one`: each pair is judged in one order, drawn by a seed, as published; `both`: in both, at twice the price."""
    order_seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Draws the order."""
    limit: Annotated[int, Field(ge=0, le=MOST_ROWS)] = 0
    """Instructions to use, drawn by their hash; fewer than 805 are another measure (0 = all)."""
    validation: Share = 0.2
    """In a run, the share of the instructions on which decisions are made; the others are reported."""
    gamed: PathOrNone = ""
    """The official table df_gamed.csv: with `difficulty`, the length-controlled win rate is computed outside a run."""
    difficulty: PathOrNone = ""
    """The official table instruction_difficulty.csv."""
    temperature: Annotated[float, Field(ge=0, le=SAMPLING_LIMITS["temperature"][1])] = 0.7
    """Temperature of the model's answers; 0 is greedy."""
    max_tokens: Tokens = 2048
    """Longest answer, in tokens."""

    def __post_init__(self) -> None:
        if bool(self.gamed) != bool(self.difficulty):
            given, lacking = ("gamed", "difficulty") if self.gamed else ("difficulty", "gamed")
            raise ValueError(f"{given} is given without {lacking}: length control needs both official tables")
        if self.gamed and self.limit:
            raise ValueError(f"limit = {self.limit}: length control needs all {INSTRUCTIONS} instructions")
        _ = self.scorer

    @property
    def own_items(self) -> bool:
        """The instructions are the benchmark's own."""
        return True

    @property
    def scorer(self) -> AlpacaJudge:
        """The judge in AlpacaEval's form."""
        form = self.judge.template or FORM
        return AlpacaJudge(judging=self.judge, form=form, orders=self.orders, seed=self.order_seed)

    @property
    def measures(self) -> Declared:
        """Judge and prompt stand in the titles: numbers of different judges are not comparable."""
        by = f"judged by {self.judge.endpoint.model} (prompt {self.scorer.prompt_hash})"
        return {
            "alpaca_eval": Measure(title=f"win rate on AlpacaEval, {by}", unit=SHARE),
            "alpaca_eval/discrete": Measure(
                title=f"discrete win rate on AlpacaEval, {by}", unit=SHARE, metric="discrete"
            ),
            "alpaca_eval/length": Measure(
                title="length of AlpacaEval answers", unit="characters", better="neither", metric="length"
            ),
        }

    def rate(self, run: Verbs, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        """Answer all instructions, judge the answers beside the baseline's; the splits share both stages.

        Raises:
            ValueError: the data are not AlpacaEval's, or an official table does not fit them.
        """
        del examples
        items = read_instructions(self.prompts, self.baseline, self.output, self.limit)
        tables = self._tables(items)  # before anything is paid for
        sampling = Sampling(temperature=self.temperature, max_tokens=self.max_tokens)
        own = run.sample("alpaca_eval-answers", model, [item.prompt for item in items], sampling)
        sides = [
            side
            for item, answer in zip(items, own, strict=True)
            for side in (run.given(item.prompt, item.output), answer)
        ]
        verdicts = run.score("alpaca_eval-judgments", sides, self.scorer)[1::2]
        rated = of_split([_rated(*each, split) for each in zip(own, verdicts, strict=True)], split, self.validation)
        won = [each.values["alpaca_eval"][0] for each in rated]
        note = Outcomes.of(won, judge=self.scorer.name, opponent=items[0].generator)
        run.note(note)
        inputs = {"rated": hash_records(rated), "judge": self.scorer.name, "baseline": items[0].generator}
        inputs["tables"] = content_hash(asdict(tables)) if tables else ""
        work = partial(_figures, run, items, own, rated, note, tables)
        return run.compute(f"alpaca_eval-figures-{split}", model, inputs, work, items=len(rated))

    def _tables(self, items: Sequence[Instruction]) -> OfficialTables | None:
        texts = [item.prompt.text for item in items]
        return read_official(texts, self.gamed, self.difficulty) if self.gamed else None

    def for_rehearsal(self, rehearsal: Rehearsal) -> Self:
        """With made-up instructions in place of a hub data set."""
        if not is_hub_name(self.prompts):
            return self
        path = rehearsal.folder / "alpaca_eval.json"
        seeds = rehearsal.seeds(INSTRUCTIONS)
        rows = [{"instruction": seed.messages[0].content, self.output: seed.response} for seed in seeds]
        path.write_text(json.dumps(rows), encoding="utf-8")
        return replace(self, prompts=str(path))


def _rated(answer: Answer, verdict: Verdict, split: str) -> Rated:
    won = verdict.value
    values = {
        "alpaca_eval": (won,),
        "alpaca_eval/discrete": (None if won is None else 0.5 + ((won > 0.5) - (won < 0.5)) / 2,),
        "alpaca_eval/length": (None if answer.finish == "failed" else float(len(answer.text)),),
    }
    return Rated(prompt=answer.prompt.id, split=split, values=values)


def _figures(
    run: Verbs,
    items: Sequence[Instruction],
    own: Sequence[Answer],
    rated: Sequence[Rated],
    note: Outcomes,
    tables: OfficialTables | None,
    engine: Engine,
    progress: Progress,
) -> tuple[Sequence[Rated], Figures]:
    """The ratings, and beside them the published figures, in percent."""
    del engine, progress
    won = [each.values["alpaca_eval"][0] for each in rated]
    published = asdict(win_rate_of(won)) if note.missing < note.games else {}
    controlled = _length_controlled(items, own, won, tables)
    run.say(f"AlpacaEval: {note.sentence}; length-controlled win rate: {controlled['length_controlled']}")
    return rated, {"judge": note.judge, "baseline": note.opponent, **published, **controlled}


def _length_controlled(
    items: Sequence[Instruction], own: Sequence[Answer], won: Sequence[float | None], tables: OfficialTables | None
) -> Figures:
    """The length-controlled win rate, or why there is none: without the official tables it would be a guess."""
    if tables is None:
        return {"length_controlled": "not computed, it needs the official tables (gamed, difficulty)"}
    if len(won) != INSTRUCTIONS:
        return {"length_controlled": f"not computed, it is defined on all {INSTRUCTIONS} instructions, outside a run"}
    texts = [item.prompt.text for item in items]
    lengths, baseline = [len(answer.text) for answer in own], [len(item.output) for item in items]
    missing = won.count(None)
    found = [
        length_controlled(texts, [fill if each is None else each for each in won], lengths, baseline, tables)
        for fill in ((0.0, 1.0) if missing else (0.0,))
    ]
    words = " to ".join(f"{each.win_rate:.2f} [{each.low:.2f}, {each.high:.2f}]" for each in found)
    spanned = f", with the {missing} missing judgments as losses and as wins" if missing else ""
    return {
        "length_controlled": f"{words} by the official tables{spanned}",
        "length_control": [asdict(each) for each in found],
    }
