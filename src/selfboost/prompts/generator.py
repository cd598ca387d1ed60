"""SynPO's prompt generator: fine-tuned to write a question from keywords, then writes new ones (arXiv 2410.06961, 2.1).

Every output that gives no new prompt is counted by reason. Left out: judging whether a prompt makes sense.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field

from selfboost.data.hub_data import is_hub_name
from selfboost.data.paragraphs import read_paragraphs
from selfboost.data.seeds import question_texts, read_prompts
from selfboost.demo import EMBEDDED, EMBEDDED_FILES
from selfboost.disk.record_files import write_rows
from selfboost.disk.sequences import Mapped, Selected
from selfboost.method import Rehearsal
from selfboost.notes import Counts, Note
from selfboost.prompts.keywords import (
    KeywordPool,
    KeywordRule,
    cached_pool,
    has_lists,
    keyword_pool,
    keywords_of_each,
    training_list,
)
from selfboost.prompts.novelty import NoveltyRule, copied, novelty_of
from selfboost.records import (
    Answer,
    Example,
    Model,
    Origin,
    Prompt,
    Sampling,
    content_hash,
    from_transcript,
    spoken,
    user_prompt,
)
from selfboost.setting_types import MOST_TOKENS, Name, PathOrNone, Pattern, Text
from selfboost.templates import check_pattern, check_template, groups_found
from selfboost.train import Training
from selfboost.verbs import Verbs

TEMPLATE = """Design one question together with its solution, starting from the given keywords.

Requirements: try to include every keyword in the question; make the solution correct, detailed and rich in knowledge.

Given keywords: {keywords}

Write in this format:
### Question and solution
<question>the question</question>
<solution>the solution</solution>"""
TARGET = """<question>{question}</question>
<solution>{solution}</solution>"""
QUESTION = r"<question>(.*?)</question>"
ANY_TEXT = r"(.+)"
REHEARSED_PARAGRAPHS = 32
"""Paragraphs of a rehearsal, and made-up prompts in each: enough keyword lists for any counts."""
COPIED_WORDS = 8
"""This many consecutive words of the template make a question a copy of it."""


@dataclass(frozen=True, kw_only=True)
class GeneratorSeeds(Note, kept_as="generator", decided_by="method.generator.seed_keywords"):
    """How many seeds train the generator, if not all do."""

    seeds: int
    with_enough_keywords: int

    @property
    def nothing_left(self) -> str:
        """That too few seeds have keywords."""
        if self.with_enough_keywords:
            return ""
        return f"none of {self.seeds:,} seeds has as many keywords as method.generator.seed_keywords asks for; lower it"


@dataclass(frozen=True, kw_only=True)
class WrittenPrompts(Counts, kept_as="prompts", decided_by="method.generator"):
    """What became of the generator's outputs, one per keyword list."""

    things: ClassVar[str] = "written prompts"
    total: ClassVar[str] = "keyword lists"
    cures: ClassVar[Mapping[str, str]] = {
        "no question found": "train the generator longer (method.generator.training: epochs, learning_rate), and see "
        "that method.generator.question matches method.generator.target",
        "cut at the token limit": "raise method.generator.sampling.max_tokens, or train the generator longer, so that "
        "it ends its prompts",
        "copied template": "train the generator longer (method.generator.training: epochs, learning_rate)",
        "too long": "raise method.generator.longest",
        "failed": "the card of the stage that sampled them has the reason",
        "equals": "raise method.generator.sampling.temperature",
        "duplicate": "raise method.generator.sampling.temperature",
        "near-duplicate": "raise method.generator.sampling.temperature, or method.generator.novelty.similarity",
        "shares words": "raise method.generator.novelty.shared_words",
    }


