"""A language model as the judge: asked for an absolute score of each answer, as in DNPO (arXiv 2502.05400).

The paper's scale and criteria (0 to 100; relevance, clarity, accuracy, completeness; the number alone); the wording
of the prompt is our own. A reply without such a number gives no score; none is guessed. Left out: pairwise comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from selfboost.engines import Engine, Generation, Request, Tokenizer, footprint_of, look_at
from selfboost.engines.kept_models import kept_open
from selfboost.engines.local import Local
from selfboost.records import Answer, Message, Model, Sampling, Verdict, content_hash
from selfboost.scorers import ScoringWork
from selfboost.scorers.blocks import blocks
from selfboost.scorers.replies import (
    NUMBER,
    QUOTED,
    SCORE_FIELDS,
    check_scale,
    mean_of_replies,
    read_number,
    refuse_template_file,
    with_template_read,
)
from selfboost.scorers.verdicts import fault, judgeable
from selfboost.setting_types import PathOrName, PathOrNone, Pattern, Score, Text
from selfboost.templates import about_tokens, check_template
from selfboost.train import Trainer

PROMPT = Path(__file__).with_name("judge_prompt.txt").read_text(encoding="utf-8").rstrip("\n")
HASH_LENGTH = 8


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A language model that is prompted for a score of each answer on its own."""

    unit: ClassVar[str] = "points"

    path: PathOrName = "initial"
    """The judging model: `initial`, `previous`, `seed_sft`, or a folder or hub name."""
    engine: Engine = field(default_factory=lambda: cast("Engine", Local()))
    """What the judging model replies through."""
    judging: Sampling = field(default_factory=lambda: Sampling(temperature=0.0, max_tokens=16))
    """How replies are sampled; several samples are averaged, and each must give a score."""
    template: Text = PROMPT
    """The request for a score, with the fields {prompt}, {answer}, {lowest} and {highest}."""
    template_file: PathOrNone = ""
    """A text file whose content becomes `template` when the recipe is read."""
    number: Pattern = NUMBER
    """Regular expression whose first group is the score; it must match exactly once in a reply."""
    lowest: Score = 0.0
    """Lowest valid score; lower numbers are rejected."""
    highest: Score = 100.0
    """Highest valid score; higher numbers are rejected."""
    threshold: Score = 0.0
    """Smallest score gap of a kept pair, in points."""

    def __post_init__(self) -> None:
        refuse_template_file(self.template_file)
        check_template("template", self.template, SCORE_FIELDS)
        check_scale(self.number, self.lowest, self.highest)
        if self.judging.samples > 1 and not self.judging.temperature:
            raise ValueError(
                f"judging.samples = {self.judging.samples}: at temperature 0 all replies are the same; allowed: 1, or "
                "a temperature above 0"
            )

    @classmethod
    def from_recipe(cls, **settings: Any) -> Self:
        """The judge of a recipe's settings; the text of `template_file`, if given, becomes the template.

        So a run's fingerprint covers the text itself, and its own recipe needs no file.

        Raises:
            ValueError: the file cannot be read, or a template is given too.
        """
        return cls(**with_template_read(settings, PROMPT))

    def needs(self) -> Mapping[str, str]:
        """The judging model."""
        return {"judge": self.path}

    def look(self, role: str, path: str) -> Sequence[str]:
        """What its engine sees of the judging model."""
        del role
        looked = look_at(self.engine, Model(name=path, path=path, fingerprint=""))
        return [*looked.tokenizer.notes, *looked.notes]

    def work(self, prompt: float, answer: float) -> ScoringWork:
        """Each reply reads the request, prompt and answer, and is assumed to have the maximum length."""
        asked, replies, held = (
            about_tokens(self.template) + prompt + answer,
            self.judging.samples,
            footprint_of(self.engine),
        )
        return ScoringWork(
            read=replies * asked,
            written=replies * self.judging.max_tokens,
            weight_bytes=held.weight_bytes,
            rows=held.rows,
            longest=asked + self.judging.max_tokens,
            batching=held.batching,
        )

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """The judge's score of each answer, from `lowest` to `highest`; None, with a reason, if it gave none."""
        del trainer
        name = self._name(models["judge"])
        judgements = self._judgements(judgeable(answers), models["judge"])
        for answer in answers:
            found = fault(answer) or next(judgements)
            value, reason = (None, found) if isinstance(found, str) else (found, "")
            yield Verdict(answer=answer.id, scorer=name, value=value, reason=reason)
        assert next(judgements, None) is None, "a judgement for each judgeable answer, and no more"

    def read(self, reply: str) -> float | str:
        """The score in a reply, or the reason why it has none."""
        return read_number(reply, self.number, self.lowest, self.highest)

    def _name(self, model: Model) -> str:
        """The judge's name with hashes of its model and prompt, since either may change under the same name."""
        asked = content_hash([self.template, self.lowest, self.highest])[:HASH_LENGTH]
        return f"judge({self.path}@{model.fingerprint[:HASH_LENGTH]}, prompt {asked})"

    def _judgements(self, answers: Sequence[Answer], model: Model) -> Iterator[float | str]:
        """For each answer in order, its score or the reason why there is none; the model is opened once."""
        if not answers:
            return
        samples = self.judging.samples
        with kept_open(("judge", id(self.engine), model), partial(self.engine.open, model)) as sampler:
            for together in _asked_together(answers, max(1, self.engine.block_size // samples)):
                asked = [self._requests(sampler.tokenizer, answer) for answer in together]
                replies = dict(sampler.sample([request for requests in asked for request in requests]))
                read = [self._reading(sampler.tokenizer, replies[i]) for i in range(len(replies))]
                yield from (mean_of_replies(read[i : i + samples]) for i in range(0, len(read), samples))

    def _requests(self, tokenizer: Tokenizer, answer: Answer) -> list[Request]:
        """One request per sample, with seeds that depend on this answer alone."""
        wish = self.template.format(
            prompt=answer.prompt.conversation,
            answer=answer.prompt.prefix + answer.text,
            lowest=f"{self.lowest:g}",
            highest=f"{self.highest:g}",
        )
        ids = tokenizer.prompt_ids([Message(role="user", content=wish)])
        seeds = [int(content_hash(["judge", answer.id, index])[:15], 16) for index in range(self.judging.samples)]
        return [Request(prompt_ids=ids, sampling=self.judging, seed=seed) for seed in seeds]

    def _reading(self, tokenizer: Tokenizer, reply: Generation) -> float | str:
        if reply.finish == "failed":
            return f"the judge failed: {reply.reason or 'no reason given'}"
        text = tokenizer.text(reply.token_ids)
        if reply.finish == "length":  # its last digit may be missing
            return f"the judge's reply was cut at {len(reply.token_ids)} tokens: {text[:QUOTED]!r}"
        for stop in self.judging.stop:
            text = text.partition(stop)[0]
        return self.read(text)


def _asked_together(answers: Sequence[Answer], size: int) -> Iterator[Sequence[Answer]]:
    """What is asked at once: neighbours in one block."""
    for block in blocks(answers, answers, whole_prompts=False):
        yield from (block[start : start + size] for start in range(0, len(block), size))
