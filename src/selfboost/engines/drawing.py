"""Drawing the next token of every row of a batch: greedy, or at a temperature with top-k, top-p and min-p.

The vocabulary is never sorted. A token is drawn from the whole distribution and kept if the settings allow it, else
drawn again: exact, since rejection keeps the allowed tokens' proportions. Random numbers are a hash of (seed, step,
attempt), so a row's draws do not depend on its neighbours. Cuts follow transformers' order: temperature, top-k, top-p
within what top-k left, min-p. No penalties, no logit biases.

Shapes: B rows, R rows still to be drawn, V vocabulary, W vocabulary padded to whole blocks, N blocks, S tokens of a
block, K likeliest tokens, U tokens never drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from torch import Tensor

from selfboost.engines import Request

BLOCK = 128
"""Tokens per block: a draw finds its block first, then its token, so no sum runs over the whole vocabulary."""
ATTEMPTS = 4
"""Rejected draws after which a row's allowed tokens are selected instead (with a small top_p or a large min_p)."""
PART = 2**18
"""Numbers that one pass handles at a time: a megabyte, which stays in a core's second cache until the next pass."""
SELECTED = 256
"""How many of the likeliest tokens are selected at first; eight times as many whenever they do not suffice."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Every row's settings, as tensors on the model's device."""

    temperature_B: Tensor
    top_p_B: Tensor
    top_k_B: Tensor
    min_p_B: Tensor
    seed_B: Tensor

    @classmethod
    def of(cls, requests: Sequence[Request], device: torch.device) -> Draws:
        """The settings of the requests, in order."""

        def column(values: list[float] | list[int], dtype: torch.dtype) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        settings = [request.sampling for request in requests]
        return cls(
            temperature_B=column([setting.temperature for setting in settings], torch.float32),
            top_p_B=column([setting.top_p for setting in settings], torch.float32),
            top_k_B=column([setting.top_k for setting in settings], torch.int64),
            min_p_B=column([setting.min_p for setting in settings], torch.float32),
            seed_B=column([_signed(request.seed) for request in requests], torch.int64),
        )

    def rows(self, index_R: Tensor) -> Draws:
        """The settings of some rows."""
        return Draws(**{field.name: getattr(self, field.name)[index_R] for field in fields(self)})

    def followed_by(self, other: Draws) -> Draws:
        """The settings of these rows, then of the others."""
        return Draws(**{f.name: torch.cat([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)})


class Workspace:
    """Memory for weights that is kept from step to step: fresh pages cost more than the arithmetic."""

    def __init__(self) -> None:
        self._numbers: dict[str, Tensor] = {}

    def take(self, name: str, rows: int, columns: int, device: torch.device) -> Tensor:
        """A float32 matrix, as it was left."""
        held = self._numbers.get(name)
        if held is None or held.numel() < rows * columns or held.device != device:
            held = self._numbers[name] = torch.empty(rows * columns, device=device)
        return held[: rows * columns].view(rows, columns)


@torch.inference_mode()
def draw(
    logits_BV: Tensor,
    draws: Draws,
    step_B: Tensor,
    never_U: Tensor | None = None,
    workspace: Workspace | None = None,
) -> tuple[Tensor, Tensor]:
    """The next token of every row, and its log-probability under the model itself (temperature 1, nothing cut).

    `never_U`: tokens that are not drawn, since no text stands for them; they keep their share of the probability.
    """
    room = workspace or Workspace()
    rows, vocabulary = logits_BV.shape
    shifted_BV = room.take("shifted", rows, vocabulary, logits_BV.device)
    weight_BW = room.take("weights", rows, -(-vocabulary // BLOCK) * BLOCK, logits_BV.device)
    weight_BW[:, vocabulary:] = 0  # beyond the vocabulary nothing is drawn
    weight_BV = weight_BW[:, :vocabulary]
    total_B = _shift_rows(logits_BV, shifted_BV, weight_BV)
    if never_U is not None:
        shifted_BV[:, never_U] = -torch.inf
    token_B = torch.zeros_like(step_B)
    warm_B = draws.temperature_B > 0
    warm_R, cold_R = warm_B.nonzero()[:, 0], (~warm_B).nonzero()[:, 0]
    if len(cold_R):
        token_B[cold_R] = shifted_BV[cold_R].argmax(-1)
    if len(warm_R):
        divisor_B = draws.temperature_B.where(warm_B, 1.0)
        for part in _parts(shifted_BV):
            torch.div(shifted_BV[part], divisor_B[part, None], out=weight_BV[part]).exp_()
        _cut_to_top_k(weight_BV, draws.top_k_B)
        token_B[warm_R] = _draw_rows(weight_BW, vocabulary, draws, step_B, warm_R, room)
    return token_B, shifted_BV.gather(-1, token_B[:, None])[:, 0] - total_B.log()


def _parts(numbers_BV: Tensor) -> list[slice]:
    """Rows whose numbers fit into a core's own memory: all passes over them, then the next ones; on a GPU all rows."""
    rows, columns = numbers_BV.shape
    size = max(1, PART // columns) if numbers_BV.device.type == "cpu" else rows
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _shift_rows(logits_BV: Tensor, shifted_BV: Tensor, weight_BV: Tensor) -> Tensor:
    """Logits less each row's largest, in float32, and their exponentials' sum; `weight_BV` is overwritten."""
    totals: list[Tensor] = []
    for part in _parts(shifted_BV):
        some_RV = shifted_BV[part].copy_(logits_BV[part])
        some_RV.sub_(some_RV.amax(-1, keepdim=True))
        totals.append(torch.exp(some_RV, out=weight_BV[part]).sum(-1))
    return torch.cat(totals)


def uniform(seed_B: Tensor, step_B: Tensor, attempt: int) -> Tensor:
    """A number in [0, 1) for each row: a pure function of its arguments (splitmix64), float64."""
    hashed_B = splitmix64(splitmix64(splitmix64(seed_B) ^ step_B) ^ attempt)
    return (_shift(hashed_B, 11)).double() * 2.0**-53


def _draw_rows(
    weight_BW: Tensor, vocabulary: int, draws: Draws, step_B: Tensor, left_R: Tensor, room: Workspace
) -> Tensor:
    """Draw tokens of the given rows by weight: a few attempts until one is allowed, then by selection."""
    block_BN = weight_BW.view(len(weight_BW), -1, BLOCK).sum(-1)
    token_B = torch.zeros_like(step_B)
    wanted_R = left_R
    for attempt in range(ATTEMPTS):
        everyone = len(left_R) == len(token_B)
        weight_RW, block_RN = (weight_BW, block_BN) if everyone else (weight_BW[left_R], block_BN[left_R])
        some = draws if everyone else draws.rows(left_R)
        found_R = _find(weight_RW, block_RN, uniform(some.seed_B, step_B[left_R], attempt))
        token_B[left_R] = found_R = found_R.clamp(max=vocabulary - 1)  # beyond it only if logits are not finite
        left_R = left_R[~_allowed(weight_RW, block_RN, found_R, some, room)]
        if not len(left_R):
            return token_B[wanted_R]
    some, chance_R = draws.rows(left_R), uniform(draws.seed_B[left_R], step_B[left_R], ATTEMPTS)
    token_B[left_R] = _select(weight_BW[left_R, :vocabulary], block_BN[left_R].double().sum(-1), some, chance_R)
    return token_B[wanted_R]


def _cut_to_top_k(weight_RV: Tensor, top_k_R: Tensor) -> None:
    """Zero, in place, weights below a row's k-th largest (ties stay)."""
    cut_R = ((top_k_R > 0) & (top_k_R < weight_RV.shape[1])).nonzero()[:, 0]
    if not len(cut_R):
        return
    some_RV, k_R = weight_RV[cut_R], top_k_R[cut_R]
    likeliest_RK = some_RV.topk(int(k_R.max()), dim=-1).values
    floor_R1 = likeliest_RK.gather(-1, k_R[:, None] - 1)
    weight_RV[cut_R] = some_RV.where(some_RV >= floor_R1, 0.0)


def _find(weight_RW: Tensor, block_RN: Tensor, chance_R: Tensor) -> Tensor:
    """The token at which the cumulative weight passes the given share of the total."""
    sums_RN = block_RN.double().cumsum(-1)
    goal_R1 = chance_R[:, None] * sums_RN[:, -1:]
    block_R1 = torch.searchsorted(sums_RN, goal_R1, right=True).clamp(max=block_RN.shape[1] - 1)
    before_R1 = sums_RN.gather(-1, block_R1) - block_RN.double().gather(-1, block_R1)
    share_R1 = ((goal_R1 - before_R1) / block_RN.double().gather(-1, block_R1)).clamp(0.0, 1.0 - 1e-15)
    row_R = torch.arange(len(weight_RW), device=weight_RW.device)
    inside_RS = weight_RW.view(len(weight_RW), -1, BLOCK)[row_R, block_R1[:, 0]].double().cumsum(-1)
    inside_R1 = torch.searchsorted(inside_RS, share_R1 * inside_RS[:, -1:], right=True).clamp(max=BLOCK - 1)
    return (block_R1 * BLOCK + inside_R1)[:, 0]


def _allowed(weight_RW: Tensor, block_RN: Tensor, token_R: Tensor, draws: Draws, room: Workspace) -> Tensor:
    """Whether the tokens strictly likelier than the drawn one leave room for it (top-p), and it is not too rare."""
    everything_R = draws.top_p_B >= 1
    drawn_R1 = weight_RW.gather(-1, token_R[:, None])
    if bool(everything_R.all()):
        return drawn_R1[:, 0] >= draws.min_p_B
    likelier_R = _sum_above(weight_RW, drawn_R1, room)
    return (everything_R | (likelier_R < draws.top_p_B * block_RN.sum(-1))) & (drawn_R1[:, 0] >= draws.min_p_B)


def _sum_above(weight_RW: Tensor, floor_R1: Tensor, room: Workspace) -> Tensor:
    """The sum of each row's weights above its floor."""
    above_RW = room.take("above", len(weight_RW), weight_RW.shape[1], weight_RW.device)
    sums: list[Tensor] = []
    for part in _parts(weight_RW):
        # Ones and zeros as float32: three times as fast as truth values.
        above: Tensor = cast(Any, torch).gt(weight_RW[part], floor_R1[part], out=above_RW[part])
        sums.append(above.mul_(weight_RW[part]).sum(-1))
    return torch.cat(sums)


def _select(weight_RV: Tensor, total_R: Tensor, draws: Draws, chance_R: Tensor) -> Tensor:
    """Draw among the allowed tokens by looking only at the likeliest ones, as many as needed."""
    count = min(SELECTED, weight_RV.shape[1])
    while True:
        weight_RK, token_RK = weight_RV.topk(count, dim=-1)
        sums_RK = torch.nn.functional.pad(weight_RK.double().cumsum(-1), (1, 0))
        first_RK = torch.searchsorted(-weight_RK, -weight_RK)  # of equally likely tokens the first one's place
        within_RK = sums_RK.gather(-1, first_RK) < draws.top_p_B[:, None] * total_R[:, None]
        allowed_RK = (within_RK | (draws.top_p_B >= 1)[:, None]) & (weight_RK >= draws.min_p_B[:, None])
        if count == weight_RV.shape[1] or not bool(allowed_RK[:, -1].any()):
            break
        count = min(count * 8, weight_RV.shape[1])
    kept_RK = (weight_RK.double() * allowed_RK).cumsum(-1)
    place_R1 = torch.searchsorted(kept_RK, chance_R[:, None] * kept_RK[:, -1:], right=True).clamp(max=count - 1)
    return token_RK.gather(-1, place_R1)[:, 0]


def _signed(value: int) -> int:
    """The lowest 64 bits of an integer, as a signed PyTorch integer."""
    return (value + 2**63) % 2**64 - 2**63


def _shift(value_B: Tensor, bits: int) -> Tensor:
    """Logical shift right (PyTorch's own shift repeats the sign)."""
    return (value_B >> bits) & ((1 << (64 - bits)) - 1)


def splitmix64(value_B: Tensor) -> Tensor:
    """One round of splitmix64; products wrap around at 64 bits, as they must."""
    value_B = value_B + _signed(0x9E3779B97F4A7C15)
    value_B = (value_B ^ _shift(value_B, 30)) * _signed(0xBF58476D1CE4E5B9)
    value_B = (value_B ^ _shift(value_B, 27)) * _signed(0x94D049BB133111EB)
    return value_B ^ _shift(value_B, 31)
