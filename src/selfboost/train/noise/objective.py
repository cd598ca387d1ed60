"""Preference optimisation against a reference with trainable noise: policy and noise together, or in turns.

DNPO (arXiv 2502.05400): the policy lowers the loss under one draw of the noise, the noise raises it under another. The
policy sees the noisy value as a constant, so its gradient does not pass through the noise, nor the other way round.
A pair's noise learns as soon as the policy's log-probabilities of the pair are there, so that nothing is kept for it.

Shapes: B pairs of a micro-batch; N tokens of their rejected answers, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import exp, isfinite, log
from typing import Any, cast

import torch
from scipy import optimize
from torch import Tensor

from selfboost.losses import NoisyLoss
from selfboost.train import Training
from selfboost.train.devices.sharding import whole
from selfboost.train.model.logits import Head
from selfboost.train.model.logprobs import LanguageModel
from selfboost.train.noise.draws import NoiseDraws
from selfboost.train.noise.kept_states import ReferenceStates
from selfboost.train.noise.module import NoiseModule, Noisy, NoisyHead, Strength
from selfboost.train.packs.rows import Item
from selfboost.train.steps.objectives import Measures, PreferenceObjective, pair_scores, row_sums
from selfboost.train.steps.references import References

FIRST_PAIRS = 64
FIRST_TOKENS = 4096
"""Pairs, and approximate tokens of rejected answers, on which the noise is measured before the first step."""
CLOSE = 0.005
"""Relative accuracy of an automatic scale."""
LARGEST_SCALE = 1e6
STRONG = 5.0
"""|β·m| at which a pair's weight, sigmoid(−β·m), is 0.99."""


