"""Rates that `selfboost check` prices with, beside published throughput, most of which they were not taken from.

Run as `python -m benchmarks.prices`. Tokens a second on one GPU: trained, or newly sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfboost.plan.hardware import KINDS, LAUNCH, LLAMA_2_7B, LLAMA_3_8B

LLAMA_70B = 69e9
BLOG = "pytorch.org/blog/maximizing-training, table 1"
TITAN = "pytorch/torchtitan, benchmarks/llama3_h100_202412_torchtitan.md"
KEMPNER = "KempnerForge, benchmarks, best MFU by GPU count"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published rate."""

    what: str
    rate: float
    ours: float
    source: str
    basis: bool = False
    """Whether our rate was taken from it."""

    @property
    def off(self) -> float:
        """Our rate's excess over it, as a share: above 0 we price too low."""
        return self.ours / self.rate - 1


def trained(kind: str, parameters: float, per_weight: int = 6) -> float:
    """Tokens trained per second; 8 operations per weight and token if activations are recomputed."""
    return 1 / KINDS[kind].seconds(per_weight * parameters)


def sampled(kind: str, parameters: float) -> float:
    """New tokens per second with continuous batching in bfloat16."""
    return KINDS[kind].continuous_rate(2 * parameters)


TRAINING = (
    Published(
        what="A100-80GB, training, 7B", rate=3700, ours=trained("A100-80GB", LLAMA_2_7B), source=BLOG, basis=True
    ),
    Published(what="H100, training, 7B", rate=7500, ours=trained("H100", LLAMA_2_7B), source=BLOG, basis=True),
    Published(what="H100, training, 8B, 8 GPUs", rate=5762, ours=trained("H100", LLAMA_3_8B), source=TITAN),
    Published(what="the same, compiled", rate=6667, ours=trained("H100", LLAMA_3_8B), source=TITAN),
    Published(
        what="A100-80GB, training, 70B, recomputed",
        rate=370,
        ours=trained("A100-80GB", LLAMA_70B, 8),
        source=BLOG,
    ),
    Published(what="H100, training, 70B, recomputed", rate=800, ours=trained("H100", LLAMA_70B, 8), source=BLOG),
    Published(
        what="H200, training, 7B, recomputed, 4 GPUs",
        rate=38_983 / 4,
        ours=trained("H200", LLAMA_2_7B, 8),
        source=KEMPNER,
    ),
)
"""Tokens a second of a GPU in training."""
SAMPLING = (
    Published(
        what="H100, sampling, 8B, continuous",
        rate=24.5 * 256,
        ours=sampled("H100", LLAMA_3_8B),
        source="vllm-project/vllm, pull request 7117",
        basis=True,
    ),
    Published(
        what="the same, a later vLLM",
        rate=6583,
        ours=sampled("H100", LLAMA_3_8B),
        source="vllm-project/vllm, pull request 18566",
    ),
    Published(
        what="A100-80GB, steps of 7B without compilation",
        rate=25.5,
        ours=1 / (LAUNCH * 32),
        source="pytorch.org/blog/accelerating-generative-ai-2",
        basis=True,
    ),
)
"""New tokens a second of a GPU, and steps a second."""


def published() -> Sequence[Published]:
    """All rows."""
    return (*TRAINING, *SAMPLING)


def main() -> None:
    """Print a table in Markdown."""
    print("| | published | `check` | off by | source |\n|---|---|---|---|---|")
    for row in published():
        off = "its basis" if row.basis else f"{row.off:+.0%}"
        print(f"| {row.what} | {row.rate:,.0f} | {row.ours:,.0f} | {off} | {row.source} |")


if __name__ == "__main__":
    main()