@dataclass(frozen=True, kw_only=True)
class PromptGenerator:
    """A model that writes new prompts, trained once from the initial model."""

    template: Text = TEMPLATE
    """The request for a question, with the field {keywords}."""
    target: Text = TARGET
    """The training target, with the fields {question} and {solution}."""
    prefix: Text = "### Question and solution\n"
    """Forced beginning of its answer."""
    question: Pattern = QUESTION
    """Regular expression whose first group is the question."""
    separator: Text = ", "
    """Separator of the keywords in the template."""
    seed_keywords: Annotated[int, Field(ge=1, le=100)] = 2
    """Keywords taken from the seed prompt itself, in training."""
    noise_keywords: Annotated[int, Field(ge=0, le=100)] = 1
    """Keywords taken from other seed prompts, in training, so that it learns to leave some unused."""
    paragraphs: PathOrNone = ""
    """Texts that keywords are drawn from: a file or folder (text, JSON lines, Parquet), a hub data set by its name
    (owner/name or owner/name:split), `embedded`, or empty: the seed's own prompts."""
    paragraphs_column: Name = "text"
    """Column with the text, in JSON lines, Parquet or a data set."""
    paragraphs_limit: Annotated[int, Field(ge=0, le=10**12)] = 1_000_000
    """Use at most this many paragraphs, from the start (the paper: one million); 0 = all."""
    keywords: KeywordRule = field(default_factory=KeywordRule)
    """Which words are keywords (the paper names no extractor)."""
    longest: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = 1000
    """Drop prompts with more words than this."""
    novelty: NoveltyRule = field(default_factory=NoveltyRule)
    """Which prompts are dropped as too similar to others."""
    sampling: Sampling = field(default_factory=Sampling)
    """How prompts are sampled."""
    training: Training = field(
        default_factory=lambda: Training(learning_rate=1e-6, batch_size=32, epochs=3, max_length=8000)
    )
    """Supervised fine-tuning (the paper's values)."""

    def __post_init__(self) -> None:
        check_template("template", self.template, {"keywords"})
        check_template("target", self.target, {"question", "solution"})
        check_pattern("question", self.question, "the question's text")

    def train(self, run: Verbs) -> Model:
        """Fine-tune the initial model on keywords → (question, solution) of the seed."""
        words = list(keywords_of_each((spoken(seed.prompt.messages) for seed in run.seeds), self.keywords))
        shuffle = random.Random(run.recipe.run.seed)
        examples = [
            self._example(
                run, seed, training_list(words, i, own=self.seed_keywords, noise=self.noise_keywords, shuffle=shuffle)
            )
            for i, seed in enumerate(run.seeds)
            if len(words[i]) >= self.seed_keywords
        ]
        if len(examples) < len(run.seeds):
            run.note(GeneratorSeeds(seeds=len(run.seeds), with_enough_keywords=len(examples)))
        return run.finetune("prepare/generator", examples, self.training, start=run.initial)

    def new_prompts(self, run: Verbs, first: int, count: int, of: int) -> Sequence[Prompt]:
        """New prompts from the lists `first` to `first + count`; every other output is counted by reason.

        Lists are drawn in one order for the whole run, `of` in total, so that none is used twice.
        """
        iteration, lists = run.iteration, Selected(self._drawn(run, of), range(first, first + count))
        requests = Mapped(partial(self._request, iteration), lists)
        outputs = run.sample("prompts", self.train(run), requests, self.sampling)
        novelty = novelty_of(run, self.novelty)
        in_turns = any(seed.prompt.dialogue != seed.prompt.text for seed in run.seeds)
        counts = Counter[str]()

        def new() -> Iterator[Prompt]:
            for output in outputs:
                text, reason = self._read(output)
                reason = reason or novelty.objection(text)
                counts[reason or "kept"] += 1
                if not reason:
                    novelty.remember(text)
                    yield _new_prompt(output, text, iteration, in_turns=in_turns)

        kept = write_rows(run.cache / f"prompts-{iteration}-{first}.jsonl", new(), Prompt)
        run.count(WrittenPrompts, {"keyword lists": len(lists), **counts})
        return kept

    def _drawn(self, run: Verbs, count: int) -> Sequence[Sequence[str]]:
        """All keyword lists of the run, in order; in a file of the cache, for later batches."""
        known: dict[int, Sequence[Sequence[str]]] = run.memory.setdefault((self, "keyword lists"), {})
        if count not in known:
            pool = self.pool([spoken(seed.prompt.messages) for seed in run.seeds], run.cache)
            path = run.cache / f"lists-{content_hash([asdict(self), count])[:16]}.jsonl"
            known[count] = write_rows(path, pool.lists(count, run.recipe.run.seed), tuple[str, ...])
        return known[count]

    def pool(self, seed_prompts: Sequence[str], cache: Path) -> KeywordPool:
        """The pool that keyword lists are drawn from: of the paragraphs (cached in a folder) or the seed's prompts.

        Raises:
            ValueError: no text has enough keywords, or the paragraphs cannot be read.
        """
        if not self.paragraphs:
            return keyword_pool(seed_prompts, self.keywords, self._words)
        source = self._source()
        files = sorted(source.rglob("*")) if source.is_dir() else [source] if source.exists() else []
        looks = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        known_by = [str(source), self.paragraphs_column, self.paragraphs_limit, looks]
        return cached_pool(self._texts, self.keywords, self._words, cache, known_by)

    def reads(self, seed: str) -> Mapping[str, str]:
        """Path or name of the sources of keywords, and of prompts to keep away from → its use."""
        source = {self.paragraphs: "paragraphs"} if self.paragraphs else {seed: "keywords of its prompts"}
        return source | dict.fromkeys(self.novelty.keep_away, "keep_away")

    def check(self, seed_prompts: Sequence[str], count: int) -> None:
        """Check that there are `count` keyword lists, and that kept-away prompts can be read; skips the hub.

        Raises:
            ValueError: there are not that many lists, or a file cannot be read.
        """
        for source in self.novelty.keep_away:
            if not is_hub_name(source):
                read_prompts(source)
        if is_hub_name(self.paragraphs):
            return
        texts = self._texts() if self.paragraphs else seed_prompts
        try:
            has_lists(texts, self.keywords, self._words, count)
        except ValueError as error:
            raise ValueError(f"keywords of {self.paragraphs or 'the seed prompts'}: {error}") from error

    def for_rehearsal(self, rehearsal: Rehearsal) -> Self:
        """With made-up paragraphs, since `check` covers the real ones; every answer is a new prompt."""
        made_up = rehearsal.seeds(REHEARSED_PARAGRAPHS**2)
        texts = [question_texts(made_up[i::REHEARSED_PARAGRAPHS]) for i in range(REHEARSED_PARAGRAPHS)]
        file = rehearsal.folder / "paragraphs.txt"
        file.write_text("\n\n".join("\n".join(lines) for lines in texts), encoding="utf-8")
        opened = replace(self, paragraphs=str(file), paragraphs_limit=0, question=ANY_TEXT, keywords=KeywordRule())
        return replace(opened, novelty=NoveltyRule(similarity=1, shared_words=0))

    @property
    def _words(self) -> int:
        return self.seed_keywords + self.noise_keywords

    def _source(self) -> Path:
        return (
            EMBEDDED_FILES / "paragraphs.jsonl" if self.paragraphs == EMBEDDED else Path(self.paragraphs).expanduser()
        )

    def _texts(self) -> Iterator[str]:
        return read_paragraphs(self._source(), self.paragraphs_column, self.paragraphs_limit)

    def _read(self, output: Answer) -> tuple[str, str]:
        """(question, "") or ("", reason)."""
        if output.finish == "failed":
            return "", "failed"
        found = groups_found("method.generator.question", self.question, output.text, dot_all=True)
        if not found:
            return "", "cut at the token limit" if output.finish == "length" else "no question found"
        text = found[0].strip()
        if not text:
            return "", "empty"
        if len(text.split()) > self.longest:
            return "", "too long"
        return ("", "copied template") if copied(text, self.template, COPIED_WORDS) else (text, "")

    def _request(self, iteration: int, keywords: Sequence[str]) -> Prompt:
        origin = Origin(source="keywords", iteration=iteration, keywords=tuple(keywords))
        return user_prompt(self.template.format(keywords=self.separator.join(keywords)), origin, prefix=self.prefix)

    def _example(self, run: Verbs, seed: Example, keywords: list[str]) -> Example:
        prompt = self._request(0, keywords)
        target = self.target.format(question=seed.prompt.dialogue, solution=seed.answer.text)
        return run.example(prompt, run.given(prompt, target))


def _new_prompt(output: Answer, text: str, iteration: int, *, in_turns: bool) -> Prompt:
    """The prompt of a question; a conversation where the seeds have them and the question is written as one."""
    origin = Origin(source="prompts", iteration=iteration, keywords=output.prompt.origin.keywords, parent=output.id)
    prompt = user_prompt(text, origin)
    return replace(prompt, messages=from_transcript(text)) if in_turns else prompt
