"""What both sides of the training benchmark are given: model sizes, pairs as token ids, and the work that they hold.

Standard library alone, so that it runs under any interpreter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

VOCABULARY = 32000
PROMPT_TOKENS = 64
MEDIAN_TOKENS, SIGMA, FEWEST_TOKENS, MOST_TOKENS = 100, 0.6, 20, 256
BATCH_SIZE = 8
LEARNING_RATE, MAX_NORM, SEED = 1e-6, 1.0, 0
SIMPO_BETA, SIMPO_GAMMA, DPO_BETA = 2.0, 1.6, 0.1
PAD, END = 0, 1
"""Every completion ends in END, the end of sequence: a trainer that appends one where it lacks appends nothing."""


def word(token_id: int) -> str:
    """The tokenizer's word of a token id; the special ones must not occur inside others."""
    return {PAD: "<pad>", END: "<end>"}.get(token_id, str(token_id))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Llama's sizes."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    tied: bool


SHAPES = {
    "15m": Shape(hidden=288, layers=6, heads=6, intermediate=768, tied=True),
    "60m": Shape(hidden=512, layers=8, heads=8, intermediate=1408, tied=False),
    "400m": Shape(hidden=1536, layers=12, heads=12, intermediate=4096, tied=False),
}


@dataclass(frozen=True, kw_only=True)
class TokenPair:
    """A prompt and two completions, as token ids."""

    prompt: Sequence[int]
    chosen: Sequence[int]
    rejected: Sequence[int]

    @property
    def tokens(self) -> int:
        """Tokens of both rows: the prompt counts twice, however often it is computed."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


def random_pairs(count: int) -> list[TokenPair]:
    """Prompts of one length, completions of lognormal lengths; always the same ones."""
    generator = Random(SEED)

    def ids(length: int) -> list[int]:
        return [generator.randrange(2, VOCABULARY) for _ in range(length)]

    def completion() -> list[int]:
        length = round(generator.lognormvariate(math.log(MEDIAN_TOKENS), SIGMA))
        return [*ids(min(max(length, FEWEST_TOKENS), MOST_TOKENS) - 1), END]

    return [TokenPair(prompt=ids(PROMPT_TOKENS), chosen=completion(), rejected=completion()) for _ in range(count)]


def useful_flops(shape: Shape, pairs: Iterable[TokenPair]) -> float:
    """Floating-point operations that one step over the pairs cannot do without, forward and backward.

    Six per weight and token: the layers' matrices for every token, the prompt computed once a pair; the head for
    completion tokens alone. Causal attention without the masked half. No recomputing; norms and softmax are free.
    """
    matrices = shape.layers * (4 * shape.hidden**2 + 3 * shape.hidden * shape.intermediate)
    head = VOCABULARY * shape.hidden
    total = 0.0
    for pair in pairs:
        prompt, sides = len(pair.prompt), (len(pair.chosen), len(pair.rejected))
        looked_at = _triangle(prompt) + sum(_triangle(prompt + side) - _triangle(prompt) for side in sides)
        attention = 12 * shape.layers * shape.hidden * looked_at
        total += 6 * matrices * (prompt + sum(sides)) + attention + 6 * head * sum(sides)
    return total


def _triangle(count: int) -> int:
    """1 + 2 + … + count: the positions that `count` tokens attend to, themselves among them."""
    return count * (count + 1) // 2
