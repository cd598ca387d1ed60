"""PairRM (arXiv 2306.02561): which of two answers is better, read side by side in both orders; SynPO's Mistral scorer.

L(A, B) is the logit when answer A is shown first and B second. An answer's value is the mean of L(it, other) over
the other answers to its prompt, so that the gap of two is L(A, B) - L(B, A), as llm-blender's `rank` and `compare` have
it. The model is run by this scorer itself, not by the trainer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from statistics import fmean
from typing import Annotated, ClassVar

from pydantic import Field

from selfboost.engines.checkpoint import DeviceName, DTypeName, bytes_of
from selfboost.engines.kept_models import kept
from selfboost.records import Answer, Model, Prompt, Verdict
from selfboost.scorers import ScoringWork
from selfboost.scorers.blocks import blocks
from selfboost.scorers.verdicts import fault, reasoned_verdicts
from selfboost.setting_types import MOST_TOKENS, SPEED_ONLY, PathOrName, Score, Tokens
from selfboost.train import Trainer

SEVERAL_TURNS = "Finish the following coversation in each i-th turn by filling in <Response i> with your response."
"""What a conversation of several turns begins with; spelt as in the model's training."""
ALONE = "there is no other answer to its prompt to compare it with"


@dataclass(frozen=True, kw_only=True)
class PairRM:
    """The published pair-wise reward model PairRM: compares the answers to one prompt with each other."""

    pairwise: ClassVar[bool] = True

    path: PathOrName = "llm-blender/PairRM-hf"
    """A folder or hub name of a PairRM checkpoint."""
    threshold: Score = 0.20
    """Smallest score gap of a kept pair: SynPO's; a logit summed over both orders."""
    source_tokens: Annotated[int, Field(ge=4, le=MOST_TOKENS)] = 1224
    """Most tokens of a prompt, control tokens included; longer ones are truncated at the end."""
    candidate_tokens: Annotated[int, Field(ge=4, le=MOST_TOKENS)] = 412
    """Most tokens of each answer, plus half of what the prompt leaves; longer ones are truncated at the end."""
    dtype: DTypeName = "float32"
    """Number type of the weights: as published; `auto`: bfloat16 on a GPU, else float32."""
    device: DeviceName = "auto"
    """Where the model runs; `auto`: the GPU if there is one."""
    batch_tokens: Tokens = field(default=8192, metadata=SPEED_ONLY)
    """Most tokens of a batch, padding included; a batch has at least one comparison."""

    def needs(self) -> Mapping[str, str]:
        """The reward model."""
        return {"reward": self.path}

    def work(self, prompt: float, answer: float) -> ScoringWork:
        """One pass over the prompt, the answer and another answer."""
        return ScoringWork(read=prompt + 2 * answer, weight_bytes=bytes_of(self.dtype))

    def look(self, role: str, path: str) -> Sequence[str]:
        """Whether it is a PairRM checkpoint with its tokenizer; there is nothing to be said of one."""
        del role
        from selfboost.scorers.pairrm_model import inspect_pairrm, open_reader

        open_reader(path, inspect_pairrm(path), self.source_tokens, self.candidate_tokens)
        return ()

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """The mean logit of each answer over the other answers beside it to the same prompt; a lone answer has none."""
        del trainer
        faults = [fault(answer) or _unreadable(answer.prompt) for answer in answers]
        rivals = _rivals(answers, faults)
        reasons = [why or ("" if others else ALONE) for why, others in zip(faults, rivals, strict=True)]
        yield from reasoned_verdicts(
            answers, f"pairrm({self.path})", reasons, self._values(answers, rivals, models["reward"].path)
        )

    def _values(self, answers: Sequence[Answer], rivals: Sequence[Sequence[Answer]], path: str) -> Iterator[float]:
        """The value of each answer that has rivals."""
        if not any(rivals):  # no need to open a model
            return
        from selfboost.scorers.pairrm_model import logits_in_order, open_pairrm, open_reader

        model = kept((self, path), lambda: open_pairrm(path, self.dtype, self.device))
        reader = kept(
            (self, path, "reader"),
            lambda: open_reader(path, model.config, self.source_tokens, self.candidate_tokens),
        )
        comparisons = (
            [
                reader.read(source_text(answer.prompt), answer_text(answer), answer_text(other))
                for answer, others in block
                for other in others
            ]
            for block in blocks(answers, list(zip(answers, rivals, strict=True)), whole_prompts=True)
        )
        logits = logits_in_order(model, comparisons, self.batch_tokens)
        for others in rivals:
            if others:
                yield fmean(islice(logits, len(others)))


def _rivals(answers: Sequence[Answer], faults: Sequence[str]) -> list[list[Answer]]:
    """The answers that each answer is compared with: its neighbours with the same prompt and without a fault."""
    rivals: list[list[Answer]] = []
    for _, places in groupby(range(len(answers)), key=lambda place: answers[place].prompt.id):
        group = list(places)
        sound = [place for place in group if not faults[place]]
        rivals += [[] if faults[at] else [answers[other] for other in sound if other != at] for at in group]
    return rivals


def _turns(prompt: Prompt) -> tuple[str, list[str], list[str]]:
    """The system message if there is one, the user's turns, and the assistant's earlier answers."""
    first = prompt.messages[0] if prompt.messages else None
    system = first.content if first is not None and first.role == "system" else ""
    said = {role: [m.content for m in prompt.messages if m.role == role] for role in ("user", "assistant")}
    return system, said["user"], said["assistant"]


def _unreadable(prompt: Prompt) -> str:
    """Why PairRM cannot read a prompt; empty if it can."""
    roles = [message.role for message in prompt.messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if len(turns) % 2 == 1 and turns == ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        return ""
    return f"PairRM reads user and assistant in turns, the user last; the prompt's roles are {', '.join(roles)}"


def source_text(prompt: Prompt) -> str:
    """The prompt as in PairRM's training: a request as it is, several turns as a form to fill in.

    It has no system role; a system message goes first on its own lines, as llm-blender puts its `instructions`.
    """
    system, user, earlier = _turns(prompt)
    text = user[0]
    if earlier:
        turns = (f"USER: {said}\nAssistant: <Response {turn}>" for turn, said in enumerate(user, 1))
        text = SEVERAL_TURNS + "\n".join(turns)
    return f"{system}\n{text}" if system else text


def answer_text(answer: Answer) -> str:
    """The answer as in PairRM's training: as it is, or on the form's last line after the earlier ones."""
    _, _, earlier = _turns(answer.prompt)
    text = answer.prompt.prefix + answer.text
    if not earlier:
        return text
    return "\n".join(f"<Response {turn}>: {said}" for turn, said in enumerate([*earlier, text], 1))
