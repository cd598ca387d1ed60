"""A reward model: any AutoModelForSequenceClassification with one output, or one that the run trains from its seed.

A model of its own is shown the conversation in its own chat template; the run's own shares the policy's token ids.
Scores of different reward models are on different scales: the threshold belongs to the model (arXiv 2410.06961, 2.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from selfboost.records import Answer, Message, Model, Verdict
from selfboost.train import Sequenced, Trainer

FROM_SEED = "seed_reward"


@dataclass(frozen=True, kw_only=True)
class RewardModel:
    """A model's scalar after prompt and answer."""

    path: str = FROM_SEED
    """`seed_reward`, trained by the run on gold over the initial model's own answers, or a folder or hub name."""
    threshold: float = 0.0
    """Gap from which a pair is kept, on this model's scale."""

    def needs(self) -> Mapping[str, str]:
        """The reward model."""
        return {"reward": self.path}

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """The model's scalar for each answer."""
        name = f"reward_model({self.path})"
        usable = [a for a in answers if a.token_ids]
        own = self.path == FROM_SEED
        rewards = trainer.rewards(models["reward"], _same_ids(usable) if own else _own_ids(usable, models["reward"]))
        for answer in answers:
            if not answer.token_ids:
                yield Verdict(answer=answer.id, scorer=name, value=None, reason=answer.reason or "the answer is empty")
            else:
                yield Verdict(answer=answer.id, scorer=name, value=next(rewards))


def _same_ids(answers: Sequence[Answer]) -> list[Sequenced]:
    return [Sequenced(prompt_ids=a.prompt_ids, token_ids=a.token_ids) for a in answers]


def _own_ids(answers: Sequence[Answer], model: Model) -> list[Sequenced]:
    """The whole conversation in the reward model's own template, which is how such models were trained."""
    from selfboost.engines.chat import open_tokenizer

    tokenizer = open_tokenizer(model.path)
    sequences: list[Sequenced] = []
    for answer in answers:
        turns = [*answer.prompt.messages]
        if answer.prompt.prefix:
            turns.append(Message(role="assistant", content=answer.prompt.prefix + answer.text))
            ids = tokenizer.prompt_ids(turns[:-1])
            sequences.append(Sequenced(prompt_ids=ids, token_ids=tokenizer.answer_ids(turns[-1].content)))
        else:
            sequences.append(
                Sequenced(prompt_ids=tokenizer.prompt_ids(turns), token_ids=tokenizer.answer_ids(answer.text))
            )
    return sequences