class FrozenLayer(torch.nn.Module):
    """Output embeddings that training does not change."""

    def __init__(self, weight_VD: Tensor, bias_V: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight_VD, bias_V


class _Learned:
    """The noise's loss and its gradient, summed over the pairs of a micro-batch as they come."""

    def __init__(self, noisy: NoisyHead) -> None:
        self.weight_VD = noisy.module.linear.weight
        self.others = [parameter for parameter in noisy.module.parameters() if parameter is not self.weight_VD]
        self.of_weight_VD = torch.zeros_like(self.weight_VD, dtype=noisy.exact)
        self.of_others = [torch.zeros_like(parameter, dtype=noisy.exact) for parameter in self.others]
        self.total = self.of_weight_VD.new_zeros(())

    def add(self, loss: Tensor) -> None:
        """A part's share."""
        for gradients, gradient in zip(self.of_others, torch.autograd.grad(loss, self.others), strict=True):
            gradients += gradient
        self.total += loss.detach()

    def loss(self) -> Tensor:
        """The sum, differentiable."""
        apply = cast(Any, _Known).apply
        return apply(self.total, [self.of_weight_VD, *self.of_others], self.weight_VD, *self.others)


class _Known(torch.autograd.Function):
    """A number whose gradients are known."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *inputs: Tensor) -> Tensor:
        ctx.gradients, ctx.kinds = gradients, [x.dtype for x in inputs]
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        found, ctx.gradients = cast("list[Tensor]", ctx.gradients), None  # or the node would hold them any longer
        return None, None, *(x.mul_(outer[0]).to(kind) for x, kind in zip(found, ctx.kinds, strict=True))


class NoisyPreference:
    """A preference loss with noise on the reference, mean over pairs; its noise module is trained beside the model."""

    def __init__(
        self,
        language_model: LanguageModel,
        loss: NoisyLoss,
        references: References,
        states: ReferenceStates,
        head: Head,
        training: Training,
        seed: int,
    ) -> None:
        self.language_model, self.loss, self.references, self.states = language_model, loss, references, states
        self.noise, self.seed, self.step = loss.noise, seed, 0
        hidden, vocabulary = head.weight_VD.shape[1], head.weight_VD.shape[0]
        module = NoiseModule(self.noise, hidden, vocabulary, seed).to(head.weight_VD)
        module.requires_grad_(self.noise.trained)
        scale = 1.0 if self.noise.scale == "auto" else self.noise.scale
        self.noisy = NoisyHead(head, module, Strength(self.noise, scale))
        self.training = noise_training(training, loss)
        self.share = 1.0
        """Weight of the noise's loss relative to the policy's, whose gradient several devices may average."""

    def parameters(self) -> Iterable[Tensor]:
        """The noise module's parameters."""
        return self.noisy.module.parameters()

    def weight(self, item: Item) -> float:  # noqa: ARG002
        """Every pair counts the same."""
        return 1.0

    def begin(self, step: int) -> tuple[bool, bool]:
        """Draw anew for a step (counted from 0); returns whether policy and noise are trained in it."""
        self.step = step
        if not self.noise.trained:
            return True, False
        if self.noise.schedule == "simultaneous":
            return True, True
        noise_first = step // self.noise.turn % 2 == 0
        return not noise_first, noise_first

    def losses(self, items: Sequence[Item]) -> tuple[Tensor, Tensor, Measures]:
        """The sum of the policy's and the noise's objectives, each in its turn; the policy's loss of each pair."""
        policy_turn, noise_turn = self.begin(self.step)
        references: dict[str, tuple[float, float]] = {}
        preference = PreferenceObjective(self.language_model, self.loss, references)
        learned = _Learned(self.noisy) if noise_turn else None
        parts: list[Measures] = []

        def losses_of(group: Sequence[Item], logps_N: Tensor) -> Tensor:
            known, measures = self._noisy_references(group, row_sums(group, logps_N.detach()), learned)
            references.update(known)
            parts.append(measures)
            return preference.losses_of(group, logps_N)

        with torch.set_grad_enabled(policy_turn):
            total, each_B, measures = preference.losses(items, losses_of)
        if learned is not None:
            total = (total if policy_turn else 0.0) + self.share * learned.loss()
        return total, each_B, {**measures, **{name: torch.cat([part[name] for part in parts]) for name in parts[0]}}

    def _noisy_references(
        self, items: Sequence[Item], sums_2B: Tensor, learned: _Learned | None
    ) -> tuple[References, Measures]:
        """The references that the policy sees, given its log-probabilities; the noise learns meanwhile."""
        hidden_ND, targets_N, draws = self._given(items)
        lengths = _lengths(items)
        with torch.set_grad_enabled(learned is not None):
            noisy = self.noisy.logps(hidden_ND, targets_N, draws, learned and learned.of_weight_VD)
            policy_refs_B, noise_refs_B = _sums(noisy.policy_N, lengths), _sums(noisy.noise_N, lengths)
            references = self._references(items, policy_refs_B)
            scores = replace(pair_scores(sums_2B, items, references), reference_rejected_B=noise_refs_B)
            noise_B = self.loss.noise_losses(scores) + self.noise.penalty_weight * _means(noisy.size_N, lengths)
        if learned is not None:
            learned.add(noise_B.sum())
        return references, self._measures(items, noisy, noise_B, policy_refs_B)

    def _given(self, items: Sequence[Item]) -> tuple[Tensor, Tensor, NoiseDraws]:
        """The rejected answers' reference states (N, D), their tokens (N,), and this step's noise."""
        device = self.noisy.head.weight_VD.device
        targets_N = torch.tensor([token for item in items for token in item.rows[1].token_ids], device=device)
        draws = NoiseDraws(self.seed, self.step, [item.id for item in items], _lengths(items))
        return self.states.of(items, device), targets_N, draws

    def _references(self, items: Sequence[Item], rejected_B: Tensor) -> References:
        noisy = cast("list[float]", rejected_B.tolist())
        return {item.id: (self.references[item.id][0], value) for item, value in zip(items, noisy, strict=True)}

    @torch.no_grad()
    def _measures(self, items: Sequence[Item], noisy: Noisy, noise_B: Tensor, policy_refs_B: Tensor) -> Measures:
        answers = torch.split(noisy.sigma_N, _lengths(items))
        clean_B = policy_refs_B.new_tensor([self.references[item.id][1] for item in items])
        return {
            "noise_loss": noise_B.detach(),
            "noise_shift": policy_refs_B - clean_B,
            "noise_sigma": torch.stack([sigma.mean() for sigma in answers]),
            "noise_sigma_first": torch.stack([sigma[0] for sigma in answers]),
            "noise_sigma_middle": torch.stack([sigma[len(sigma) // 2] for sigma in answers]),
            "noise_sigma_last": torch.stack([sigma[-1] for sigma in answers]),
        }

    def settle(self, facts: Mapping[str, float]) -> None:
        """Set the scale c."""
        self.noisy = replace(self.noisy, strength=Strength(self.noise, facts["noise_scale"]))

    @torch.no_grad()
    def found(self, first: Sequence[Item]) -> Mapping[str, float]:
        """The scale c, found or set, and the starting mean of β·m on the first pairs."""
        given = self._given(_enough(first))

        def start(scale: float) -> float:
            return self.loss.beta * self.noisy.shift(*given, scale)

        scale = _scale_for(start, self.noise.start) if self.noise.scale == "auto" else self.noise.scale
        return {"noise_scale": scale, "noise_start": start(scale)}


def noise_training(training: Training, loss: NoisyLoss) -> Training:
    """How the noise module is trained: like the policy except for its own settings; in full, without weight decay."""
    noise = loss.noise
    optimizer = noise.optimizer or ("adamw" if training.optimizer == "adamw_8bit" else training.optimizer)
    return replace(
        training,
        optimizer=optimizer,
        learning_rate=noise.learning_rate or training.learning_rate,
        max_gradient_norm=noise.max_gradient_norm or training.max_gradient_norm,
        weight_decay=0.0,
        ema_decay=0.0,
        lora_rank=0,
    )


def frozen(head: Head, *, copied: bool, kind: torch.dtype) -> Head:
    """A head as it is now, in a number type; copied if training would change it."""
    tensors = [None if x is None else whole(x.detach()) for x in (head.weight_VD, head.bias_V)]
    weight_VD, bias_V = (None if x is None else x.to(kind, copy=copied) for x in tensors)
    assert weight_VD is not None, "a head has a weight"
    return replace(head, layer=FrozenLayer(weight_VD, bias_V))


def strong(start: float) -> list[str]:
    """A warning if the noise reduces the margin so much that the loss saturates."""
    if abs(start) <= STRONG:
        return []
    return [
        f"the noise began with a mean β·m of {start:.3g}: beyond about -{STRONG:g} the loss saturates "
        'and both log-probabilities may collapse; loss.noise.scale = "auto" finds a scale'
    ]


def _enough(items: Sequence[Item]) -> list[Item]:
    found, tokens = list[Item](), 0
    for item in items[:FIRST_PAIRS]:
        if found and tokens >= FIRST_TOKENS:
            break
        found.append(item)
        tokens += len(item.rows[1].token_ids)
    return found


def _scale_for(start: Callable[[float], float], wanted: float) -> float:
    """The scale c at which the noise reduces the margin by the wanted amount.

    Raises:
        ValueError: there is none (for example with bounded noise), or the reference's logits are not finite.
    """
    low = high = 1.0
    if not isfinite(start(1.0)):
        raise ValueError("noise.scale = 'auto': the reference's log-probabilities are not finite")
    while not -start(high) >= wanted:
        if high >= LARGEST_SCALE or not isfinite(start(high)):
            raise ValueError(f"noise.scale = 'auto': no scale up to {LARGEST_SCALE:g} makes |β·m| {wanted:g} at first")
        high = min(4 * high, LARGEST_SCALE)
    while -start(low) > wanted:
        low /= 4
    if low == high:
        return high

    def gap(logarithm: float) -> float:
        return -start(exp(logarithm)) - wanted

    return exp(cast(float, cast(Any, optimize).brentq(gap, log(low), log(high), xtol=CLOSE)))


def _lengths(items: Sequence[Item]) -> list[int]:
    """Tokens of each rejected answer."""
    return [len(item.rows[1].token_ids) for item in items]


def _sums(values_N: Tensor, lengths: list[int]) -> Tensor:
    return torch.stack([values.sum() for values in torch.split(values_N, lengths)])


def _means(values_N: Tensor, lengths: list[int]) -> Tensor:
    return torch.stack([values.mean() for values in torch.split(values_N, lengths)])
