"""Kinds of GPUs with what they can do and what training and sampling sustain on them; a CPU is measured on the spot.

Peaks are the makers' own (dense, bfloat16 with float32 accumulation). What is sustained comes from published
measurements of other software: `docs/scale.md` sets prices beside them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from selfboost.suggestions import did_you_mean
from selfboost.system import total_memory

GIGABYTE = 10**9
LLAMA_2_7B, LLAMA_3_8B = 6.74e9, 8.03e9
"""Parameters of the models in published measurements."""
LAUNCH = 1 / 25.5 / 32
"""Seconds that a layer takes to be launched in one decoding step without compilation, however fast the GPU: 25.5 steps
a second with the 32 layers of Llama-7B on an A100 (pytorch.org/blog/accelerating-generative-ai-2, starting point)."""
CONTINUOUS = 24.5 * 256
"""New tokens a second of an engine with continuous batching, 256 new for each 256 read: vLLM, Llama-3-8B in bfloat16 on
one H100 (vllm-project/vllm, pull request 7117: 24.3 to 24.7 requests a second)."""
CPU = "cpu"
CPU_SHARE = 0.3
"""Of its own rate of matrix products, as `python -m benchmarks.training` prints for bfloat16."""
PRODUCT, COPIED = 1024, 2**27
"""Width of the matrices and bytes of the copy by which a CPU is measured."""


def _sustained(tokens_per_second: float, parameters: float, peak: float) -> float:
    """Share of the peak: 6 operations per parameter and token trained, nothing recomputed."""
    return 6 * parameters * tokens_per_second / peak


A100_SHARE = _sustained(3700, LLAMA_2_7B, 312e12)
"""0.48: FSDP, Llama 2 7B, 4,096 tokens a row, 128 GPUs, 3,700 tokens a second on each
(pytorch.org/blog/maximizing-training, table 1)."""
H100_SHARE = _sustained(7500, LLAMA_2_7B, 989.4e12)
"""0.31: the same table on 96 GPUs, 7,500 tokens a second on each. For comparison: pytorch/torchtitan,
benchmarks/llama3_h100_202412_torchtitan.md: FSDP2, Llama 3.1 8B, 5,762 without and 6,667 with compilation."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One kind of device."""

    name: str
    peak: float
    """Operations per second in bfloat16."""
    memory: int
    """Bytes, a data sheet's gigabyte counted as 10⁹: what a card has above that is left to libraries."""
    bandwidth: float
    """Bytes per second between the device and its memory."""
    share: float
    """Share of the peak that training and reading sustain."""
    source: str
    """Where peak, memory and bandwidth come from."""
    basis: str
    """What the share comes from."""
    launch: float = LAUNCH
    """Seconds to launch one layer's work."""

    def seconds(self, operations: float) -> float:
        """Seconds that training or reading takes for this many operations."""
        return operations / (self.share * self.peak)

    def step_seconds(self, layers: int, operations: float, read: float) -> float:
        """Seconds of one uncompiled decoding step, bound by launches, by arithmetic or by the bytes it reads."""
        return max(self.launch * layers, self.seconds(operations), read / self.bandwidth)

    def continuous_rate(self, weight_bytes: float) -> float:
        """New tokens a second with continuous batching, its prompts' reading included.

        In proportion to the bandwidth and inversely to the weights' bytes, from the published rate.
        """
        h100 = KINDS["H100"]
        return CONTINUOUS * self.bandwidth / h100.bandwidth * 2 * LLAMA_3_8B / weight_bytes


_A100 = Hardware(
    name="A100-80GB",
    peak=312e12,
    memory=80 * GIGABYTE,
    bandwidth=2.039e12,
    share=A100_SHARE,
    source="NVIDIA A100 Tensor Core GPU data sheet, SXM",
    basis="published training of Llama 2 7B on it",
)
_H100 = Hardware(
    name="H100",
    peak=989.4e12,
    memory=80 * GIGABYTE,
    bandwidth=3.35e12,
    share=H100_SHARE,
    source="NVIDIA H100 Tensor Core GPU data sheet, SXM5 (1,979 TFLOP/s with sparsity, half of it dense)",
    basis="published training of Llama 2 7B on it",
)
KINDS: Mapping[str, Hardware] = {
    kind.name: kind
    for kind in (
        replace(
            _A100,
            name="A100-40GB",
            memory=40 * GIGABYTE,
            bandwidth=1.555e12,
            source="NVIDIA A100 Tensor Core GPU data sheet, 40 GB",
            basis="the A100-80GB's",
        ),
        _A100,
        _H100,
        replace(
            _H100,
            name="H200",
            memory=141 * GIGABYTE,
            bandwidth=4.8e12,
            source="NVIDIA H200 Tensor Core GPU data sheet, SXM",
            basis="the H100's, whose peak it has",
        ),
        replace(
            _H100,
            name="B200",
            peak=2.25e15,
            memory=180 * GIGABYTE,
            bandwidth=7.7e12,
            source="NVIDIA Blackwell data sheet, HGX B200 (per GPU; 4.5 PFLOP/s with sparsity, half of it dense)",
            basis="assumed to be the H100's",
        ),
        replace(
            _A100,
            name="RTX4090",
            peak=165.2e12,
            memory=24 * GIGABYTE,
            bandwidth=1.008e12,
            source="NVIDIA Ada GPU architecture whitepaper, appendix A",
            basis="assumed to be the A100's, which has as many operations per byte of bandwidth",
        ),
        replace(
            _A100,
            name="RTX5090",
            peak=209.5e12,
            memory=32 * GIGABYTE,
            bandwidth=1.792e12,
            source="NVIDIA RTX Blackwell GPU architecture whitepaper, appendix A",
            basis="assumed to be the A100's, which has as many operations per byte of bandwidth",
        ),
    )
}
USUAL = "H100"
"""What a plan is priced on unless another kind is named."""


def hardware(name: str) -> Hardware:
    """A kind of GPU by name, in any case and with any hyphens, or `cpu`, which is measured for half a second.

    Raises:
        ValueError: there is no such kind.
    """
    if name.lower() == CPU:
        return this_cpu()
    known = {_plain(kind): found for kind, found in KINDS.items()} | {"a100": KINDS["A100-80GB"]}
    if found := known.get(_plain(name)):
        return found
    raise ValueError(f"{name!r}: no such kind of GPU{did_you_mean(name, KINDS)}; allowed: {', '.join(KINDS)}, {CPU}")


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())


def this_cpu() -> Hardware:
    """This machine's CPU: the better of its rates of matrix products in bfloat16 and float32, and of copying."""
    import torch

    def product(dtype: torch.dtype) -> float:
        left, right = (torch.ones(PRODUCT, PRODUCT, dtype=dtype) for _ in range(2))
        return 2 * PRODUCT**3 / _quickest(lambda: left @ right)

    copied = torch.ones(COPIED, dtype=torch.uint8)
    return Hardware(
        name="CPU",
        peak=max(product(torch.bfloat16), product(torch.float32)),
        memory=total_memory(),
        bandwidth=2 * COPIED / _quickest(copied.clone),
        share=CPU_SHARE,
        source="measured",
        basis="benchmarks.training",
        launch=0.0,
    )


def _quickest(work: Callable[[], object], times: int = 4) -> float:
    """Seconds of the quickest of several tries; the first warms up."""
    found: list[float] = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found[1:])
