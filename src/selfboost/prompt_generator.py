"""SynPO's prompt generator: fine-tuned to write a question from keywords, then writes new ones (arXiv 2410.06961, 2.1).

Left out: near-duplicates beyond exact ones, and decontamination beyond exact matches.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from selfboost.keywords import KeywordPool, extract_keywords, keyword_pool, read_paragraphs, training_list
from selfboost.recipe import EMBEDDED
from selfboost.records import Answer, Example, Model, Origin, Prompt, Sampling, user_prompt
from selfboost.run import Run
from selfboost.seed_data import EMBEDDED_FILES
from selfboost.setting_types import PathOrName
from selfboost.templates import check_template
from selfboost.train import Training

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


@dataclass(frozen=True, kw_only=True)
class PromptGenerator:
    """A model that writes new prompts, trained once from the initial model."""

    template: str = TEMPLATE
    """The wish for a question, with the field {keywords}."""
    target: str = TARGET
    """What it learns to write, with the fields {question} and {solution}."""
    prefix: str = "### Question and solution\n"
    """What its answer is made to begin with."""
    question: str = QUESTION
    """Regular expression whose first group is the question."""
    separator: str = ", "
    """Between the keywords in the template."""
    seed_keywords: Annotated[int, Field(ge=1)] = 2
    """Keywords of the seed prompt itself, in training."""
    noise_keywords: Annotated[int, Field(ge=0)] = 1
    """Keywords of another seed prompt, in training, so that it learns to leave some unused."""
    paragraphs: PathOrName = ""
    """File or folder of texts that keywords are drawn from, `embedded`, or nothing: the seed's own prompts."""
    keep_names: bool = False
    """Keep capitalised words, which are likely names (the paper drops names)."""
    keep_numbers: bool = False
    """Keep numbers as keywords."""
    longest: Annotated[int, Field(ge=1)] = 1000
    """Drop prompts of more words than this."""
    sampling: Sampling = field(default_factory=Sampling)
    """How prompts are sampled."""
    training: Training = field(
        default_factory=lambda: Training(learning_rate=1e-6, batch_size=32, epochs=3, max_length=8000)
    )
    """Supervised fine-tuning (the paper's values)."""

    def __post_init__(self) -> None:
        check_template("template", self.template, {"keywords"})
        check_template("target", self.target, {"question", "solution"})
        try:
            groups = re.compile(self.question, re.DOTALL).groups
        except re.error as error:
            raise ValueError(f"question = {self.question!r}: is no regular expression ({error})") from error
        if groups < 1:
            raise ValueError(f"question = {self.question!r}: must have one group, the question's text")

    def train(self, run: Run) -> Model:
        """Fine-tune the initial model on keywords → (question, solution) of the seed."""
        words = [self.keywords_of(seed.prompt.text) for seed in run.seeds]
        shuffle = random.Random(run.recipe.run.seed)
        examples = [
            self._example(
                run, seed, training_list(words, i, own=self.seed_keywords, noise=self.noise_keywords, shuffle=shuffle)
            )
            for i, seed in enumerate(run.seeds)
            if len(words[i]) >= self.seed_keywords
        ]
        return run.finetune("prepare/generator", examples, self.training, start=run.initial)

    def new_prompts(self, run: Run, count: int) -> list[Prompt]:
        """New prompts from new keyword lists; what had to be dropped is counted in the run's notes."""
        # Lists for all iterations at once: none is ever used twice, and too few are found out before any work.
        pool = self.pool([seed.prompt.text for seed in run.seeds])
        lists = pool.draw(count * run.recipe.run.iterations, seed=run.recipe.run.seed)
        lists = lists[count * (run.iteration - 1) : count * run.iteration]
        generator = self.train(run)
        requests = [self._request(list(words), run.iteration) for words in lists]
        outputs = run.sample("prompts", generator, requests, self.sampling)
        kept: list[Prompt] = []
        counts = Counter[str]()
        taken = run.prompt_texts()
        for output in outputs:
            text, reason = self._read(output, taken)
            counts[reason or "kept"] += 1
            if not reason:
                taken[text] = "duplicate"
                origin = Origin(
                    source="prompts", iteration=run.iteration, keywords=output.prompt.origin.keywords, parent=output.id
                )
                kept.append(user_prompt(text, origin))
        run.notes["prompts"] = {"keyword lists": len(lists), **counts}
        if not kept:
            raise ValueError(f"iteration {run.iteration}: the prompt generator wrote no usable prompt ({dict(counts)})")
        run.remember_prompts(kept)
        return kept

    def pool(self, seed_prompts: Sequence[str]) -> KeywordPool:
        """What keyword lists are drawn from: the paragraphs, or the seed's own prompts where none are given.

        Raises:
            ValueError: no text has enough keywords, or the paragraphs cannot be read.
        """
        if not self.paragraphs:
            texts = iter(seed_prompts)
        else:
            embedded = self.paragraphs == EMBEDDED
            texts = read_paragraphs(EMBEDDED_FILES / "paragraphs.jsonl" if embedded else Path(self.paragraphs))
        words = self.seed_keywords + self.noise_keywords
        return keyword_pool(texts, words=words, keep_names=self.keep_names, keep_numbers=self.keep_numbers)

    def keywords_of(self, text: str) -> list[str]:
        """The keywords of a text, by this generator's settings."""
        return extract_keywords(text, keep_names=self.keep_names, keep_numbers=self.keep_numbers)

    def _read(self, output: Answer, taken: dict[str, str]) -> tuple[str, str]:
        """(question, "") or ("", why there is none)."""
        if output.finish == "failed":
            return "", "failed"
        found = re.search(self.question, output.text, re.DOTALL)
        if found is None:
            return "", "cut at the token limit" if output.finish == "length" else "no question found"
        text = found.group(1).strip()
        if not text:
            return "", "empty"
        if len(text.split()) > self.longest:
            return "", "too long"
        return text, taken.get(text, "")

    def _request(self, keywords: list[str], iteration: int) -> Prompt:
        origin = Origin(source="keywords", iteration=iteration, keywords=tuple(keywords))
        return user_prompt(self.template.format(keywords=self.separator.join(keywords)), origin, prefix=self.prefix)

    def _example(self, run: Run, seed: Example, keywords: list[str]) -> Example:
        prompt = self._request(keywords, 0)
        target = self.target.format(question=seed.prompt.text, solution=seed.answer.text)
        return run.example(prompt, run.given(prompt, target))
