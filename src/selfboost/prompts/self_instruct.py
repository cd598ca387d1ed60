"""Plain self-instruct: the initial model is shown a few seed prompts and writes another (arXiv 2212.10560, 2.2).

A baseline for the prompt generator: nothing is trained on these prompts. Plain means that all prompts shown are
seeds (the paper shows 6 written by people and 2 generated before) and that only exact repetitions are dropped. Left
out: the paper's ROUGE-L filter, and its answers.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from selfboost.notes import Counts
from selfboost.records import Answer, Origin, Prompt, Sampling, user_prompt
from selfboost.setting_types import CountOrNone, Several, Text
from selfboost.templates import check_template
from selfboost.verbs import Verbs

STAGE = "prepare/self-instruct"
SOURCE = "self-instruct"
"""Origin of the prompts."""
TEMPLATE = """Come up with a series of tasks, each unlike the others.

{items}"""


@dataclass(frozen=True, kw_only=True)
class SelfInstructed(Counts, kept_as="self_instruct"):
    """What became of the initial model's answers."""


@dataclass(frozen=True, kw_only=True)
class SelfInstruct:
    """Prompts that the initial model writes from seed prompts as examples: a baseline for the prompt generator."""

    prompts: CountOrNone = 0
    """Prompts that the initial model writes by plain self-instruct, to compare with the generator's; 0 = none."""
    shown: Several = 8
    """Seed prompts shown in each request, at random (the paper: 8, two of them generated)."""
    template: Text = TEMPLATE
    """The request, with the field {items}."""
    item: Text = "Task {number}: {prompt}"
    """How a prompt is shown, with the field {prompt}, and {number} if they are numbered.

    The text before {prompt} begins the answer; the text after it, or else the start of the next item, ends it.
    """
    separator: Text = "\n"
    """Between the items."""
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=1024))
    """How prompts are sampled."""

    def __post_init__(self) -> None:
        check_template("template", self.template, {"items"})
        check_template("item", self.item, {"prompt", "number"} if "{number}" in self.item else {"prompt"})
        if not any(part.strip() for part in self._around(1)):
            raise ValueError(f"item = {self.item!r}: must have text besides {{prompt}}, to mark where an item ends")

    def write(self, run: Verbs) -> list[Prompt]:
        """New prompts, without duplicates, seed prompts or measured ones; note `SelfInstructed`."""
        if not self.prompts:
            return []
        end = self._end(min(self.shown, len(run.seeds)))
        sampling = replace(self.sampling, stop=(*self.sampling.stop, end))
        answers = run.sample(STAGE, run.initial, self.requests(run), sampling)
        examples = (*run.seeds, *run.validation, *run.held_out)
        kept, counts = read_prompts(answers, known_prompts(example.prompt for example in examples))
        run.note(SelfInstructed(counts={"answers": len(answers), **counts}))
        return kept

    def requests(self, run: Verbs) -> list[Prompt]:
        """The requests, each with different seed prompts in random order."""
        texts = [seed.prompt.dialogue for seed in run.seeds]
        shuffle = random.Random(f"{SOURCE} {run.recipe.run.seed}")
        shown = min(self.shown, len(texts))
        return [self._request(shuffle.sample(texts, shown)) for _ in range(self.prompts)]

    def _request(self, texts: list[str]) -> Prompt:
        items = [self.item.format(number=number, prompt=text) for number, text in enumerate(texts, start=1)]
        # No trailing space: a model's words bring their own.
        prefix = self._around(len(texts) + 1)[0].rstrip()
        return user_prompt(
            self.template.format(items=self.separator.join(items)), Origin(source="shown"), prefix=prefix
        )

    def _end(self, shown: int) -> str:
        """The text that ends the answer after `shown` prompts."""
        opening, closing = (part.strip() for part in self._around(shown + 2))
        return closing or opening

    def _around(self, number: int) -> tuple[str, str]:
        """The text before and after the prompt of an item."""
        before, _, after = self.item.format(number=number, prompt="\0").partition("\0")
        return before, after


def known_prompts(prompts: Iterable[Prompt]) -> dict[str, str]:
    """Texts that a new prompt must not repeat → why."""
    return {prompt.dialogue: f"equals a {prompt.origin.source} prompt" for prompt in prompts}


def read_prompts(answers: Iterable[Answer], known: Mapping[str, str]) -> tuple[list[Prompt], dict[str, int]]:
    """The new prompts among the answers, and how many answers gave one (`kept`) or none, by reason."""
    kept: dict[str, Prompt] = {}
    counts = Counter[str]()
    for answer in answers:
        text = answer.text.strip()
        reason = _fault(answer, text) or known.get(text, "") or ("duplicate" if text in kept else "")
        counts[reason or "kept"] += 1
        if not reason:
            kept[text] = user_prompt(text, Origin(source=SOURCE, parent=answer.id))
    return list(kept.values()), dict(counts)


def _fault(answer: Answer, text: str) -> str:
    if answer.finish in ("failed", "length"):
        return "failed" if answer.finish == "failed" else "cut at the token limit"
    return "" if text else "empty"
