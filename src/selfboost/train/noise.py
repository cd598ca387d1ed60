"""Trainable noise on a model's logits (DNPO, arXiv 2502.05400), without ever holding (tokens × vocabulary) numbers.

Logits become z + σ·ε: z = W·h those of a frozen head, σ = c·exp(g(h)) of a trained module, ε standard normal. All three
are made for a block of positions and reduced to log-probabilities; the backward pass makes them again, the noise from
its seed. Noise depends on seed, step, answer and position alone, not on what else is in a batch.

Shapes: N tokens of rejected answers, B of them in a block, D hidden size, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from selfboost.noise import Noise
from selfboost.train.logits import Head

BLOCK_ELEMENTS = 2**21
"""Numbers of a block of (positions × vocabulary): 8 MB in float32, of which a handful are held at once."""
POLICY, NOISE = 1, 2
"""The two independent draws of a step: what the policy sees, and what the noise learns from."""


@dataclass(frozen=True)
class Draws:
    """The noise of the answers of a micro-batch, drawn anew whenever it is asked for, always the same."""

    seed: int
    step: int
    names: Sequence[str]
    lengths: Sequence[int]
    """Tokens of each answer; N is their sum."""

    def parts(self, rows: int) -> Iterator[list[tuple[slice, str]]]:
        """Blocks of at most `rows` positions, each as (positions, name of its noise).

        An answer is cut at multiples of `rows`, so that its noise does not depend on its neighbours.
        """
        block: list[tuple[slice, str]] = []
        end = 0
        for name, length in zip(self.names, self.lengths, strict=True):
            for first in range(0, length, rows):
                count = min(rows, length - first)
                if block and end + count - block[0][0].start > rows:
                    yield block
                    block = []
                block.append((slice(end, end + count), f"{name}/{first}"))
                end += count
        if block:
            yield block

    def fill(self, epsilon_BV: Tensor, block: Sequence[tuple[slice, str]], draw: int) -> Tensor:
        """Standard normal numbers for a block, in place."""
        generator = torch.Generator(epsilon_BV.device)
        begin = block[0][0].start
        for here, name in block:
            digest = hashlib.sha256(f"{self.seed}/{self.step}/{name}/{draw}".encode()).digest()
            generator.manual_seed(int.from_bytes(digest[:8], "little"))
            epsilon_BV[here.start - begin : here.stop - begin].normal_(generator=generator)
        return epsilon_BV


class NoiseModule(torch.nn.Module):
    """g: a reference's last hidden state to the logarithm of the noise's strength, for every vocabulary entry.

    Weights begin as in the authors' code (uniform within ±1/√D) after a LayerNorm, at zero where g is affine: hidden
    states of any size would else make strengths of any size.
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
        """What the linear layer is given."""
        return hidden_ND if self.norm is None else functional.gelu(self.norm(hidden_ND))


@dataclass(frozen=True)
class Strength:
    """From g's output to σ, and back to the gradient."""

    settings: Noise
    scale: float
    """c."""

    @property
    def _power(self) -> float:
        """σ² is (c·exp(g)) to this power."""
        return 2.0 if self.settings.exponential_of == "deviation" else 1.0

    def sigma(self, logarithm: Tensor) -> Tensor:
        """σ from g's output; works in place."""
        variance_log = logarithm.add_(_log(self.scale)).mul_(self._power)
        if not (bound := self.settings.largest_variance):
            return variance_log.mul_(0.5).exp_()
        # v·b / (v + b) = b·sigmoid(log v − log b)
        return variance_log.sub_(_log(bound)).sigmoid_().mul_(bound).sqrt_()

    def size(self, sigma: Tensor) -> Tensor:
        """What the penalty is the mean of: σ or σ²."""
        return sigma if self.settings.penalty_on == "deviation" else sigma.square()

    def slope(self, by_sigma: Tensor, by_size: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of g's output from those of σ and of the size; works in place of the first."""
        by_sigma += by_size if self.settings.penalty_on == "deviation" else 2 * by_size * sigma
        by_sigma.mul_(sigma).mul_(self._power / 2)
        if bound := self.settings.largest_variance:
            by_sigma.mul_(1 - sigma.square() / bound)
        return by_sigma


def _log(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float64).log())


