"""SGPO (arXiv 2507.20181): one model is policy and improver; its improved answers are preferred to its plain ones.

Step 1: the initial model improves its own answers to the seed a little towards gold, which it sees, and is trained on
(prompt, its answer) → improved answer. Step 2: the model so trained answers and improves its answers, now without gold;
DPO prefers the improved ones.

Established, from the abstract and the caption of the paper's overview: one model for both, the two steps and whose
answers enter them. Not established: the equations, how the improver's targets are made, which prompts step 2 asks,
whether pairs are filtered, what is repeated. Here step 1 is taken once and step 2 in every iteration, with no judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from selfboost.disk.sequences import Mapped, Selected, sorted_out
from selfboost.method import ModelName
from selfboost.methods.parts.improver import TEMPLATE, rewrite_request
from selfboost.methods.parts.pairing import FAULTY_ANSWERS, answers_of, objection, pick, prompts_of
from selfboost.methods.parts.policy_training import OwnAnswers
from selfboost.notes import Counts
from selfboost.records import Answer, Example, Model, Prompt, Sampling
from selfboost.setting_types import Text
from selfboost.templates import check_template
from selfboost.train import Training
from selfboost.verbs import Sides, Verbs

TEACHING = """Below are a question, an answer to it and a better answer. Make the first answer a little better: take \
over what it lacks most, and leave what is right as it is.

### Question
{prompt}

### Answer
{answer}

### Better Answer
{gold}

### Improved Answer"""
PREPARED = "prepare/improvement"


CURES = {**FAULTY_ANSWERS, "cut at the token limit": "raise method.refining.max_tokens"}


@dataclass(frozen=True, kw_only=True)
class Improvements(Counts, decided_by="method.teaching or method.refining"):
    """What became of the answers that the improver was to learn."""

    things: ClassVar[str] = "improvements"
    cures: ClassVar[Mapping[str, str]] = CURES


@dataclass(frozen=True, kw_only=True)
class ImprovedPairs(Counts, decided_by="method.template or method.refining"):
    """What became of the policy's own improvements."""

    things: ClassVar[str] = "pairs of improved and plain answers"
    cures: ClassVar[Mapping[str, str]] = CURES


@dataclass(frozen=True, kw_only=True)
class SGPO(OwnAnswers):
    """One model answers and improves its answers; the improved ones are preferred, without a judge."""

    start: ModelName = "previous"
    """The model that the policy is trained from; `previous` is the improver of step 1 until a policy is promoted."""
    reference: ModelName = "previous"
    """The reference model of the loss; `previous` as above."""
    target: Literal["improved", "gold"] = "improved"
    """What the improver learns to write: a small step towards gold, or gold itself."""
    template: Text = TEMPLATE
    """The request for an improvement, with the fields {prompt} and {answer}."""
    teaching: Text = TEACHING
    """The request for a small step towards gold, with the fields {prompt}, {answer} and {gold}."""
    refining: Sampling = field(default_factory=Sampling)
    """How improvements are sampled."""
    improver_training: Training = field(
        default_factory=lambda: Training(learning_rate=1e-6, batch_size=32, epochs=3, max_length=6000)
    )
    """Supervised fine-tuning of step 1 (SynPO's for its improver)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_template("template", self.template, {"prompt", "answer"})
        check_template("teaching", self.teaching, {"prompt", "answer", "gold"})
        if self.refining.samples != 1:
            raise ValueError(f"refining.samples = {self.refining.samples}: must be 1, one improvement of an answer")

    @classmethod
    def suggested(cls) -> Mapping[str, Mapping[str, Any]]:
        """The paper's loss."""
        return {"loss": {"kind": "dpo"}}

    @property
    def scored(self) -> bool:
        """Never: the improved answer is chosen."""
        return False

    def iterate(self, run: Verbs) -> Model:
        """Answer, improve, prefer the improved."""
        improver = self._improver(run)
        policy = improver if run.previous.fingerprint == run.initial.fingerprint else run.previous
        prompts = prompts_of(run.seeds)
        drafts = run.sample("drafts", policy, prompts, self.sampling)
        refined = run.sample("refined", policy, Mapped(self._request, prompts, drafts), self.refining)
        kept, counts = sorted_out(map(_objection, refined, drafts))
        run.count(ImprovedPairs, counts)
        sides = (Selected(items, kept) for items in (prompts, refined, drafts))
        pairs = pick(run.pairs(Sides, *sides), self.pairs, run.recipe.run.seed + run.iteration)
        start, reference = (policy if name == "previous" else run.model(name) for name in (self.start, self.reference))
        return self.search.prefer(run, pairs, start=start, reference=reference)

    def _improver(self, run: Verbs) -> Model:
        """Step 1: the initial model, trained to improve its own answers to the seed."""
        own = run.sample(f"{PREPARED}-drafts", run.initial, prompts_of(run.seeds), self.sampling)
        targets = self._targets(run, own)
        kept, counts = sorted_out(map(_objection, targets, own))
        run.count(Improvements, counts)

        def example(seed: Example, draft: Answer, target: Answer) -> Example:
            return run.example(self._request(seed.prompt, draft), target)

        learned = Mapped(example, *(Selected(items, kept) for items in (run.seeds, own, targets)))
        return run.finetune(
            f"{PREPARED}-model", learned, self.improver_training, start=run.initial, model_name="improver"
        )

    def _targets(self, run: Verbs, own: Sequence[Answer]) -> Sequence[Answer]:
        """What the improver learns to make of each of these answers."""
        if self.target == "gold":
            return answers_of(run.seeds)

        def request(seed: Example, draft: Answer) -> Prompt:
            return rewrite_request(self.teaching, seed.prompt, draft, gold=seed.answer.text)

        return run.sample(f"{PREPARED}-targets", run.initial, Mapped(request, run.seeds, own), self.refining)

    def _request(self, prompt: Prompt, draft: Answer) -> Prompt:
        return rewrite_request(self.template, prompt, draft)


def _objection(improved: Answer, draft: Answer) -> str:
    """Why an improvement is not learned or preferred; empty if it is."""
    cut = "cut at the token limit" if improved.finish == "length" else ""
    return objection(improved, draft) or cut
