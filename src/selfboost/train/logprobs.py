"""Log-probabilities of completions under a language model: the same code for training, scoring and checking samplers.

Rows are padded on the right and need no attention mask: attention is causal, so no real token ever sees padding.

Shapes: B rows, T their longest length, D hidden size, N completion tokens of all rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfboost.train.batches import in_order
from selfboost.train.logits import Head, body_of
from selfboost.train.rows import Row


def completion_logps(model: PreTrainedModel, head: Head, rows: Sequence[Row]) -> list[Tensor]:
    """For each row, the natural log-probability of every completion token."""
    device = head.weight_VD.device
    hidden_BTD = last_hidden(model, rows, device)
    width = hidden_BTD.shape[1]
    # A token is predicted by the position before it.
    positions = [
        at * width + place - 1 for at, row in enumerate(rows) for place in range(len(row.prompt_ids), len(row))
    ]
    hidden_ND = hidden_BTD.flatten(0, 1).index_select(0, torch.tensor(positions, dtype=torch.long, device=device))
    targets = [token for row in rows for token in row.token_ids]
    targets_N = torch.tensor(targets, dtype=torch.long, device=device)
    lengths = [len(row.token_ids) for row in rows]
    return list(torch.split(head.logps(hidden_ND, targets_N), lengths))


def last_hidden(model: PreTrainedModel, rows: Sequence[Row], device: torch.device) -> Tensor:
    """Last hidden states of rows, padded on the right, shape (B, T, D)."""
    width = max(len(row) for row in rows)
    ids = [[*row.prompt_ids, *row.token_ids, *[0] * (width - len(row))] for row in rows]
    body: Any = body_of(model)
    return body(input_ids=torch.tensor(ids, device=device), use_cache=False).last_hidden_state


def logps_in_order(
    model: PreTrainedModel, head: Head, rows: Iterable[Row], padded_tokens: int
) -> Iterator[tuple[float, ...]]:
    """Log-probabilities of every completion token, row by row."""

    @torch.no_grad()
    def compute(group: list[Row]) -> list[tuple[float, ...]]:
        return [tuple(cast("list[float]", logps_N.tolist())) for logps_N in completion_logps(model, head, group)]

    return in_order(rows, padded_tokens, compute)