class Noisy(NamedTuple):
    """What the noise makes of N tokens."""

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
    def rows(self) -> int:
        """Positions of a block."""
        return max(1, self.block_elements // self.head.weight_VD.shape[0])

    def logps(self, hidden_ND: Tensor, targets_N: Tensor, draws: Draws) -> Noisy:
        """Noisy log-probabilities of each target, in float32 at least."""
        linear = self.module.linear
        features_ND = self.module.features(hidden_ND)
        apply = cast(Any, _NoisyLogps).apply
        return Noisy(*apply(features_ND, linear.weight, linear.bias, hidden_ND, targets_N, draws, self))

    @torch.no_grad()
    def shift(self, hidden_ND: Tensor, targets_N: Tensor, draws: Draws, scale: float) -> float:
        """By how much noise of a scale c changes the summed log-probability, mean over answers, in nats.

        Means of a draw and its negative: what is odd in the noise falls out, and few answers suffice.
        """
        strength, total = Strength(self.strength.settings, scale), 0.0
        features_ND = self.module.features(hidden_ND)
        for block in draws.parts(self.rows):
            here = _covered(block)
            logits_BV, sigma_BV = self._made(hidden_ND[here], features_ND[here], strength)
            noise_BV = draws.fill(torch.empty_like(logits_BV), block, POLICY).mul_(sigma_BV)
            targets_B = targets_N[here]
            clean = _reduced(logits_BV, targets_B).sum()
            both = _reduced(logits_BV + noise_BV, targets_B).sum() + _reduced(logits_BV - noise_BV, targets_B).sum()
            total += float(both / 2 - clean)
        return total / len(draws.names)

    def made(self, hidden_BD: Tensor, features_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and σ of a block."""
        return self._made(hidden_BD, features_BD, self.strength)

    def _made(self, hidden_BD: Tensor, features_BD: Tensor, strength: Strength) -> tuple[Tensor, Tensor]:
        logits_BV = self.head.logits(hidden_BD)
        linear = self.module.linear
        raw_BV = functional.linear(features_BD, linear.weight, linear.bias)
        return logits_BV, strength.sigma(raw_BV.to(logits_BV.dtype))


def _covered(block: Sequence[tuple[slice, str]]) -> slice:
    return slice(block[0][0].start, block[-1][0].stop)


def _reduced(logits_BV: Tensor, targets_B: Tensor) -> Tensor:
    """Log-probabilities of the targets."""
    return logits_BV.gather(1, targets_B[:, None])[:, 0] - logits_BV.logsumexp(1)


class _NoisyLogps(torch.autograd.Function):
    """What `Noisy` holds; the backward pass goes through the second draw and the size alone."""

    @staticmethod
    def forward(
        ctx: Any,
        features_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,  # noqa: ARG004 - an input, so that its gradient has a place to go
        hidden_ND: Tensor,
        targets_N: Tensor,
        draws: Draws,
        noisy: NoisyHead,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(features_ND, weight_VD, hidden_ND, targets_N)
        ctx.draws, ctx.noisy = draws, noisy
        exact = torch.promote_types(noisy.head.weight_VD.dtype, torch.float32)
        found_4N = torch.empty(4, len(targets_N), dtype=exact, device=hidden_ND.device)
        for block in draws.parts(noisy.rows):
            here = _covered(block)
            logits_BV, sigma_BV = noisy.made(hidden_ND[here], features_ND[here])
            epsilon_BV = torch.empty_like(logits_BV)
            for row, draw in ((0, POLICY), (1, NOISE)):
                draws.fill(epsilon_BV, block, draw).mul_(sigma_BV).add_(logits_BV)
                found_4N[row, here] = _reduced(epsilon_BV, targets_N[here])
            found_4N[2, here] = noisy.strength.size(sigma_BV).mean(1)
            found_4N[3, here] = sigma_BV.mean(1)
        found = tuple(found_4N.unbind())
        ctx.mark_non_differentiable(found[0], found[3])
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        features_ND, weight_VD, hidden_ND, targets_N = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        draws, noisy = cast(Draws, ctx.draws), cast(NoisyHead, ctx.noisy)
        _, by_logp_N, by_size_N, _ = gradients
        of_features_ND = torch.empty_like(features_ND) if ctx.needs_input_grad[0] else None
        of_weight_VD = torch.zeros_like(weight_VD, dtype=by_logp_N.dtype)
        of_bias_V = torch.zeros_like(of_weight_VD[:, 0]) if ctx.needs_input_grad[2] else None
        for block in draws.parts(noisy.rows):
            here = _covered(block)
            features_BD = features_ND[here]
            of_g_BV = _gradient(
                noisy, draws, block, (hidden_ND[here], features_BD, targets_N[here], by_logp_N[here], by_size_N[here])
            ).to(weight_VD.dtype)
            if of_features_ND is not None:
                of_features_ND[here] = of_g_BV @ weight_VD
            if of_weight_VD.dtype == weight_VD.dtype:
                of_weight_VD.addmm_(of_g_BV.T, features_BD)
            else:
                of_weight_VD += of_g_BV.T @ features_BD
            if of_bias_V is not None:
                of_bias_V += of_g_BV.sum(0, dtype=of_bias_V.dtype)
        kind = weight_VD.dtype
        return of_features_ND, of_weight_VD.to(kind), None if of_bias_V is None else of_bias_V.to(kind), *[None] * 4


def _gradient(noisy: NoisyHead, draws: Draws, block: Sequence[tuple[slice, str]], of: tuple[Tensor, ...]) -> Tensor:
    """Gradient of g's output on a block: (one-hot − softmax)·ε by the log-probability, and the penalty's share."""
    hidden_BD, features_BD, targets_B, by_logp_B, by_size_B = of
    logits_BV, sigma_BV = noisy.made(hidden_BD, features_BD)
    epsilon_BV = draws.fill(torch.empty_like(logits_BV), block, NOISE)
    noisy_BV = logits_BV.addcmul_(sigma_BV, epsilon_BV)
    by_logits_BV = torch.softmax(noisy_BV, 1).mul_(-by_logp_B[:, None])
    by_logits_BV.scatter_add_(1, targets_B[:, None], by_logp_B[:, None])
    by_size_B1 = by_size_B[:, None] / sigma_BV.shape[1]
    return noisy.strength.slope(by_logits_BV.mul_(epsilon_BV), by_size_B1, sigma_BV)
