"""SynPO's response improver: fine-tuned to turn a model's own answer into the gold one, then rewrites drafts.

Source: arXiv 2410.06961, section 2.2. The paper does not give the threshold below which a seed is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from selfboost.disk.sequences import Mapped, Selected, alternating, sorted_out
from selfboost.methods.parts.pairing import answer_fault, answers_of, prompts_of
from selfboost.notes import Note
from selfboost.records import Answer, Example, Model, Origin, Prompt, Sampling, user_prompt
from selfboost.scorers import pairwise
from selfboost.setting_types import ScoreOrNone, Text
from selfboost.templates import check_template
from selfboost.train import Training
from selfboost.verbs import Verbs

TEMPLATE = """Rewrite the answer to the question below so that it becomes better: correct its mistakes, add what is \
missing, and make it answer exactly what was asked.

### Given Question
{prompt}

### Original Answer
{answer}

### Rewritten Answer"""


def rewrite_request(template: str, prompt: Prompt, draft: Answer, **fields: str) -> Prompt:
    """The request to rewrite a draft, which shows the whole conversation that it answers; `fields` are further ones."""
    origin = Origin(
        source="rewrite", iteration=prompt.origin.iteration, keywords=prompt.origin.keywords, parent=draft.id
    )
    return user_prompt(template.format(prompt=prompt.conversation, answer=draft.text, **fields), origin)


@dataclass(frozen=True, kw_only=True)
class ImproverSeeds(Note, kept_as="improver", decided_by="method.improver.threshold"):
    """How many seeds train the improver."""

    seeds: int
    kept: int
    """Those on which gold beats the policy's own answer by more than the threshold."""


@dataclass(frozen=True, kw_only=True)
class ResponseImprover:
    """A model that rewrites answers, retrained from the initial model in every iteration."""

    template: Text = TEMPLATE
    """The rewrite request, with the fields {prompt} and {answer}."""
    threshold: ScoreOrNone = 0.0
    """A seed trains the improver where score(gold) - score(own answer) is above this; -inf keeps all."""
    sampling: Sampling = field(default_factory=Sampling)
    """How rewrites are sampled."""
    training: Training = field(
        default_factory=lambda: Training(learning_rate=1e-6, batch_size=32, epochs=3, max_length=6000)
    )
    """Supervised fine-tuning, as for the prompt generator."""

    def __post_init__(self) -> None:
        check_template("template", self.template, {"prompt", "answer"})
        if self.sampling.samples != 1:
            raise ValueError(f"sampling.samples = {self.sampling.samples}: must be 1, one rewrite of a draft")

    def train(self, run: Verbs, own_sampling: Sampling) -> Model:
        """Fine-tune the initial model on (seed prompt, the policy's own answer) → gold answer.

        Raises:
            ValueError: gold beats the policy's own answer on none of the seeds.
        """
        own = run.sample("seed-answers", run.previous, prompts_of(run.seeds), own_sampling)
        worse = self._where_gold_wins(run, own)
        run.note(ImproverSeeds(seeds=len(run.seeds), kept=len(worse)))
        if not worse:
            raise ValueError(
                f"iteration {run.iteration}: gold beats the policy's own answer by more than "
                f"{self.threshold:g} on none of the {len(run.seeds)} seeds; lower method.improver.threshold"
                + (f", or end the run before it (run.iterations = {run.iteration - 1})" if run.iteration > 1 else "")
            )

        def rewrite(seed: Example, answer: Answer) -> Example:
            return run.example(self.request(seed.prompt, answer), seed.answer)

        examples = Mapped(rewrite, Selected(run.seeds, worse), Selected(own, worse))
        return run.finetune("improver", examples, self.training, start=run.initial)

    def request(self, prompt: Prompt, draft: Answer) -> Prompt:
        """The request to rewrite a draft."""
        return rewrite_request(self.template, prompt, draft)

    def _where_gold_wins(self, run: Verbs, own: Sequence[Answer]) -> Sequence[int]:
        """Places of the seeds that train the improver."""
        usable, _ = sorted_out(map(answer_fault, own))
        if self.threshold == float("-inf"):
            return usable
        scores = self._scores(run, Selected(run.seeds, usable), Selected(own, usable))
        return [
            place
            for place, (gold, mine) in zip(usable, scores, strict=True)
            if gold is not None and mine is not None and gold - mine > self.threshold
        ]

    @staticmethod
    def _scores(run: Verbs, seeds: Sequence[Example], own: Sequence[Answer]) -> list[tuple[float | None, float | None]]:
        """Scores of gold and own answers. Gold is scored once, unless the scorer compares the two."""
        if pairwise(run.recipe.scorer):
            both = run.score("seed-scores", alternating(answers_of(seeds), own))
            values = [verdict.value for verdict in both]
            return list(zip(values[::2], values[1::2], strict=True))
        gold = {v.answer: v.value for v in run.score("prepare/gold-scores", answers_of(run.seeds))}
        verdicts = run.score("seed-scores", own)
        return [(gold[seed.answer.id], verdict.value) for seed, verdict in zip(seeds, verdicts, strict=True)]
