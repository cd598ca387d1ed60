"""Trainable noise on a model's logits (DNPO, arXiv 2502.05400), without ever holding (tokens × vocabulary) numbers.

Logits become z + σ·ε: z = W·h from a frozen head, σ = c·exp(g(h)) from a trained module, ε standard normal. All three
are computed for a block of positions and reduced to log-probabilities. The backward pass needs two numbers for each
entry: those of a few blocks are kept, the others recomputed, the noise from its seed. Noise depends only on seed,
step, answer and position, not on what else is in a batch.

Shapes: N tokens of rejected answers, B of them in a block, D hidden size, V vocabulary, v neighbouring entries of it.
A block's numbers have the vocabulary first, (V, B), as in `model/logits.py`, and are processed in slices (v, B).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from selfboost.losses.noise_settings import Noise
from selfboost.train.model.logits import Head, add_product
from selfboost.train.noise.draws import NOISE, POLICY, Block, NoiseDraws, Source

BLOCK_ELEMENTS = 2**23
"""Numbers of a block of (vocabulary × positions): 32 MB in float32; two such are held of each."""
KEPT = 4
"""Most blocks that are kept for a backward pass."""
ROUND = 16
"""Positions are padded to a multiple of this for products, which are slow at odd sizes."""
SLICE = 4096
"""Vocabulary entries that are processed at a time: few enough to stay in a CPU's cache."""


class NoiseModule(torch.nn.Module):
    """g: from a reference's last hidden state to the log of the noise's strength, for every vocabulary entry.

    Weights start as in the authors' code (uniform within ±1/√D) after a LayerNorm, and at zero where g is affine:
    otherwise hidden states of any size would give strengths of any size.
    """

    def __init__(self, settings: Noise, hidden: int, vocabulary: int, seed: int) -> None:
        super().__init__()
        affine = settings.module == "affine"
        self.norm = None if affine else torch.nn.LayerNorm(hidden)
        self.linear = torch.nn.Linear(hidden, vocabulary, bias=affine)
        with torch.no_grad():
            bound = 0.0 if affine else hidden**-0.5
            self.linear.weight.uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))
            if affine:
                self.linear.bias.zero_()

    def features(self, hidden_ND: Tensor) -> Tensor:
        """Input of the linear layer."""
        return hidden_ND if self.norm is None else functional.gelu(self.norm(hidden_ND))


