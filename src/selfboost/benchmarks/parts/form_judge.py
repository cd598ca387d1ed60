"""A judge behind a server that is asked in a benchmark's own form: its settings, and what all such judges share.

Every reply is kept, so a killed measurement pays for none twice. A reply that cannot be read is asked for once more;
then it is a verdict without a value, with the reason.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from selfboost.benchmarks.parts.forms import check_form
from selfboost.endpoints import Endpoint, Question, Reply
from selfboost.endpoints.asking import ask
from selfboost.records import SAMPLING_LIMITS, Answer, Message, Model, Verdict, content_hash
from selfboost.scorers import ScoringWork, Workplace
from selfboost.scorers.replies import Reading, quoted, refuse_template_file, with_template_read
from selfboost.setting_types import MOST_TOKENS, PathOrNone, Text
from selfboost.templates import about_tokens
from selfboost.train import Trainer

VERDICT_TOKENS = 16
"""Most tokens of a verdict alone."""
MOST_REPEATED = 4000
"""Characters of a reply that cannot be read which are sent back with the second request."""


@dataclass(frozen=True, kw_only=True)
class Judging:
    """Who judges, and in which words."""

    endpoint: Endpoint
    """The server, its model, and how much may be asked of it."""
    reason_tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS)] | None = None
    """Most tokens of a reason, or of hidden thoughts, before the verdict (left out: as the benchmark needs)."""
    temperature: Annotated[float, Field(ge=0, le=SAMPLING_LIMITS["temperature"][1])] = 0.0
    """How the replies are sampled; 0 is greedy."""
    template: Text = ""
    """The request, with the benchmark's fields in braces; empty: our own wording."""
    template_file: PathOrNone = ""
    """A text file whose content becomes `template` when the recipe is read."""

    def __post_init__(self) -> None:
        refuse_template_file(self.template_file)

    @classmethod
    def from_recipe(cls, **settings: Any) -> Self:
        """The judge of a recipe's settings.

        Raises:
            ValueError: the template's file cannot be read, or a template is given too.
        """
        return cls(**with_template_read(settings, ""))


@dataclass(frozen=True, kw_only=True)
class FormJudge(ABC):
    """A scorer that asks in a benchmark's own form. Subclasses say how questions are put and replies are read."""

    kind: ClassVar[str]
    """What verdicts call it."""
    fields: ClassVar[frozenset[str]]
    """Fields of its form."""
    again: ClassVar[str]
    """What it is told after a reply that cannot be read."""
    reason_tokens: ClassVar[int] = 0
    """Most tokens of a reason, where the settings leave it out."""

    judging: Judging
    """The judge's settings."""
    form: str
    """The request's text."""

    def __post_init__(self) -> None:
        check_form("template", self.form, self.fields)

    @property
    def threshold(self) -> float:
        """No pairs are filtered by it."""
        return 0.0

    @property
    def name(self) -> str:
        """Who judges: the model, its server, and the hash of the prompt."""
        at = self.judging.endpoint
        return f"{self.kind}({at.model} at {at.address}, prompt {self.prompt_hash})"

    @property
    def prompt_hash(self) -> str:
        """Eight digits that identify all words of the request but the question and the answers."""
        return content_hash([self.form, self.again])[:8]

    @property
    def reasoned(self) -> int:
        """Most tokens of a reason before the verdict."""
        return self.reason_tokens if self.judging.reason_tokens is None else self.judging.reason_tokens

    def needs(self) -> Mapping[str, str]:
        """No model of this machine."""
        return {}

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """As `score_at`, with nothing kept."""
        return self.score_at(answers, models, trainer, Workplace())

    @abstractmethod
    def score_at(
        self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer, workplace: Workplace
    ) -> Iterator[Verdict]:
        """A verdict per answer; None, with a reason, if the judge gave none."""

    def work_of_requests(self, requests: float, texts: float) -> ScoringWork:
        """The work of this many requests per answer, which hold texts of these tokens; replies of maximum length."""
        asked = about_tokens(self.form) + texts
        written = requests * (self.reasoned + VERDICT_TOKENS)
        return ScoringWork(read=requests * asked, written=written, weight_bytes=0, requests=requests)

    def verdict(self, answer: Answer, found: Reading) -> Verdict:
        """The verdict on an answer."""
        value, reason = (None, found) if isinstance(found, str) else (found, "")
        return Verdict(answer=answer.id, scorer=self.name, value=value, reason=reason)

    def judged(
        self, asked: Sequence[Question | str], read: Callable[[Reply], Reading], workplace: Workplace
    ) -> list[Reading]:
        """What the judge says to each question, in order; a text in place of one says why it is not put, and stands."""
        found = iter(self.readings([each for each in asked if isinstance(each, Question)], read, workplace))
        return [next(found) if isinstance(each, Question) else each for each in asked]

    def readings(
        self, questions: Sequence[Question], read: Callable[[Reply], Reading], workplace: Workplace
    ) -> list[Reading]:
        """What each question's reply says, in order; one that cannot be read is asked for once more."""

        def asked(some: Sequence[Question]) -> list[Reply]:
            return list(ask(self.judging.endpoint, some, cache=workplace.cache, say=workplace.say))

        replies = asked(questions)
        found = [_whole(reply) or read(reply) for reply in replies]
        unread = [at for at, reading in enumerate(found) if isinstance(reading, str) and replies[at].finish != "failed"]
        for at, reply in zip(unread, asked([self._once_more(questions[i], replies[i]) for i in unread]), strict=True):
            second = _whole(reply) or read(reply)
            found[at] = f"{found[at]}; asked once more: {second}" if isinstance(second, str) else second
        return found

    def _once_more(self, question: Question, reply: Reply) -> Question:
        said = Message(role="assistant", content=reply.text[:MOST_REPEATED] or "…")
        return Question(
            messages=(*question.messages, said, Message(role="user", content=self.again)),
            max_tokens=question.max_tokens,
            temperature=question.temperature,
            labels=question.labels,
            top_logprobs=question.top_logprobs,
        )


def _whole(reply: Reply) -> str:
    """Why a reply holds no verdict, whatever it says; empty if it may hold one."""
    if reply.finish == "failed":
        return f"the judge failed: {reply.reason}"
    if reply.finish == "length" and not reply.label_logprobs:
        return f"the judge's reply was cut: {quoted(reply.text)}"
    return ""
