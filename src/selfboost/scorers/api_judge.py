"""A language model behind any OpenAI-compatible server as the judge: of two answers in both orders, or of one alone.

Pairs: p, the probability that the answer shown first is better, comes from the log-probabilities of the labels where
the server offers them, else from the last label in the reply. The wording is our own. A reply that cannot be read is
asked for once more; then it is a verdict without a value, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from selfboost.endpoints import Endpoint, Question, Reply
from selfboost.endpoints.asking import ask
from selfboost.measures import SCORE
from selfboost.notes import Note
from selfboost.records import SAMPLING_LIMITS, Answer, Message, Model, Verdict, content_hash
from selfboost.scorers import ScoringWork, Workplace
from selfboost.scorers.blocks import blocks
from selfboost.scorers.both_orders import OrdersCompared, compared, rivals_of, values_of_pairs
from selfboost.scorers.replies import (
    LABEL,
    LABELS,
    NUMBER,
    SCORE_FIELDS,
    Reading,
    check_scale,
    field_of,
    mean_of_replies,
    quoted,
    read_label,
    read_number,
    refuse_template_file,
    weigh_labels,
    with_template_read,
)
from selfboost.scorers.verdicts import fault
from selfboost.setting_types import MOST_TOKENS, PathOrNone, Pattern, Score, Several, Text
from selfboost.templates import about_tokens, check_pattern, check_template
from selfboost.train import Trainer

Mode = Literal["pairs", "score"]
PROMPTS: Mapping[Mode, str] = {
    "pairs": Path(__file__).with_name("api_judge_pair.txt").read_text(encoding="utf-8").rstrip("\n"),
    "score": Path(__file__).with_name("api_judge_score.txt").read_text(encoding="utf-8").rstrip("\n"),
}
FIELDS: Mapping[Mode, set[str]] = {"pairs": {"prompt", "first", "second"}, "score": SCORE_FIELDS}
BARE: Mapping[Mode, str] = {
    "pairs": "Reply with one label, A, B or C, and nothing else.",
    "score": "Reply with the number and nothing else.",
}
"""The end of a request for a verdict alone, and the whole of the second request."""
REASONED: Mapping[Mode, str] = {
    "pairs": "First give your reason in a few sentences, then your verdict: one label in double brackets, as [[A]].",
    "score": "First give your reason in a few sentences, then, alone on the last line, the number.",
}
LAST_NUMBER = r"(?:\A|\n)\s*(?:(?i:score)\W+)?([-+]?[0-9]+(?:\.[0-9]+)?)\.?\s*\Z"
"""The number on the last line of a reply that gives reasons."""
VERDICT_TOKENS = 16
"""Most tokens of a verdict alone."""
MOST_REPEATED = 4000
"""Characters of a reply that cannot be read which are sent back with the second request."""


@dataclass(frozen=True, kw_only=True)
class ApiJudge:
    """A language model behind an OpenAI-compatible server: compares two answers in both orders, or scores each."""

    endpoint: Endpoint
    """The server, its model, and how much may be asked of it."""
    mode: Mode = "pairs"
    """`pairs`: which of two answers to a prompt is better, asked in both orders; `score`: each answer on a scale."""
    reason_tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS)] = 0
    """Most tokens of a reason, or of hidden thoughts, before the verdict (0 = the verdict alone)."""
    structured: bool = True
    """Ask for reason and verdict as a JSON object; a server that refuses is asked for text."""
    samples: Several = 1
    """Replies to each request, whose mean counts; each must give a verdict."""
    temperature: Annotated[float, Field(ge=0, le=SAMPLING_LIMITS["temperature"][1])] = 0.0
    """How the replies are sampled; 0 is greedy."""
    template: Text = ""
    """The request, with the fields {prompt}, {first} and {second}, or {prompt}, {answer}, {lowest} and {highest}."""
    template_file: PathOrNone = ""
    """A text file whose content becomes `template` when the recipe is read."""
    label: Pattern = LABEL
    """In pairs: regular expression whose first group is A, B or C (equally good); its last match counts."""
    number: Pattern = NUMBER
    """In scores: regular expression whose first group is the score; it must match exactly once in a reply."""
    lowest: Score = 0.0
    """Lowest valid score; lower numbers are rejected."""
    highest: Score = 100.0
    """Highest valid score; higher numbers are rejected."""
    threshold: Score = 0.0
    """Smallest gap of a kept pair: in points, or in pairs from 0 to 1 (2p - 1 over both orders)."""

    def __post_init__(self) -> None:
        refuse_template_file(self.template_file)
        check_template("template", self.request, FIELDS[self.mode])
        check_scale(self.number, self.lowest, self.highest)
        check_pattern("label", self.label, "the label")
        if self.samples > 1 and not self.temperature:
            raise ValueError(
                f"samples = {self.samples}: at temperature 0 all replies are the same; allowed: 1, or a temperature "
                "above 0"
            )

    @classmethod
    def from_recipe(cls, **settings: Any) -> Self:
        """The judge of a recipe's settings; the text of `template_file`, or that of its mode, becomes the template.

        Raises:
            ValueError: the file cannot be read, or a template is given too.
        """
        own = PROMPTS[settings.get("mode", "pairs")]
        found = with_template_read({**settings, "template": settings.get("template") or own}, own)
        return cls(**found)

    @property
    def request(self) -> str:
        """The template; where none is given, that of the mode."""
        return self.template or PROMPTS[self.mode]

    @property
    def pairwise(self) -> bool:
        """Whether answers are compared with each other."""
        return self.mode == "pairs"

    @property
    def unit(self) -> str:
        """The unit of its verdicts."""
        return SCORE if self.pairwise else "points"

    def needs(self) -> Mapping[str, str]:
        """No model of this machine."""
        return {}

    def work(self, prompt: float, answer: float) -> ScoringWork:
        """A request for each sample, with another answer in pairs; replies are assumed to have the maximum length."""
        asked = about_tokens(self.request) + prompt + answer * (1 + self.pairwise)
        written = self.samples * (self.reason_tokens + VERDICT_TOKENS)
        return ScoringWork(read=self.samples * asked, written=written, weight_bytes=0, requests=self.samples)

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """As `score_at`, with nothing kept."""
        return self.score_at(answers, models, trainer, Workplace())

    def score_at(
        self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer, workplace: Workplace
    ) -> Iterator[Verdict]:
        """A verdict per answer; None, with a reason, if the judge gave none.

        In pairs, an answer has the mean of p over the other answers beside it to the same prompt: of two, their gap is
        2p - 1 over both orders. Where labels were read from text, two orders that disagree give both the same value.
        """
        del models, trainer
        prompt = content_hash([self.request, self.mode, self.lowest, self.highest])[:8]
        name = f"api_judge({self.endpoint.model} at {self.endpoint.address}, prompt {prompt})"
        for block in blocks(answers, answers, whole_prompts=self.pairwise):
            readings = self._compared(block, workplace) if self.pairwise else self._scores(block, workplace)
            for answer, found in zip(block, readings, strict=True):
                value, reason = (None, found) if isinstance(found, str) else (found, "")
                yield Verdict(answer=answer.id, scorer=name, value=value, reason=reason)

    def note_on(self, answers: Sequence[Answer], verdicts: Sequence[Verdict]) -> tuple[Note, str] | None:
        """In pairs: how often the two orders disagree, how often the answer shown first wins, what has no verdict."""
        if not self.pairwise or not verdicts:
            return None
        found: OrdersCompared = compared(answers, verdicts)
        return found, f"{self.endpoint.model}: {found.sentence}"

    def _scores(self, answers: Sequence[Answer], workplace: Workplace) -> list[Reading]:
        faults = [fault(answer) for answer in answers]
        sound = [answer for answer, why in zip(answers, faults, strict=True) if not why]
        found = iter(self._readings([self._score_request(answer) for answer in sound], workplace))
        return [why or next(found) for why in faults]

    def _compared(self, answers: Sequence[Answer], workplace: Workplace) -> list[Reading]:
        faults = [fault(answer) for answer in answers]
        rivals = rivals_of(answers, faults)
        games = [(at, other) for at, others in enumerate(rivals) for other in others]
        requests = [self._pair_request(answers[at], answers[other]) for at, other in games]
        readings = dict(zip(games, self._readings(requests, workplace), strict=True))
        return values_of_pairs(faults, rivals, readings)

    def _readings(self, requests: Sequence[str], workplace: Workplace) -> list[Reading]:
        """For each request the mean of its samples, in order; what cannot be read is asked for once more."""
        questions = [self._question(text, sample) for text in requests for sample in range(self.samples)]
        replies = self._ask(questions, workplace)
        readings = [self._read(reply, reasoned=self.reason_tokens > 0) for reply in replies]
        again = [
            at
            for at, (reply, reading) in enumerate(zip(replies, readings, strict=True))
            if isinstance(reading, str) and reply.finish != "failed"
        ]
        seconds = self._ask([self._once_more(questions[at], replies[at]) for at in again], workplace)
        for at, reply in zip(again, seconds, strict=True):
            second = self._read(reply, reasoned=False)
            readings[at] = f"{readings[at]}; asked once more: {second}" if isinstance(second, str) else second
        return [mean_of_replies(readings[i : i + self.samples]) for i in range(0, len(readings), self.samples)]

    def _ask(self, questions: Sequence[Question], workplace: Workplace) -> list[Reply]:
        return list(ask(self.endpoint, questions, cache=workplace.cache, say=workplace.say))

    def _question(self, text: str, sample: int) -> Question:
        reasoned = self.reason_tokens > 0
        end = (REASONED if reasoned else BARE)[self.mode]
        return Question(
            messages=(Message(role="user", content=f"{text}\n\n{end}"),),
            max_tokens=self.reason_tokens + VERDICT_TOKENS,
            temperature=self.temperature,
            labels=LABELS if self.pairwise and not reasoned else (),
            schema=self._schema() if self.structured and reasoned else None,
            sample=sample,
        )

    def _once_more(self, question: Question, reply: Reply) -> Question:
        """Ask for the verdict alone, after what was replied."""
        said = Message(role="assistant", content=reply.text[:MOST_REPEATED] or "…")
        return Question(
            messages=(*question.messages, said, Message(role="user", content=BARE[self.mode])),
            max_tokens=question.max_tokens,
            temperature=self.temperature,
            labels=LABELS if self.pairwise else (),
            sample=question.sample,
        )

    def _schema(self) -> Mapping[str, Any]:
        """Reason and verdict as an object; the reason comes first, so that the verdict can follow from it."""
        kind = {"type": "string", "enum": list(LABELS)} if self.pairwise else {"type": "number"}
        fields = {"reason": {"type": "string"}, "verdict": kind}
        return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}

    def _read(self, reply: Reply, *, reasoned: bool) -> Reading:
        """The verdict in a reply."""
        if reply.finish == "failed":
            return f"the judge failed: {reply.reason}"
        if reply.label_logprobs:
            return weigh_labels(reply.label_logprobs)
        if reply.finish == "length":  # its verdict is missing, or its last digit
            return f"the judge's reply was cut: {quoted(reply.text)}"
        text = field_of(reply.text, "verdict")
        if self.pairwise:
            return read_label(text, self.label)
        pattern = LAST_NUMBER if reasoned and self.number == NUMBER else self.number
        return read_number(text, pattern, self.lowest, self.highest)

    def _score_request(self, answer: Answer) -> str:
        return self.request.format(
            prompt=answer.prompt.conversation,
            answer=answer.prompt.prefix + answer.text,
            lowest=f"{self.lowest:g}",
            highest=f"{self.highest:g}",
        )

    def _pair_request(self, first: Answer, second: Answer) -> str:
        return self.request.format(
            prompt=first.prompt.conversation,
            first=first.prompt.prefix + first.text,
            second=second.prompt.prefix + second.text,
        )
