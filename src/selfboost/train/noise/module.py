"""Trainable noise on a model's logits (DNPO, arXiv 2502.05400), without ever holding (tokens × vocabulary) numbers.

Logits become z + σ·ε: z = W·h from a frozen head, σ = c·exp(g(h)) from a trained module, ε standard normal. All three
are computed for a block of positions and reduced to log-probabilities; the backward pass recomputes them, the noise
from its seed. Noise depends only on seed, step, answer and position, not on what else is in a batch.

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
from selfboost.train.packs.layout import ROUND

BLOCK_ELEMENTS = 2**23
"""Numbers of a block of (vocabulary × positions): 32 MB in float32; two such are held at once."""
SLICE = 1024
"""Vocabulary entries that elementwise operations process at a time: few enough to stay in a CPU's cache."""


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
        variance_log = logarithm.add_(log(self.scale)).mul_(self._power)
        if not (bound := self.settings.largest_variance):
            return variance_log.mul_(0.5).exp_()
        # v·b / (v + b) = b·sigmoid(log v − log b)
        return variance_log.sub_(log(bound)).sigmoid_().mul_(bound).sqrt_()

    def size(self, sigma: Tensor) -> Tensor:
        """The quantity whose mean is penalised: σ or σ²."""
        return sigma if self.settings.penalty_on == "deviation" else sigma.square()

    def slope(self, by_sigma: Tensor, by_size: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of g's output from those of σ and of the size; works in place of the first."""
        by_sigma += by_size if self.settings.penalty_on == "deviation" else 2 * by_size * sigma
        by_sigma.mul_(sigma).mul_(self._power / 2)
        if bound := self.settings.largest_variance:
            by_sigma.mul_(1 - sigma.square() / bound)
        return by_sigma


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
    def positions(self) -> int:
        """Positions of a block."""
        return max(1, self.block_elements // self.head.weight_VD.shape[0])

    def logps(self, hidden_ND: Tensor, targets_N: Tensor, draws: NoiseDraws) -> Noisy:
        """Noisy log-probabilities of each target, in float32 at least."""
        linear = self.module.linear
        features_ND = self.module.features(hidden_ND)
        apply = cast(Any, _NoisyLogps).apply
        return Noisy(*apply(features_ND, linear.weight, linear.bias, hidden_ND, targets_N, draws, self))

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
                clean.add(start, logits_vB)
                plus.add(start, logits_vB + noise_vB)
                minus.add(start, logits_vB - noise_vB)
            total += float(((plus.logps_B + minus.logps_B) / 2 - clean.logps_B).sum())
        return total / len(draws.names)

    def slices(self, hidden_BD: Tensor, features_BD: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """First vocabulary entry, logits and g's output of each slice, (v, B), in float32 at least."""
        logits_VB, raw_VB = self.products(hidden_BD, features_BD)
        count = len(hidden_BD)
        for start in range(0, len(raw_VB), SLICE):
            here = slice(start, start + SLICE)
            logits_vB = self.head.shaped(logits_VB[here, :count])[0]
            yield start, logits_vB, raw_VB[here, :count].to(logits_vB.dtype)

    def products(self, hidden_BD: Tensor, features_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Both matrix products of a block, (V, B), with B padded: products of a new size start slowly."""
        linear = self.module.linear
        raw_VB = linear.weight @ _filled(features_BD).T
        if linear.bias is not None:  # pyright: ignore[reportUnnecessaryComparison] - torch does not say so
            raw_VB += linear.bias[:, None]
        return self.head.raw(_filled(hidden_BD)), raw_VB


class _Reduction:
    """Log-probabilities of targets, from logits that come slice by slice."""

    def __init__(self, targets_B: Tensor) -> None:
        self.targets_B = targets_B
        self.largest_B = self.sums_B = self.target_B = torch.zeros((), device=targets_B.device)

    def add(self, start: int, logits_vB: Tensor) -> None:
        """The logits of the vocabulary from `start` on; they are overwritten."""
        if start == 0:
            self.largest_B = logits_vB.new_full((len(self.targets_B),), -torch.inf)
            self.sums_B, self.target_B = (torch.zeros_like(self.largest_B) for _ in range(2))
        entries_B, inside_B = _inside(self.targets_B, start, len(logits_vB))
        self.target_B = torch.where(inside_B, logits_vB.gather(0, entries_B[None])[0], self.target_B)
        largest_B = torch.maximum(self.largest_B, logits_vB.amax(0))
        self.sums_B = self.sums_B * (self.largest_B - largest_B).exp() + (logits_vB - largest_B).exp_().sum(0)
        self.largest_B = largest_B

    @property
    def normaliser_B(self) -> Tensor:
        """log Σ exp(logit)."""
        return self.largest_B + self.sums_B.log()

    @property
    def logps_B(self) -> Tensor:
        """log softmax at the targets."""
        return self.target_B - self.normaliser_B


def _inside(targets_B: Tensor, start: int, entries: int) -> tuple[Tensor, Tensor]:
    """Where each target lies in a slice, clamped, and whether it lies there."""
    places_B = targets_B - start
    return places_B.clamp(0, entries - 1), (places_B >= 0) & (places_B < entries)


def _covered(block: Block) -> slice:
    return slice(block[0][0].start, block[-1][0].stop)


def _filled(x_BD: Tensor) -> Tensor:
    """Padded with rows of zeros to a round number."""
    return functional.pad(x_BD, (0, 0, 0, -len(x_BD) % ROUND))


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
    ) -> tuple[Tensor, ...]:
        exact = torch.promote_types(noisy.head.weight_VD.dtype, torch.float32)
        found_5N = torch.zeros(5, len(targets_N), dtype=exact, device=hidden_ND.device)
        for block in draws.blocks(noisy.positions):
            here = _covered(block)
            seen, learned = _Reduction(targets_N[here]), _Reduction(targets_N[here])
            sources = [draws.source(block, draw, hidden_ND.device) for draw in (POLICY, NOISE)]
            for start, logits_vB, raw_vB in noisy.slices(hidden_ND[here], features_ND[here]):
                sigma_vB = noisy.strength.sigma(raw_vB)
                for reduction, source in zip((seen, learned), sources, strict=True):
                    noise_vB = source.take(len(sigma_vB), exact).mul_(sigma_vB)
                    reduction.add(start, noise_vB.add_(logits_vB))
                found_5N[2, here] += noisy.strength.size(sigma_vB).sum(0) / len(weight_VD)
                found_5N[3, here] += sigma_vB.sum(0) / len(weight_VD)
            found_5N[:2, here] = torch.stack([seen.logps_B, learned.logps_B])
            found_5N[4, here] = learned.normaliser_B
        ctx.save_for_backward(features_ND, weight_VD, hidden_ND, targets_N, found_5N[4])
        ctx.draws, ctx.noisy = draws, noisy
        found = tuple(found_5N[:4].unbind())
        ctx.mark_non_differentiable(found[0], found[3])
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        features_ND, weight_VD, hidden_ND, targets_N, normaliser_N = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        draws, noisy = cast(NoiseDraws, ctx.draws), cast(NoisyHead, ctx.noisy)
        _, by_logp_N, by_size_N, _ = gradients
        of_features_ND = torch.empty_like(features_ND) if ctx.needs_input_grad[0] else None
        of_weight_VD = torch.zeros_like(weight_VD, dtype=by_logp_N.dtype)
        of_bias_V = torch.zeros_like(of_weight_VD[:, 0]) if ctx.needs_input_grad[2] else None
        for block in draws.blocks(noisy.positions):
            here = _covered(block)
            given = (hidden_ND, features_ND, targets_N, by_logp_N, by_size_N, normaliser_N)
            of_g_VB = _gradient(noisy, draws.source(block, NOISE, hidden_ND.device), [x[here] for x in given])
            if of_features_ND is not None:
                of_features_ND[here] = (of_g_VB.T @ weight_VD)[: here.stop - here.start]
            add_product(of_weight_VD, of_g_VB, _filled(features_ND[here]))
            if of_bias_V is not None:
                of_bias_V += of_g_VB[:, : here.stop - here.start].sum(1, dtype=of_bias_V.dtype)
        kind = weight_VD.dtype
        return of_features_ND, of_weight_VD.to(kind), None if of_bias_V is None else of_bias_V.to(kind), *[None] * 4


def _gradient(noisy: NoisyHead, source: Source, given: Sequence[Tensor]) -> Tensor:
    """Gradient of g's output on a block, (V, B), B filled up: (one-hot − softmax)·ε by the log-probability, and the
    penalty's share. Overwrites that output."""
    hidden_BD, features_BD, targets_B, by_logp_B, by_size_B, normaliser_B = given
    logits_VB, raw_VB = noisy.products(hidden_BD, features_BD)
    count, by_size_B = len(targets_B), by_size_B / len(raw_VB)
    for start in range(0, len(raw_VB), SLICE):
        raw_vB = raw_VB[start : start + SLICE, :count]
        logits_vB = noisy.head.shaped(logits_VB[start : start + SLICE, :count])[0]
        sigma_vB = noisy.strength.sigma(raw_vB.to(logits_vB.dtype, copy=True))
        epsilon_vB = source.take(len(sigma_vB), logits_vB.dtype)
        by_logits_vB = torch.addcmul(logits_vB, sigma_vB, epsilon_vB).sub_(normaliser_B).exp_().mul_(-by_logp_B)
        entries_B, inside_B = _inside(targets_B, start, len(sigma_vB))
        by_logits_vB.scatter_add_(0, entries_B[None], (by_logp_B * inside_B)[None])
        raw_vB.copy_(noisy.strength.slope(by_logits_vB.mul_(epsilon_vB), by_size_B, sigma_vB))
    return raw_VB
