"""What the laboratory runs: each cell is the demo's recipe with the settings named here; nothing else differs."""

from __future__ import annotations

from dataclasses import dataclass

ITERATIONS = 4
COMMON = (f"run.iterations={ITERATIONS}", "method.prompts=1500", "method.pairs=500")
"""A third of the demo's pairs, so that all cells are done in an hour or so."""
FEW_PAIRS = ("training.batch_size=8", "training.epochs=24")
"""Where there are twenty pairs: as many passes as Seed SFT makes over the same seeds."""
WHOLE_SEED = ("seed.limit=0", "seed_models.sft={learning_rate=1e-3, batch_size=32, epochs=3}")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One way to run, on every seed."""

    name: str
    title: str
    group: str
    """`methods`, `ablations` of SynPO, or `seed size`."""
    settings: tuple[str, ...] = ()


CELLS = (
    Cell(name="synpo", title="SynPO", group="methods"),
    Cell(
        name="sampling-ranking",
        title="Sampling-Ranking (n = 5)",
        group="methods",
        settings=("method.kind=sampling_ranking",),
    ),
    Cell(
        name="self-rewarding",
        title="Self-Rewarding (own likelihood)",
        group="methods",
        settings=("method.kind=self_rewarding", "method.judge=likelihood"),
    ),
    Cell(name="seed-sft", title="Seed SFT", group="methods", settings=("method.kind=seed_sft",)),
    Cell(name="seed-po", title="Seed PO", group="methods", settings=("method.kind=seed_po", *FEW_PAIRS)),
    Cell(
        name="seed-sft-po", title="Seed SFT, then PO", group="methods", settings=("method.kind=seed_sft_po", *FEW_PAIRS)
    ),
    Cell(
        name="no-noise-keyword",
        title="no noise keyword",
        group="ablations",
        settings=("method.generator.seed_keywords=3", "method.generator.noise_keywords=0"),
    ),
    Cell(
        name="improver-sampled",
        title="improver at T=0.7 (paper)",
        group="ablations",
        settings=("method.improver.sampling.temperature=0.7",),
    ),
    Cell(
        name="improver-wins-only",
        title="improver on seeds where gold wins (paper)",
        group="ablations",
        settings=("method.improver.threshold=0.0",),
    ),
    Cell(
        name="resampled",
        title="second answer instead of the improver's",
        group="ablations",
        settings=("method.chosen=resampled",),
    ),
    Cell(
        name="rejected-draft",
        title="rejected: the draft, not the initial answer",
        group="ablations",
        settings=("method.rejected=draft",),
    ),
    Cell(name="last-window", title="no accumulation", group="ablations", settings=("method.window=last",)),
    Cell(name="no-gap", title="no score gap needed", group="ablations", settings=("method.filter.threshold=-1e9",)),
    Cell(
        name="wide-gap", title="score gap of at least 2", group="ablations", settings=("method.filter.threshold=2.0",)
    ),
    Cell(
        name="pure-simpo",
        title="SimPO alone, a fifth of the rate, beta searched (paper)",
        group="ablations",
        settings=(
            "loss.nll_weight=0.0",
            "training.learning_rate=2e-4",
            "method.search.betas=[2, 4, 6, 8, 10, 12]",
            "method.search.iterations=first",
        ),
    ),
    Cell(name="synpo-1020", title="SynPO, 1,020 seeds", group="seed size", settings=WHOLE_SEED),
    Cell(
        name="seed-sft-1020",
        title="Seed SFT, 1,020 seeds",
        group="seed size",
        settings=("method.kind=seed_sft", *WHOLE_SEED),
    ),
)
