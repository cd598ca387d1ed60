"""MT-Bench's judge: rates each turn's answer from 1 to 10, the second in the light of the whole conversation.

Its four forms, for the first and the second turn, with and without reference answers, are read from a file in the form
of FastChat's judge_prompts.jsonl; ours are in mt_bench_prompts.jsonl.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from selfboost.benchmarks.parts.form_judge import VERDICT_TOKENS, FormJudge
from selfboost.benchmarks.parts.forms import FIELD, filled
from selfboost.benchmarks.parts.mt_bench import parse
from selfboost.data.files import parsed
from selfboost.data.rows import rows_of
from selfboost.endpoints import Question, Reply
from selfboost.records import Answer, Message, Model, Verdict
from selfboost.scorers import ScoringWork, Workplace
from selfboost.scorers.blocks import blocks
from selfboost.scorers.replies import Reading, quoted
from selfboost.scorers.verdicts import fault
from selfboost.train import Trainer

OWN = Path(__file__).with_name("mt_bench_prompts.jsonl")
FORMS: Mapping[str, frozenset[str]] = {
    "single-v1": frozenset({"question", "answer"}),
    "single-math-v1": frozenset({"question", "answer", "ref_answer_1"}),
    "single-v1-multi-turn": frozenset({"question_1", "answer_1", "question_2", "answer_2"}),
    "single-math-v1-multi-turn": frozenset(
        {"question_1", "answer_1", "question_2", "answer_2", "ref_answer_1", "ref_answer_2"}
    ),
}
"""Name of a form → its fields; `math` are those with reference answers."""


def read_forms(path: str | Path) -> dict[str, tuple[str, str]]:
    """Name → system prompt and request of the four forms.

    Raises:
        ValueError: the file can't be read, or lacks a form or a field of one.
    """
    rows = {str(row.get("name")): (where, row) for where, row in rows_of(str(path))}
    if lacking := [name for name in FORMS if name not in rows]:
        raise ValueError(f"benchmark.judge_prompts: {path} lacks the form {lacking[0]}; needed: {', '.join(FORMS)}")
    return {name: _form(*rows[name], fields) for name, fields in FORMS.items()}


def _form(where: str, row: Mapping[str, Any], fields: frozenset[str]) -> tuple[str, str]:
    system, request = row.get("system_prompt"), row.get("prompt_template")
    if not isinstance(system, str) or not isinstance(request, str):
        raise ValueError(f"{where}: needs texts in `system_prompt` and `prompt_template`")
    if lacking := sorted(fields - set(FIELD.findall(request))):
        raise ValueError(f"{where}: prompt_template lacks {{{lacking[0]}}}")
    return system, request


@dataclass(frozen=True, kw_only=True)
class MtJudge(FormJudge):
    """Rates answers one by one; `form` holds the four forms as JSON."""

    kind: ClassVar[str] = "mt_bench"
    fields: ClassVar[frozenset[str]] = frozenset()
    again: ClassVar[str] = "Reply with the rating alone, in double brackets, as [[5]]."
    reason_tokens: ClassVar[int] = 2048

    references: Mapping[str, tuple[str, ...]]
    """First question → the reference answers to both turns, where there are any."""

    def work(self, prompt: float, answer: float) -> ScoringWork:
        """A request per answer."""
        return self.work_of_requests(1.0, prompt + answer)

    def score_at(
        self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer, workplace: Workplace
    ) -> Iterator[Verdict]:
        """The rating of each answer to a first or a second question."""
        del models, trainer
        forms = cast("Mapping[str, tuple[str, str]]", parsed(self.form))
        for block in blocks(answers, answers, whole_prompts=False):
            asked = [fault(answer) or self._question(answer, forms) for answer in block]
            yield from map(self.verdict, block, self.judged(asked, _rating, workplace))

    def _question(self, answer: Answer, forms: Mapping[str, tuple[str, str]]) -> Question:
        asked = [message.content for message in answer.prompt.messages if message.role == "user"]
        earlier = [message.content for message in answer.prompt.messages if message.role == "assistant"]
        said = [*earlier, answer.prompt.prefix + answer.text]
        references = self.references.get(asked[0], ())
        values = {"question": asked[0], "answer": said[0]}
        for name, texts in (("question", asked), ("answer", said), ("ref_answer", references)):
            values |= {f"{name}_{turn}": text for turn, text in enumerate(texts, 1)}
        kind = f"single-{'math-' if references else ''}v1{'-multi-turn' if len(asked) > 1 else ''}"
        system, request = forms[kind]
        (message,) = filled(request, values)
        return Question(
            messages=(Message(role="system", content=system), message),
            max_tokens=self.reasoned + VERDICT_TOKENS,
            temperature=self.judging.temperature,
        )


def _rating(reply: Reply) -> Reading:
    found = parse(reply.text)
    return f"the judge gave no rating from 1 to 10: {quoted(reply.text)}" if found is None else found
