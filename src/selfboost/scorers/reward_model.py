"""A reward model: any AutoModelForSequenceClassification with one output, or one that the run trains from its seed.

An external model reads the conversation in its own chat template; one trained by the run shares the policy's token ids.
Scores of different reward models are on different scales: the threshold belongs to the model (arXiv 2410.06961, 2.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from selfboost.engines.kept_models import kept
from selfboost.records import Answer, Message, Model, Verdict
from selfboost.scorers.contexts import context, same_ids, too_long
from selfboost.scorers.verdicts import fault, judgeable, reasoned_verdicts
from selfboost.setting_types import PathOrName, Score
from selfboost.train import Sequenced, Trainer

FROM_SEED = "seed_reward"


@dataclass(frozen=True, kw_only=True)
class RewardModel:
    """A model's scalar output after prompt and answer."""

    path: PathOrName = FROM_SEED
    """`seed_reward`, trained by the run on gold over the initial model's own answers, or a folder or hub name."""
    threshold: Score = 0.0
    """Smallest score gap of a kept pair, on this model's scale."""

    def needs(self) -> Mapping[str, str]:
        """The reward model."""
        return {"reward": self.path}

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """The model's scalar for each answer."""
        rows, reasons = self.rows(answers, models["reward"])
        rewards = trainer.rewards(models["reward"], rows)
        yield from reasoned_verdicts(answers, f"reward_model({self.path})", reasons, rewards)

    def rows(self, answers: Sequence[Answer], model: Model) -> tuple[list[Sequenced], list[str]]:
        """(rows that the model reads; for each answer, why it is none)."""
        if self.path == FROM_SEED:
            return same_ids(answers, [model])
        found = iter(_own_ids(judgeable(answers), model))
        read = [None if fault(answer) else next(found) for answer in answers]
        longest = context(model.path)
        reasons = [
            fault(answer) if row is None else too_long(row, longest, "reward model")
            for answer, row in zip(answers, read, strict=True)
        ]
        return [row for row, why in zip(read, reasons, strict=True) if row is not None and not why], reasons

    def look(self, role: str, path: str) -> Sequence[str]:
        """Whether it is a reward model, and what its chat template is."""
        del role
        from selfboost.engines.chat import open_tokenizer
        from selfboost.engines.checkpoint import resolve
        from selfboost.engines.inspection import inspect_model

        config = inspect_model(path, resolve(path), "reward model", own_code=True)
        code = "its code comes with it: this needs trainer.trust_remote_code = true and --trust remote-code"
        return [*([code] if config is None else []), *open_tokenizer(path).notes]


def _own_ids(answers: Sequence[Answer], model: Model) -> list[Sequenced]:
    """The whole conversation in the reward model's own template, as such models are trained and used.

    Includes what the template writes after the answer: the scalar is read after the last token.
    """
    from selfboost.engines.chat import open_tokenizer

    tokenizer = kept(("tokenizer", model.path), lambda: open_tokenizer(model.path))
    sequences: list[Sequenced] = []
    for answer in answers:
        reply = Message(role="assistant", content=answer.prompt.prefix + answer.text)
        ids = tokenizer.conversation_ids([*answer.prompt.messages, reply])
        sequences.append(Sequenced(prompt_ids=tuple(ids[:-1]), token_ids=tuple(ids[-1:])))
    return sequences
