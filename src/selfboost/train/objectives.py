"""What a training makes smaller, item by item: likelihood of examples, or a preference loss on pairs.

An objective knows the model and the loss, nothing of optimisers and steps.

Shapes: B items of a micro-batch; S = 2B rows of pairs, all chosen ones first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfboost.losses import Loss, PairScores
from selfboost.train.batches import micro_batches
from selfboost.train.logits import Head
from selfboost.train.logprobs import completion_logps
from selfboost.train.reward_models import RewardHead
from selfboost.train.rows import Item, Row

References = Mapping[str, tuple[float, float]]
"""A pair's id → the reference model's summed log-probabilities of its chosen and its rejected completion."""


class Objective(Protocol):
    """What the optimisation needs to know of a training."""

    def weight(self, item: Item) -> float:
        """An item's share in a batch: the batch's loss is the sum of losses over the sum of weights."""
        ...

    def losses(self, items: Sequence[Item]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss of each item, shape (B,), and what else is worth logging of it, detached."""
        ...


@dataclass(frozen=True)
class Likelihood:
    """Mean negative log-likelihood over the completion tokens of a batch (the end-of-turn token among them)."""

    model: PreTrainedModel
    head: Head

    def weight(self, item: Item) -> float:
        """Its completion tokens: every token of a batch counts the same."""
        return float(item.completion_tokens)

    def losses(self, items: Sequence[Item]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Negative log-likelihood of each completion, summed over its tokens."""
        logps = completion_logps(self.model, self.head, [item.rows[0] for item in items])
        return torch.stack([-logps_N.sum() for logps_N in logps]), {}


@dataclass(frozen=True)
class Preference:
    """A preference loss on log-probabilities, mean over pairs."""

    model: PreTrainedModel
    head: Head
    loss: Loss
    references: References | None

    def weight(self, item: Item) -> float:  # noqa: ARG002
        """Every pair counts the same."""
        return 1.0

    def losses(self, items: Sequence[Item]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of each pair."""
        logps_S = summed_logps(self.model, self.head, items)
        scores = _pair_scores(logps_S, items, self.references)
        per_token = {
            "chosen_logp": (scores.chosen_B / scores.chosen_tokens_B).detach(),
            "rejected_logp": (scores.rejected_B / scores.rejected_tokens_B).detach(),
        }
        return self.loss.losses(scores), per_token | _separation(self.loss, scores)


@dataclass(frozen=True)
class RewardPreference:
    """A preference loss on the scalars of a reward model, mean over pairs."""

    reward_head: RewardHead
    loss: Loss

    def weight(self, item: Item) -> float:  # noqa: ARG002
        """Every pair counts the same."""
        return 1.0

    def losses(self, items: Sequence[Item]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of each pair."""
        scores = _pair_scores(self.reward_head.rewards(_chosen_then_rejected(items)), items, None)
        return self.loss.losses(scores), _separation(self.loss, scores)


def summed_logps(model: PreTrainedModel, head: Head, items: Sequence[Item]) -> Tensor:
    """Summed log-probability of every completion, all chosen ones first, shape (S,)."""
    logps = completion_logps(model, head, _chosen_then_rejected(items))
    return torch.stack([logps_N.sum() for logps_N in logps])


@torch.no_grad()
def reference_logps(model: PreTrainedModel, head: Head, items: Sequence[Item], padded_tokens: int) -> References:
    """The reference's log-probabilities of all pairs, computed once so that no second model is held while training."""
    found: dict[str, tuple[float, float]] = {}
    for group in micro_batches(items, padded_tokens):
        sums = cast("list[float]", summed_logps(model, head, group).tolist())
        sides = zip(sums[: len(group)], sums[len(group) :], strict=True)
        found |= dict(zip((item.id for item in group), sides, strict=True))
    return found


def _chosen_then_rejected(items: Sequence[Item]) -> list[Row]:
    return [item.rows[0] for item in items] + [item.rows[1] for item in items]


def _pair_scores(values_S: Tensor, items: Sequence[Item], references: References | None) -> PairScores:
    chosen_B, rejected_B = values_S.chunk(2)
    lengths = [[len(item.rows[side].token_ids) for item in items] for side in (0, 1)]
    known = None if references is None else [[references[item.id][side] for item in items] for side in (0, 1)]
    return PairScores(
        chosen_B=chosen_B,
        rejected_B=rejected_B,
        chosen_tokens_B=values_S.new_tensor(lengths[0]),
        rejected_tokens_B=values_S.new_tensor(lengths[1]),
        reference_chosen_B=None if known is None else values_S.new_tensor(known[0]),
        reference_rejected_B=None if known is None else values_S.new_tensor(known[1]),
    )


def _separation(loss: Loss, scores: PairScores) -> dict[str, Tensor]:
    """How far and how often the chosen answer's implicit reward is above the rejected one's; a tie counts half."""
    chosen_B, rejected_B = loss.rewards(scores)
    margin_B = chosen_B - rejected_B
    return {"margin": margin_B, "accuracy": (margin_B.sign() + 1) / 2}
