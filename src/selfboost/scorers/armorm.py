"""ArmoRM (arXiv 2406.12845): 19 rewards of an answer, weighted by a gate that reads the prompt; SynPO's Llama scorer.

The model is shown the conversation in its own chat template and run by this scorer itself, not by the trainer. The
threshold is that of arXiv 2410.06961, 2.3: scores are of the order of a tenth. Leaves out the 19 rewards themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from selfboost.engines.checkpoint import DeviceName, DTypeName, bytes_of
from selfboost.engines.kept_models import kept
from selfboost.records import Answer, Message, Model, Verdict
from selfboost.scorers import ScoringWork
from selfboost.scorers.blocks import blocks
from selfboost.scorers.verdicts import fault, reasoned_verdicts
from selfboost.setting_types import SPEED_ONLY, PathOrName, Score, Tokens
from selfboost.train import Trainer

if TYPE_CHECKING:
    from selfboost.engines.chat import ChatTokenizer
    from selfboost.scorers.armorm_model import Tokenised

GATE = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
"""What Llama 3's template writes between a prompt and its answer; the gate reads the first token of the last one."""
PROBE = (Message(role="user", content="What is 3 and 4 ?"), Message(role="assistant", content="It is 7 ."))


@dataclass(frozen=True, kw_only=True)
class ArmoRM:
    """The published reward model ArmoRM-Llama3-8B-v0.1: many rewards, weighted according to the prompt."""

    path: PathOrName = "RLHFlow/ArmoRM-Llama3-8B-v0.1"
    """A folder or hub name of an ArmoRM checkpoint."""
    threshold: Score = 0.02
    """Smallest score gap of a kept pair: SynPO's, on this model's raw scores."""
    dtype: DTypeName = "auto"
    """Number type of the language model below the heads; `auto`: bfloat16 on a GPU, else float32."""
    device: DeviceName = "auto"
    """Where the model runs; `auto`: the GPU if there is one."""
    batch_tokens: Tokens = field(default=8192, metadata=SPEED_ONLY)
    """Most tokens of a batch, padding included; a batch has at least one conversation."""

    def needs(self) -> Mapping[str, str]:
        """The reward model."""
        return {"reward": self.path}

    def work(self, prompt: float, answer: float) -> ScoringWork:
        """The conversation, read once."""
        return ScoringWork(read=prompt + answer, weight_bytes=bytes_of(self.dtype))

    def look(self, role: str, path: str) -> Sequence[str]:
        """Whether it is an ArmoRM checkpoint with Llama 3's template, and what must be said of its tokenizer."""
        del role
        from selfboost.scorers.armorm_model import inspect_armorm

        config = inspect_armorm(path)
        return Reader.of(path, config.max_position_embeddings).tokenizer.notes

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """The model's score of each answer; None, with a reason, if the model cannot read the conversation."""
        del trainer
        name, faults = f"armorm({self.path})", [fault(answer) for answer in answers]
        if all(faults):  # no need to open a model
            yield from reasoned_verdicts(answers, name, faults, ())
            return
        from selfboost.scorers.armorm_model import open_armorm, scores_in_order

        path = models["reward"].path
        model = kept((self, path), lambda: open_armorm(path, self.dtype, self.device))
        reader = kept((self, path, "reader"), lambda: Reader.of(path, model.config.max_position_embeddings))
        readings = [why or reader.read(answer) for answer, why in zip(answers, faults, strict=True)]
        reasons = [reading if isinstance(reading, str) else "" for reading in readings]
        conversations = (
            [reading for reading in block if not isinstance(reading, str)]
            for block in blocks(answers, readings, whole_prompts=False)
        )
        yield from reasoned_verdicts(answers, name, reasons, scores_in_order(model, conversations, self.batch_tokens))


@dataclass(frozen=True)
class Reader:
    """Turns an answer into the model's input."""

    tokenizer: ChatTokenizer
    gate_ids: list[int]
    longest: int
    """The model's context length, in tokens."""

    @classmethod
    def of(cls, path: str, longest: int) -> Reader:
        """The reader of a checkpoint.

        Raises:
            ValueError: it has no tokenizer, or its template does not write the text that the gate reads.
        """
        from selfboost.engines.chat import open_tokenizer

        tokenizer = open_tokenizer(path)
        gate_ids = cast("list[int]", tokenizer.raw(GATE, add_special_tokens=False)["input_ids"])
        if last_place(tokenizer.conversation_ids(PROBE), gate_ids) is None:
            raise ValueError(
                f"the chat template of {path!r} does not write {GATE!r} before an answer, where ArmoRM's gate reads: "
                "the checkpoint needs Llama 3's tokenizer and template"
            )
        return cls(tokenizer, gate_ids, longest)

    def read(self, answer: Answer) -> Tokenised | str:
        """The whole conversation, or why the model cannot read it."""
        from selfboost.scorers.armorm_model import Tokenised

        reply = Message(role="assistant", content=answer.prompt.prefix + answer.text)
        ids = self.tokenizer.conversation_ids([*answer.prompt.messages, reply])
        if len(ids) > self.longest:
            return f"the conversation has {len(ids)} tokens, the model reads at most {self.longest}"
        place = last_place(ids, self.gate_ids)
        if place is None:
            return "the answer's first characters hide the end of its header from the gate"
        return Tokenised(tuple(ids), place)


def last_place(ids: Sequence[int], pattern: Sequence[int]) -> int | None:
    """Where the last occurrence of a pattern begins, if there is one."""
    width = len(pattern)
    starts = range(len(ids) - width, -1, -1)
    return next((start for start in starts if list(ids[start : start + width]) == list(pattern)), None)