@dataclass(frozen=True)
class Strength:
    """σ from g's output, and its gradient."""

    settings: Noise
    scale: float
    """c."""

    @property
    def _power(self) -> float:
        """σ² is (c·exp(g)) to this power."""
        return 2.0 if self.settings.exponential_of == "deviation" else 1.0

    def sigma(self, logarithm: Tensor) -> Tensor:
        """σ from g's output; works in place."""
        bound, power = self.settings.largest_variance, self._power
        if not bound:
            return (logarithm if power == 2 else logarithm.mul_(power / 2)).add_(log(self.scale) * power / 2).exp_()
        # v·b / (v + b) = b·sigmoid(log v − log b)
        return logarithm.mul_(power).add_(log(self.scale) * power - log(bound)).sigmoid_().mul_(bound).sqrt_()

    def size(self, sigma: Tensor) -> Tensor:
        """The quantity whose mean is penalised: σ or σ²."""
        return sigma if self.settings.penalty_on == "deviation" else sigma.square()

    def slope(self, by_log: Tensor, by_size: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of g's output from those of log σ and of the size; works in place of the first."""
        if self.settings.penalty_on == "deviation":
            by_log.addcmul_(sigma, by_size)
        else:
            by_log.addcmul_(sigma.square(), 2 * by_size)
        if self._power != 2:
            by_log.mul_(self._power / 2)
        if bound := self.settings.largest_variance:
            by_log.addcmul_(by_log * sigma, sigma, value=-1 / bound)
        return by_log


class Noisy(NamedTuple):
    """The noise's effect on N tokens."""

    policy_N: Tensor
    """Log-probabilities under the first draw, detached."""
    noise_N: Tensor
    """Under the second draw, differentiable in g."""
    size_N: Tensor
    """Mean of σ or σ² over the vocabulary, differentiable in g."""
    sigma_N: Tensor
    """Mean of σ, detached."""


@dataclass(frozen=True)
class NoisyHead:
    """A frozen head whose logits are noisy."""

    head: Head
    module: NoiseModule
    strength: Strength
    block_elements: int = BLOCK_ELEMENTS

    @property
    def exact(self) -> torch.dtype:
        """Number type of all but the matrix products: float32 at least."""
        return torch.promote_types(self.head.weight_VD.dtype, torch.float32)

    @property
    def positions(self) -> int:
        """Positions of a block."""
        return max(1, self.block_elements // self.head.weight_VD.shape[0])

    def logps(
        self, hidden_ND: Tensor, targets_N: Tensor, draws: NoiseDraws, of_weight_VD: Tensor | None = None
    ) -> Noisy:
        """Noisy log-probabilities of each target, in float32 at least.

        The backward pass adds the gradient of g's weight to `of_weight_VD`, where that is given.
        """
        linear = self.module.linear
        features_ND = self.module.features(hidden_ND)
        apply = cast(Any, _NoisyLogps).apply
        return Noisy(*apply(features_ND, linear.weight, linear.bias, hidden_ND, targets_N, draws, self, of_weight_VD))

    @torch.no_grad()
    def shift(self, hidden_ND: Tensor, targets_N: Tensor, draws: NoiseDraws, scale: float) -> float:
        """Mean change, over answers, of the summed log-probability under noise of scale c, in nats.

        Averages a draw and its negative: odd terms of the noise cancel, so few answers suffice.
        """
        strength, total = Strength(self.strength.settings, scale), 0.0
        features_ND = self.module.features(hidden_ND)
        for block in draws.blocks(self.positions):
            here = _covered(block)
            source = draws.source(block, POLICY, hidden_ND.device)
            clean, plus, minus = (_Reduction(targets_N[here]) for _ in range(3))
            for start, logits_vB, raw_vB in self.slices(hidden_ND[here], features_ND[here]):
                noise_vB = source.take(len(logits_vB), logits_vB.dtype).mul_(strength.sigma(raw_vB))
                plus.add(start, logits_vB + noise_vB)
                minus.add(start, logits_vB - noise_vB)
                clean.add(start, logits_vB)
            total += float(((plus.logps_B + minus.logps_B) / 2 - clean.logps_B).sum())
        return total / len(draws.names)

    def slices(self, hidden_BD: Tensor, features_BD: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """First vocabulary entry, logits and g's output of each slice, (v, B), in float32 at least."""
        linear, head, count = self.module.linear, self.head, len(hidden_BD)
        hidden_DB, features_DB = (
            functional.pad(x_BD, (0, 0, 0, -count % ROUND)).T for x_BD in (hidden_BD, features_BD)
        )
        for start in range(0, len(linear.weight), SLICE):
            here = slice(start, start + SLICE)
            logits_vB, raw_vB = head.weight_VD[here] @ hidden_DB, linear.weight[here] @ features_DB
            if head.bias_V is not None:
                logits_vB += head.bias_V[here, None]
            if linear.bias is not None:  # pyright: ignore[reportUnnecessaryComparison] - torch does not say so
                raw_vB += linear.bias[here, None]
            yield start, head.shaped(logits_vB[:, :count])[0], raw_vB[:, :count].to(self.exact)


class _Reduction:
    """Log-probabilities of targets, from logits that come slice by slice."""

    def __init__(self, targets_B: Tensor) -> None:
        self.targets_B = targets_B
        self.largest_B = self.sums_B = self.target_B = torch.zeros((), device=targets_B.device)

    def add(self, start: int, logits_vB: Tensor) -> Tensor:
        """The logits of the vocabulary from `start` on; they become exp(logit − largest logit so far)."""
        if start == 0:
            self.largest_B = logits_vB.new_full((len(self.targets_B),), -torch.inf)
            self.sums_B, self.target_B = (torch.zeros_like(self.largest_B) for _ in range(2))
        self.target_B = _at(self.targets_B - start, logits_vB, self.target_B)
        largest_B = torch.maximum(self.largest_B, logits_vB.amax(0))
        exponentials_vB = logits_vB.sub_(largest_B).exp_()
        self.sums_B = self.sums_B * (self.largest_B - largest_B).exp() + exponentials_vB.sum(0)
        self.largest_B = largest_B
        return exponentials_vB

    @property
    def normaliser_B(self) -> Tensor:
        """log Σ exp(logit)."""
        return self.largest_B + self.sums_B.log()

    @property
    def logps_B(self) -> Tensor:
        """log softmax at the targets."""
        return self.target_B - self.normaliser_B


def _at(entries_B: Tensor, slice_vB: Tensor, others_B: Tensor) -> Tensor:
    """What lies at these entries of a slice; where they lie outside of it, the others."""
    entries_1B, inside_B = _inside(entries_B, slice_vB)
    return torch.where(inside_B, slice_vB.gather(0, entries_1B)[0], others_B)


def _inside(entries_B: Tensor, slice_vB: Tensor) -> tuple[Tensor, Tensor]:
    """Entries, 0 in the place of those outside of a slice; and which lie in it."""
    inside_B = (entries_B >= 0) & (entries_B < len(slice_vB))
    return (entries_B * inside_B)[None], inside_B


class _Block:
    """The noise's effect on a block of positions; holds what its gradient is made of."""

    def __init__(self, noisy: NoisyHead, given: Sequence[Tensor], noise: Source, seen: Source | None) -> None:
        """`noise`, `seen`: the draws that the noise learns from and, if it is asked for, that the policy sees."""
        hidden_BD, features_BD, self.targets_B = given
        self.strength, self.exact, entries = noisy.strength, noisy.exact, len(noisy.head.weight_VD)
        self.seen, self.learned = _Reduction(self.targets_B), _Reduction(self.targets_B)
        self.size_B, self.sigma_B, self.noise_B = hidden_BD.new_zeros(3, len(hidden_BD), dtype=noisy.exact)
        """Means of size and of σ, and σ·ε at the targets."""
        self.pulls_VB, self.sigmas_VB = (hidden_BD.new_empty(entries, len(hidden_BD)) for _ in range(2))
        """σ·ε·exp(logit − largest logit so far), and σ."""
        self.largest: list[Tensor] = []
        for start, logits_vB, raw_vB in noisy.slices(hidden_BD, features_BD):
            here = slice(start, start + len(raw_vB))
            sigma_vB = self.strength.sigma(raw_vB)
            self.size_B += self.strength.size(sigma_vB).sum(0) / entries
            self.sigma_B += sigma_vB.sum(0) / entries
            if seen is not None:
                self.seen.add(start, seen.take(len(sigma_vB), noisy.exact).mul_(sigma_vB).add_(logits_vB))
            noise_vB = noise.take(len(sigma_vB), noisy.exact).mul_(sigma_vB)
            self.noise_B = _at(self.targets_B - start, noise_vB, self.noise_B)
            self.pulls_VB[here] = self.learned.add(start, logits_vB.add_(noise_vB)).mul_(noise_vB)
            self.sigmas_VB[here] = sigma_vB
            self.largest.append(self.learned.largest_B)

    def gradients(self, by_logp_B: Tensor, by_size_B: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Gradient of g's output, slice by slice: (one-hot − softmax)·ε by the log-probability, and the size's."""
        by_size_B = by_size_B / len(self.sigmas_VB)
        for number, largest_B in enumerate(self.largest):
            here = slice(number * SLICE, (number + 1) * SLICE)
            sigma_vB = self.sigmas_VB[here].to(self.exact)
            softmax_B = (largest_B - self.learned.normaliser_B).exp()
            by_log_vB = self.pulls_VB[here].to(self.exact).mul_(softmax_B * -by_logp_B)
            entries_B, inside_B = _inside(self.targets_B - here.start, by_log_vB)
            by_log_vB.scatter_add_(0, entries_B, (by_logp_B * self.noise_B * inside_B)[None])
            yield here, self.strength.slope(by_log_vB, by_size_B, sigma_vB)


def _covered(block: Block) -> slice:
    return slice(block[0][0].start, block[-1][0].stop)


class _NoisyLogps(torch.autograd.Function):
    """The values of `Noisy`; the backward pass goes only through the second draw and the size."""

    @staticmethod
    def forward(
        ctx: Any,
        features_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,  # noqa: ARG004 - an input, so that its gradient has a place to go
        hidden_ND: Tensor,
        targets_N: Tensor,
        draws: NoiseDraws,
        noisy: NoisyHead,
        of_weight_VD: Tensor | None,
    ) -> tuple[Tensor, ...]:
        found_4N = torch.zeros(4, len(targets_N), dtype=noisy.exact, device=hidden_ND.device)
        kept: list[_Block] = []
        for block in draws.blocks(noisy.positions):
            here = _covered(block)
            sources = [draws.source(block, draw, hidden_ND.device) for draw in (NOISE, POLICY)]
            made = _Block(noisy, [x[here] for x in (hidden_ND, features_ND, targets_N)], *sources)
            found_4N[:, here] = torch.stack([made.seen.logps_B, made.learned.logps_B, made.size_B, made.sigma_B])
            if len(kept) < KEPT and ctx.needs_input_grad[1]:
                kept.append(made)
        ctx.save_for_backward(features_ND, weight_VD, hidden_ND, targets_N)
        ctx.draws, ctx.noisy, ctx.kept, ctx.of_weight_VD = draws, noisy, kept, of_weight_VD
        found = tuple(found_4N.unbind())
        ctx.mark_non_differentiable(found[0], found[3])
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        features_ND, weight_VD, hidden_ND, targets_N = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        draws, noisy, kept = cast(NoiseDraws, ctx.draws), cast(NoisyHead, ctx.noisy), cast("list[_Block]", ctx.kept)
        _, by_logp_N, by_size_N, _ = gradients
        of_features_ND = torch.zeros_like(features_ND, dtype=noisy.exact) if ctx.needs_input_grad[0] else None
        given_VD = cast("Tensor | None", ctx.of_weight_VD)
        of_weight_VD = torch.zeros_like(weight_VD, dtype=noisy.exact) if given_VD is None else given_VD
        of_bias_V = torch.zeros_like(of_weight_VD[:, 0]) if ctx.needs_input_grad[2] else None
        for block in draws.blocks(noisy.positions):
            here = _covered(block)
            given = [x[here] for x in (hidden_ND, features_ND, targets_N)]
            made = kept.pop(0) if kept else _Block(noisy, given, draws.source(block, NOISE, hidden_ND.device), None)
            for rows, of_g_vB in made.gradients(by_logp_N[here], by_size_N[here]):
                if of_bias_V is not None:
                    of_bias_V[rows] += of_g_vB.sum(1)
                of_g_vB = of_g_vB.to(weight_VD.dtype)
                add_product(of_weight_VD[rows], of_g_vB, features_ND[here])
                if of_features_ND is not None:
                    add_product(of_features_ND[here], of_g_vB.T, weight_VD[rows])
        found = of_features_ND, of_weight_VD if given_VD is None else None, of_bias_V
        return *(None if x is None else x.to(weight_VD.dtype) for x in found), *[None] * 5
