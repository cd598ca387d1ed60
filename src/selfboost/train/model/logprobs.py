"""Log-probabilities of completions under a language model: the same code for training, scoring and checking samplers.

Shapes: T tokens of a pack, D hidden size, N completion tokens of all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfboost.train.local_settings import LocalSettings
from selfboost.train.model.hidden import Body, open_body
from selfboost.train.model.logits import Head, compare_head, head_of
from selfboost.train.packs.batches import in_order
from selfboost.train.packs.layout import Pack
from selfboost.train.packs.rows import Item, Row

LossesOf = Callable[[Sequence[Item], Tensor], Tensor]
"""(items, log-probabilities of all their completion tokens) → each item's loss; differentiable."""
WHOLE_ITEM = 4
"""Most blocks of an item's logits that are held at once."""


class Losses(NamedTuple):
    """Result of a training's forward pass."""

    total: Tensor
    """Sum over the items, differentiable."""
    each_B: Tensor
    """Loss of every item, detached."""
    logps: Sequence[Tensor]
    """Log-probabilities of every row's completion tokens, detached."""


class LanguageModel(torch.nn.Module):
    """A causal language model as training sees it: items in, log-probabilities of their completion tokens out."""

    def __init__(self, model: PreTrainedModel, body: Body, head: Head) -> None:
        super().__init__()
        self.model, self.body, self.head = model, body, head

    def logps(self, items: Sequence[Item]) -> list[Tensor]:
        """For each row, the natural log-probability of every completion token; differentiable."""
        return cast("list[Tensor]", self(items, None))

    def losses(self, items: Sequence[Item], losses_of: LossesOf) -> Losses:
        """The losses of items, differentiable."""
        return cast(Losses, self(items, losses_of))

    def states(self, items: Sequence[Item]) -> list[Tensor]:
        """For each row, the last hidden states that its completion tokens are predicted from."""
        return cast("list[Tensor]", self(items, None, states=True))

    def open(self, local: LocalSettings) -> None:
        """Check the head and prepare the body for packs, when weights are there.

        Raises:
            ValueError: it computes its logits in an unknown way, or it cannot be packed.
        """
        self((), None, opened_with=local)

    def forward(
        self,
        items: Sequence[Item],
        losses_of: LossesOf | None,
        *,
        states: bool = False,
        opened_with: LocalSettings | None = None,
    ) -> list[Tensor] | Losses:
        """Shared entry of all that computes, which modules sharded over devices need."""
        if opened_with is not None:
            compare_head(self.model, self.head)  # before packing: it looks at the model as it is
            self.body = open_body(self.model, packing=opened_with.packing, attention=opened_with.attention)
            return []
        pack = Pack(tuple(items), self.head.weight_VD.device)
        hidden_ND = self.body.hidden_TD(pack).index_select(0, pack.sources_N)
        if states:
            return list(torch.split(hidden_ND, pack.lengths))
        if losses_of is None:
            return list(torch.split(self.head.logps(hidden_ND, pack.targets_N), pack.lengths))
        blocks = list(self._blocks(items))
        if max(tokens.stop - tokens.start for _, tokens in blocks) > WHOLE_ITEM * self.head.block:
            logps_N = self.head.logps(hidden_ND, pack.targets_N)
            each_B = losses_of(items, logps_N)
            return Losses(each_B.sum(), each_B.detach(), torch.split(logps_N.detach(), pack.lengths))
        return self._by_blocks(hidden_ND, pack, blocks, losses_of)

    def _by_blocks(
        self, hidden_ND: Tensor, pack: Pack, blocks: Sequence[tuple[list[Item], slice]], losses_of: LossesOf
    ) -> Losses:
        """Losses and their gradients in one pass over the logits."""
        each: list[Tensor] = []
        items_at = {tokens.start: group for group, tokens in blocks}

        def loss_of(tokens: slice, logps_N: Tensor) -> Tensor:
            losses_B = losses_of(items_at[tokens.start], logps_N)
            each.append(losses_B.detach())
            return losses_B.sum()

        slices = [tokens for _, tokens in blocks]
        total, logps_N = self.head.value_and_gradient(hidden_ND, pack.targets_N, slices, loss_of)
        return Losses(total, torch.cat(each), torch.split(logps_N, pack.lengths))

    def _blocks(self, items: Sequence[Item]) -> Iterator[tuple[list[Item], slice]]:
        """Adjacent items whose completion tokens fill a block, or one item that fills more."""
        group: list[Item] = []
        start = end = 0
        for item in items:
            if group and end + item.completion_tokens - start > self.head.block:
                yield group, slice(start, end)
                group, start = [], end
            group.append(item)
            end += item.completion_tokens
        yield group, slice(start, end)


def language_model(model: PreTrainedModel, local: LocalSettings) -> LanguageModel:
    """Prepare a loaded model for training.

    Raises:
        ValueError: it computes its logits in an unknown way, or it cannot be packed.
    """
    made = unopened_model(model)
    made.open(local)
    return made


def unopened_model(model: PreTrainedModel) -> LanguageModel:
    """A model that is to be sharded, before its `open`.

    Raises:
        ValueError: it has no head above a body.
    """
    return LanguageModel(model, Body(model, packed=False), head_of(model))


def logps_in_order(model: LanguageModel, rows: Iterable[Row], tokens: int) -> Iterator[tuple[float, ...]]:
    """Log-probabilities of every completion token, row by row."""

    @torch.no_grad()
    def compute(group: list[Item]) -> list[tuple[float, ...]]:
        return [tuple(cast("list[float]", logps_N.tolist())) for logps_N in model.logps(group)]

    return in_order(rows, tokens, compute)
