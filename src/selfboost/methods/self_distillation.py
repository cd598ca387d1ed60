"""Self-distillation: the model is fine-tuned on its own answers to the seed's prompts; no judge and no reward model.

With `shown = "nothing"` it is SSD (arXiv 2604.01193): one raw answer per prompt, drawn hotter and truncated, then plain
fine-tuning. With `shown = "gold"` it is SDFT (arXiv 2402.13669): the model puts the gold answer into its own words,
and learns to answer so without seeing it; where that fails, gold itself is learned.

Left out: SDFT's check, for tasks that have one, that both answers come to the same; and the on-policy form of
arXiv 2601.19897, where the model that sees the demonstration grades each token that the one that does not has drawn: no
verb here minimises a divergence between models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from selfboost.disk.sequences import Mapped, Selected, sorted_out
from selfboost.method import Method
from selfboost.methods.parts.pairing import FAULTY_ANSWERS, answer_fault, prompts_of
from selfboost.notes import Counts
from selfboost.records import Answer, Example, Model, Origin, Prompt, Sampling, user_prompt
from selfboost.setting_types import Text
from selfboost.templates import check_template
from selfboost.verbs import Verbs

TEMPLATE = """Here is a request and a good answer to it. Answer the request yourself, in your own words: keep what the \
answer says, and mention neither it nor this note.

### Request
{prompt}

### Answer
{answer}

### In Your Own Words"""


@dataclass(frozen=True, kw_only=True)
class Distilled(Counts, decided_by="method.sampling"):
    """What became of the model's answers."""

    things: ClassVar[str] = "own answers"
    cures: ClassVar[Mapping[str, str]] = {
        **FAULTY_ANSWERS,
        "cut at the token limit": "raise method.sampling.max_tokens, or set method.keep_cut = true",
    }


@dataclass(frozen=True, kw_only=True)
class SelfDistillation(Method):
    """The model fine-tuned on its own answers, raw or gold put into its own words, by `seed_models.sft`."""

    once: ClassVar[bool] = True
    shown: Literal["nothing", "gold"] = "nothing"
    """What the model sees of the gold answer while it answers."""
    template: Text = TEMPLATE
    """The request that shows gold, with the fields {prompt} and {answer}."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=1.6, top_p=0.8, top_k=20))
    """How own answers are sampled (SSD's for a 4B instruct model)."""
    keep_cut: bool = False
    """Learn answers that were cut at the token limit; they teach the model not to stop."""

    def __post_init__(self) -> None:
        check_template("template", self.template, {"prompt", "answer"})
        if self.sampling.samples != 1:
            raise ValueError(f"sampling.samples = {self.sampling.samples}: must be 1, one answer to each prompt")

    @property
    def scored(self) -> bool:
        """Never: it has no pairs."""
        return False

    def iterate(self, run: Verbs) -> Model:
        """Answer, learn the answers."""
        asked = prompts_of(run.seeds) if self.shown == "nothing" else Mapped(self._request, run.seeds)
        own = run.sample("own-answers", run.initial, asked, self.sampling)
        kept, counts = sorted_out(map(self._objection, own))
        run.count(Distilled, counts)
        examples = self._examples(run, own, kept)
        training, name = run.recipe.seed_models.sft, f"iteration {run.iteration}"
        return run.finetune("policy", examples, training, start=run.initial, model_name=name)

    def _examples(self, run: Verbs, own: Sequence[Answer], kept: Sequence[int]) -> Sequence[Example]:
        """Own answers to the seed's prompts; where there is none and gold was shown, gold."""

        def example(seed: Example, answer: Answer) -> Example:
            return run.example(seed.prompt, answer)

        if self.shown == "nothing":
            return Mapped(example, Selected(run.seeds, kept), Selected(own, kept))
        usable = set(kept)
        return [example(seed, own[at]) if at in usable else seed for at, seed in enumerate(run.seeds)]

    def _objection(self, answer: Answer) -> str:
        cut = answer.finish == "length" and not self.keep_cut
        return answer_fault(answer) or ("cut at the token limit" if cut else "")

    def _request(self, seed: Example) -> Prompt:
        """The request that shows gold, with the whole conversation."""
        origin = Origin(source="in own words", parent=seed.answer.id)
        return user_prompt(self.template.format(prompt=seed.prompt.conversation, answer=seed.answer.text), origin)
