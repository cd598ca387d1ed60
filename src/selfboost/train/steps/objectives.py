"""What a training minimises, item by item: the negative log-likelihood of examples, or a preference loss on pairs.

An objective knows the model and the loss, but not optimisers or steps.

Shapes: B items of a micro-batch; N completion tokens of all their rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from selfboost.losses import Loss, PairScores
from selfboost.train.model.logprobs import LanguageModel, LossesOf
from selfboost.train.model.reward_models import RewardHead
from selfboost.train.packs.rows import Item
from selfboost.train.steps.references import References

Measures = Mapping[str, Tensor]
"""What is logged of each item, shape (B,), detached."""


class Objective(Protocol):
    """What the training loop needs of an objective."""

    def weight(self, item: Item) -> float:
        """An item's weight: a batch's loss is the sum of losses over the sum of weights."""
        ...

    def losses(self, items: Sequence[Item]) -> tuple[Tensor, Tensor, Measures]:
        """The sum of the items' losses, differentiable; the loss of each, shape (B,), detached; what else is logged."""
        ...


@dataclass(frozen=True)
class LikelihoodObjective:
    """Mean negative log-likelihood over the completion tokens of a batch (the end-of-turn token among them)."""

    language_model: LanguageModel

    def weight(self, item: Item) -> float:
        """Its completion tokens: every token of a batch counts equally."""
        return float(item.completion_tokens)

    def losses(self, items: Sequence[Item]) -> tuple[Tensor, Tensor, Measures]:
        """Negative log-likelihood of each completion, summed over its tokens."""
        found = self.language_model.losses(items, lambda group, logps_N: -row_sums(group, logps_N))
        return found.total, found.each_B, {}


@dataclass(frozen=True)
class PreferenceObjective:
    """A preference loss on log-probabilities, mean over pairs."""

    language_model: LanguageModel
    loss: Loss
    references: References | None

    def weight(self, item: Item) -> float:  # noqa: ARG002
        """Every pair counts equally."""
        return 1.0

    def losses(self, items: Sequence[Item], losses_of: LossesOf | None = None) -> tuple[Tensor, Tensor, Measures]:
        """The loss of each pair; by way of `losses_of`, where that is given."""
        found = self.language_model.losses(items, losses_of or self.losses_of)
        scores = self._scores(items, torch.stack([logps_N.sum() for logps_N in found.logps]))
        sums = {"chosen_logp_sum": scores.chosen_B, "rejected_logp_sum": scores.rejected_B}
        means = {
            "chosen_logp": scores.chosen_B / scores.chosen_tokens_B,
            "rejected_logp": scores.rejected_B / scores.rejected_tokens_B,
        }
        if scores.reference_chosen_B is not None:
            means["chosen_shift"] = (scores.chosen_B - scores.reference_chosen_B) / scores.chosen_tokens_B
        return found.total, found.each_B, means | sums | _separation(self.loss, scores)

    def losses_of(self, items: Sequence[Item], logps_N: Tensor) -> Tensor:
        """The loss of each pair, from the log-probabilities of all completion tokens."""
        return self.loss.losses(self._scores(items, row_sums(items, logps_N)))

    def _scores(self, items: Sequence[Item], sums_2B: Tensor) -> PairScores:
        return pair_scores(sums_2B, items, self.references)


@dataclass(frozen=True)
class RewardPreference:
    """A preference loss on the scalars of a reward model, mean over pairs."""

    reward_head: RewardHead
    loss: Loss

    def weight(self, item: Item) -> float:  # noqa: ARG002
        """Every pair counts equally."""
        return 1.0

    def losses(self, items: Sequence[Item]) -> tuple[Tensor, Tensor, Measures]:
        """The loss of each pair."""
        scores = pair_scores(self.reward_head.rewards(items), items, None)
        losses_B = self.loss.losses(scores)
        return losses_B.sum(), losses_B.detach(), _separation(self.loss, scores)


def row_sums(items: Sequence[Item], logps_N: Tensor) -> Tensor:
    """Summed log-probability of every row's completion."""
    lengths = [len(row.token_ids) for item in items for row in item.rows]
    return torch.stack([logps.sum() for logps in torch.split(logps_N, lengths)])


@torch.no_grad()
def reference_logps(language_model: LanguageModel, items: Sequence[Item]) -> list[tuple[float, float]]:
    """The reference's summed log-probabilities of the pairs of one pack, chosen and rejected."""
    sums = [float(logps_N.sum()) for logps_N in language_model.logps(items)]
    return list(zip(sums[::2], sums[1::2], strict=True))


def pair_scores(values_2B: Tensor, items: Sequence[Item], references: References | None) -> PairScores:
    """A loss's input, from one value per row, chosen and rejected alternating."""
    lengths = [[len(item.rows[side].token_ids) for item in items] for side in (0, 1)]
    known = None if references is None else [[references[item.id][side] for item in items] for side in (0, 1)]
    return PairScores(
        chosen_B=values_2B[::2],
        rejected_B=values_2B[1::2],
        chosen_tokens_B=values_2B.new_tensor(lengths[0]),
        rejected_tokens_B=values_2B.new_tensor(lengths[1]),
        reference_chosen_B=None if known is None else values_2B.new_tensor(known[0]),
        reference_rejected_B=None if known is None else values_2B.new_tensor(known[1]),
    )


def _separation(loss: Loss, scores: PairScores) -> dict[str, Tensor]:
    """By how much, and how often, the chosen answer's implicit reward exceeds the rejected one's; a tie counts half."""
    chosen_B, rejected_B = loss.rewards(scores)
    margin_B = chosen_B - rejected_B
    return {"margin": margin_B, "accuracy": (margin_B.sign() + 1) / 2}
