"""What all sides of the generation benchmark are given: models, prompts and settings.

Standard library alone, so that it runs under any interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 64, 64, 64
GREEDY_TOKENS = 16
"""Of each prompt, before the clock runs: they warm up, and are compared between the sides."""
TEMPERATURE, TOP_P = 0.7, 0.9
VOCABULARY, CONTEXT = 32000, 512
FIRST_WORD = 3
"""Token ids below it are special in most vocabularies."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Llama's sizes."""

    hidden: int
    layers: int
    heads: int
    intermediate: int


SHAPES = {
    "15M": Shape(hidden=288, layers=6, heads=6, intermediate=768),
    "60M": Shape(hidden=512, layers=8, heads=8, intermediate=1408),
}
"""By their weights; embeddings are not counted."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model: its size, the scale of its head, which decides how many words a nucleus holds, and its number type."""

    model: str
    flatness: float
    nucleus: str
    dtype: str

    @property
    def name(self) -> str:
        """What `--only` is looked for in."""
        return f"{self.model}, nucleus of about {self.nucleus} tokens, {self.dtype}"


CASES = (
    Case(model="15M", flatness=3.0, nucleus="120", dtype="float32"),
    Case(model="15M", flatness=1.0, nucleus="14,000", dtype="float32"),
    Case(model="15M", flatness=3.0, nucleus="120", dtype="bfloat16"),
    Case(model="60M", flatness=3.0, nucleus="120", dtype="float32"),
    Case(model="60M", flatness=3.0, nucleus="120", dtype="bfloat16"),
)


def prompts() -> list[list[int]]:
    """Random token ids."""
    words = Random(1)
    return [[words.randrange(FIRST_WORD, VOCABULARY) for _ in range(PROMPT_TOKENS)] for _ in range(PROMPTS)]
