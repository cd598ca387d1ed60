"""ArmoRM's architecture: a Llama, a linear layer to K rewards, and a gate that weights them according to the prompt.

Reimplemented from arXiv 2406.12845, section 3, since the published checkpoint's own code does not load in current
transformers. The names of the weights are the published ones. The heads compute in float32 whatever the body's type,
as scores lie some hundredths apart. Leaves out training.

Shapes: R rows of L tokens, D hidden size, K rewards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel, LlamaPreTrainedModel

from selfboost.engines.checkpoint import DeviceName, DTypeName
from selfboost.scorers.padded_batches import in_padded_batches, right_padded
from selfboost.scorers.published_weights import inspect_published, open_published


@dataclass(frozen=True)
class Tokenised:
    """A whole conversation as token ids, and the position that the gate reads."""

    ids: tuple[int, ...]
    gate_place: int

    def __len__(self) -> int:
        return len(self.ids)


class GatingNetwork(torch.nn.Module):
    """Maps a prompt's hidden state to a weight for each reward."""

    def __init__(self, sizes: Sequence[int], temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.logit_scale = torch.nn.Parameter(torch.ones(1))
        self.layers = torch.nn.ModuleList(torch.nn.Linear(*step) for step in pairwise(sizes))

    def forward(self, prompts_RD: Tensor) -> Tensor:
        """Weights of shape (R, K): non-negative, summing to `logit_scale`."""
        *hidden, last = self.layers
        states_RH = prompts_RD
        for layer in hidden:
            states_RH = torch.relu(layer(states_RH))
        return torch.softmax(last(states_RH) / self.temperature, dim=-1) * self.logit_scale


class LlamaForRewardModelWithGating(LlamaPreTrainedModel):
    """A Llama with ArmoRM's heads; sizes that the configuration does not name are those of the published model."""

    _keep_in_fp32_modules_strict = ["regression_layer", "reward_transform_matrix", "gating"]  # noqa: RUF012 (so typed there)

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        settings = config.to_dict()
        rewards: int = settings.get("num_objectives", 19)
        width: int = settings["hidden_size"]
        hidden: list[int] = [settings.get("gating_hidden_dim", 1024)] * settings.get("gating_n_hidden", 3)
        self.model = LlamaModel(config)
        self.regression_layer = torch.nn.Linear(width, rewards, bias=False)
        self.reward_transform_matrix = torch.nn.Parameter(torch.eye(rewards), requires_grad=False)
        self.gating = GatingNetwork([width, *hidden, rewards], settings.get("gating_temperature", 10.0))
        self.post_init()

    def forward(self, ids_RL: Tensor, last_R: Tensor, gate_R: Tensor) -> Tensor:
        """The score of each row, shape (R,), read at its last real token and at the gate's position.

        Padding is on the right, where causal attention never sees it from a real token: no mask is needed.
        """
        hidden_RLD = cast(Tensor, cast(Any, self.model)(input_ids=ids_RL, use_cache=False).last_hidden_state)
        rows_R, precise = torch.arange(len(ids_RL), device=ids_RL.device), self.regression_layer.weight.dtype
        answers_RD, prompts_RD = (hidden_RLD[rows_R, at_R].to(precise) for at_R in (last_R, gate_R))
        rewards_RK = self.regression_layer(answers_RD) @ self.reward_transform_matrix
        return (self.gating(prompts_RD) * rewards_RK).sum(-1)


def open_armorm(path: str, dtype: DTypeName, device: DeviceName) -> LlamaForRewardModelWithGating:
    """The model of an ArmoRM checkpoint.

    Raises:
        ValueError: it is not an ArmoRM checkpoint.
    """
    return open_published(LlamaForRewardModelWithGating, "ArmoRM", path, dtype, device)


def inspect_armorm(path: str) -> LlamaConfig:
    """The configuration of an ArmoRM checkpoint, whose weights are looked at and not loaded.

    Raises:
        ValueError: it is not an ArmoRM checkpoint.
    """
    return cast(LlamaConfig, inspect_published(LlamaForRewardModelWithGating, "ArmoRM", path))


def scores_in_order(
    model: LlamaForRewardModelWithGating, blocks: Iterable[Sequence[Tokenised]], tokens: int
) -> Iterator[float]:
    """Score of each conversation of each block, computed in batches of bounded tokens."""

    @torch.no_grad()
    def compute(batch: list[Tokenised]) -> list[float]:
        device = model.device
        ids_RL, _ = right_padded([row.ids for row in batch], 0, device)
        last_R = torch.tensor([len(row) - 1 for row in batch], device=device)
        gate_R = torch.tensor([row.gate_place for row in batch], device=device)
        return cast("list[float]", model(ids_RL, last_R, gate_R).tolist())

    return in_padded_batches(blocks, tokens, compute)
