"""What the laboratory runs: each cell is the demo's recipe with the settings named here; nothing else differs.

Here SynPO beside its baselines and its own ablations; self-play and its three axes are in `laboratory_self_play`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BASE = ("run.beside=[]", "cluster.kind=here")
"""What every cell changes of the demo's recipe."""
ITERATIONS = 4
ROUNDS = f"run.iterations={ITERATIONS}"
ONE_PASS = "training.epochs=1"
COMMON = (ROUNDS, "method.prompts=1500", "method.pairs=500", ONE_PASS)
"""As many pairs as the demo's, each read once, so that all cells are done in an hour or so."""
ONCE = (ROUNDS, ONE_PASS)
"""Of methods that train on the seed alone, which make no prompts and have no number of pairs."""
FEW_PAIRS = ("training.batch_size=8", "training.epochs=24")
"""Where there are twenty pairs: as many passes as Seed SFT makes over the same seeds."""
WHOLE_SEED = ("seed.limit=0", "seed_models.sft={learning_rate=1e-3, batch_size=32, epochs=3}")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One way to run, with several run seeds."""

    name: str
    """Its folder; the same in every group that shows it."""
    title: str
    settings: tuple[str, ...] = ()
    common: tuple[str, ...] = COMMON
    """Settings that it shares with those it is compared with."""
    sloppy: float | None = None
    """Share of sloppy golds among its seeds; None: the embedded seeds, all right."""
    validation: int = 0
    """Validation prompts that are measured; 0 = all."""
    against: str = ""
    """Cell that it is compared with; empty: the group's."""
    line: str = ""
    """The line of a figure over an axis that it belongs to; empty: it is not drawn there."""
    at: int | None = None
    """Where it stands on the axis; None: it has no place there and is a level."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Cells of one table and one figure."""

    name: str
    cells: tuple[Cell, ...]
    against: str
    """Name of the cell that the others are compared with."""
    figure: Literal["iterations", "last", "axis", "none"] = "none"
    """Pass rates by iteration, those of the last iteration in rows, or those of the last iteration over an axis."""
    axis: str = ""
    """What changes along the axis."""
    ticks: tuple[str, ...] = ()
    """Its places, from left to right."""

    @property
    def file(self) -> str:
        """Name of its figure."""
        return f"laboratory-{self.name.replace(' ', '-')}.svg"


METHODS = (
    Cell(name="synpo", title="SynPO"),
    Cell(
        name="sampling-ranking",
        title="Sampling-Ranking (n = 5)",
        settings=("method.kind=sampling_ranking",),
    ),
    Cell(
        name="self-rewarding",
        title="Self-Rewarding (own likelihood)",
        settings=("method.kind=self_rewarding", "method.judge=likelihood"),
    ),
    Cell(name="seed-sft", title="Seed SFT", settings=("method.kind=seed_sft",), common=ONCE),
    Cell(name="seed-po", title="Seed PO", settings=("method.kind=seed_po", *FEW_PAIRS), common=ONCE),
    Cell(
        name="seed-sft-po",
        title="Seed SFT, then PO",
        settings=("method.kind=seed_sft_po", *FEW_PAIRS),
        common=ONCE,
    ),
)
ABLATIONS = (
    Cell(
        name="no-noise-keyword",
        title="no noise keyword",
        settings=("method.generator.seed_keywords=3", "method.generator.noise_keywords=0"),
    ),
    Cell(
        name="improver-sampled",
        title="improver at T=0.7 (paper)",
        settings=("method.improver.sampling.temperature=0.7",),
    ),
    Cell(
        name="improver-wins-only",
        title="improver on seeds where gold wins (paper)",
        settings=("method.improver.threshold=0.0",),
    ),
    Cell(
        name="resampled",
        title="second answer instead of the improver's",
        settings=("method.chosen=resampled",),
    ),
    Cell(
        name="rejected-draft",
        title="rejected: the draft, not the initial answer",
        settings=("method.rejected=draft",),
    ),
    Cell(name="last-window", title="no accumulation", settings=("method.window=last",)),
    Cell(name="no-gap", title="no score gap needed", settings=("method.filter.threshold=-1e9",)),
    Cell(name="wide-gap", title="score gap of at least 2", settings=("method.filter.threshold=2.0",)),
    Cell(
        name="pure-simpo",
        title="SimPO alone, a fifth of the rate, beta searched (paper)",
        settings=(
            "loss.nll_weight=0.0",
            "training.learning_rate=2e-4",
            "method.search.betas=[2, 4, 6, 8, 10, 12]",
            "method.search.iterations=first",
        ),
    ),
)
SEED_SIZE = (
    Cell(name="synpo-1020", title="SynPO, 1,020 seeds", settings=WHOLE_SEED),
    Cell(
        name="seed-sft-1020",
        title="Seed SFT, 1,020 seeds",
        settings=("method.kind=seed_sft", *WHOLE_SEED),
        common=ONCE,
    ),
)
SYNPO_GROUPS = (
    Group(name="methods", cells=METHODS, against="synpo", figure="iterations"),
    Group(name="ablations", cells=ABLATIONS, against="synpo", figure="last"),
    Group(name="seed size", cells=SEED_SIZE, against="synpo"),
)
