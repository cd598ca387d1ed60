"""What all sides of the generation benchmark are given: models, prompts and settings.

Standard library alone, so that it runs under any interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from benchmarks.training_task import PROMPT_TOKENS, SHAPES, VOCABULARY

PROMPTS, NEW_TOKENS = 64, 64
GREEDY_TOKENS = 16
"""Of each prompt, before the clock runs: they warm up, and are compared between the sides."""
TEMPERATURE, TOP_P = 0.7, 0.9
CONTEXT = 512
FIRST_WORD = 3
"""Token ids below it are special in most vocabularies."""
MODELS = {"15M": SHAPES["15m"], "60M": SHAPES["60m"]}
"""Sizes by weights, embeddings not counted; the head has weights of its own."""


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
