"""One comparison of every method: same start, evaluation and judge; little, sloppy and plenty of gold.

Each method stands at that rate of a small grid which is best on the validation prompts in the first run seed, by gold;
the other run seeds have that rate alone. Where a method writes prompts, all write the same number from the same
keywords and keep as many pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.laboratory_cells import ROUNDS, Cell, Group
from benchmarks.laboratory_rows import SHOWN, VALIDATION, Rows, drawn, gains, last_gains
from benchmarks.laboratory_self_play import DPO, LEARNED, SAMPLING
from benchmarks.laboratory_tables import contender_anchor, line, points, share, significant

FROM_SEED = (ROUNDS, LEARNED, "run.drift={prompts=0}", "benchmark.greedy=false")
"""Of every method; what the comparison does not read is not measured."""
WRITTEN = (*FROM_SEED, "method.prompts=1500", "method.pairs=500")
"""Of methods that write prompts: as in the first groups."""
FAST = (3e-4, 1e-3)
"""Rates with the demo's optimiser and loss."""
SLOW = (3e-5, 1e-4, 3e-4)
"""Rates with those of self-play: RMSprop, DPO on sums."""
SLOWEST = (3e-6, 1e-5, 3e-5)
"""Of Hint-δ, which at 1e-4 collapses until no pair is left."""
PLAY = 'training={{optimizer="rmsprop", learning_rate={rate:g}, batch_size=8, epochs={passes}, schedule="linear"}}'
IMPROVING = (
    ', target="gold", template="{prompt} now improve the answer : {answer}", '
    "refining={temperature=0.0, max_tokens=40}, improver_training={learning_rate=3e-4, batch_size=8, epochs=3}"
)
"""As SynPO's improver."""
HINTING = ", least_characters=1, hinting={temperature=1.0, max_tokens=40}"
UNMEASURED = ", distributions={pairs=0, prompts=0}"
"""How far SPIN and DNPO move, which the comparison does not read."""
PREFER = "training={{learning_rate={rate:g}, batch_size=32, epochs=1}}"
SEED_PREFER = "training={{learning_rate={rate:g}, batch_size=8, epochs={passes}}}"
SEED_SFT = "seed_models.sft={{learning_rate={rate:g}, batch_size=8, epochs={passes}}}"
PASSES: Mapping[str, int] = {"scarce": 24, "sloppy": 6, "full": 3}
"""Passes over the seed that Seed SFT makes, the best of a few (docs/log.md), and whatever else trains on the seed."""
CHOOSING = 100
"""Validation prompts by which a rate is chosen."""
FIRST_SEED = 0
"""Run seed in which it is."""
BASELINE = "seed-sft"
"""What needs no preference training: what every method is compared with."""
GOLDS: Mapping[str, tuple[int, float | None]] = {"scarce": (20, None), "sloppy": (300, 0.3), "full": (0, None)}
"""Name → seeds (0 = all 1,020), share of sloppy answers among them."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A method of the comparison."""

    title: str
    settings: tuple[str, ...]
    common: tuple[str, ...] = WRITTEN
    rates: tuple[float, ...] = FAST
    rated: str = PREFER
    """The setting that takes the rate, and the passes."""


def _written(kind: str, *settings: str) -> tuple[str, ...]:
    return f"method.kind={kind}", "method.prompts_from=generator", *settings


def _seeded(kind: str, more: str = "") -> str:
    return f'method={{kind="{kind}", {SAMPLING}{more}}}'


COLLAPSE = "run.max_cut=1"
"""A policy whose answers never end is a result, too."""
PLAYING = {"common": (*FROM_SEED, DPO, COLLAPSE), "rates": SLOW, "rated": PLAY}
DPO_WRITTEN = {"common": (*WRITTEN, COLLAPSE), "rates": SLOW, "rated": PLAY.replace("{passes}", "1")}
CONTENDERS: Mapping[str, Contender] = {
    "synpo": Contender(title="SynPO", settings=()),
    "sampling-ranking": Contender(title="Sampling-Ranking", settings=("method.kind=sampling_ranking",)),
    "self-rewarding": Contender(
        title="Self-Rewarding (own likelihood)", settings=("method.kind=self_rewarding", "method.judge=likelihood")
    ),
    "temporal-self-rewarding": Contender(
        title="Temporal Self-Rewarding (own likelihood)",
        settings=_written("temporal_self_rewarding", "method.judge=likelihood"),
    ),
    "cream": Contender(
        title="CREAM", settings=_written("cream", 'loss={kind="consistency_dpo", beta=0.1}'), **DPO_WRITTEN
    ),
    "iterative-dpo": Contender(
        title="Iterative DPO (n = 5)", settings=_written("iterative_dpo", "method.samples=5", DPO), **DPO_WRITTEN
    ),
    "spin": Contender(title="SPIN", settings=(_seeded("spin", f', window="last"{UNMEASURED}'),), **PLAYING),
    "dnpo": Contender(
        title="DNPO",
        settings=(
            _seeded("dnpo", UNMEASURED),
            'loss={kind="noise_preference", beta=0.1, noise={scale="auto"}}',
        ),
        **PLAYING,
    ),
    "sgpo": Contender(title="SGPO", settings=(_seeded("sgpo", IMPROVING),), **PLAYING),
    "hint-delta": Contender(
        title="Hint-δ", settings=(_seeded("hint_delta", HINTING),), **{**PLAYING, "rates": SLOWEST}
    ),
    "delta-learning": Contender(title="Delta learning", settings=(_seeded("delta_learning"),), **PLAYING),
    "self-distillation": Contender(
        title="Self-distillation",
        settings=('method={kind="self_distillation", sampling={temperature=1.0, max_tokens=40}}',),
        common=FROM_SEED,
        rated=SEED_SFT,
    ),
    "seed-po": Contender(title="Seed PO", settings=("method.kind=seed_po",), common=FROM_SEED, rated=SEED_PREFER),
    "seed-sft-po": Contender(
        title="Seed SFT, then PO", settings=("method.kind=seed_sft_po",), common=FROM_SEED, rated=SEED_PREFER
    ),
    "seed-sft": Contender(title="Seed SFT", settings=("method.kind=seed_sft",), common=FROM_SEED, rated=SEED_SFT),
}


def _cells(name: str, contender: Contender, gold: str) -> tuple[Cell, ...]:
    seeds, sloppy = GOLDS[gold]
    best = SEED_SFT.format(rate=1e-3, passes=PASSES[gold])
    return tuple(
        Cell(
            name=f"{gold}-{name}-{rate:g}",
            title=f"{contender.title}, {gold} gold, {rate:g}",
            common=(*contender.common, f"seed.limit={0 if sloppy else seeds}", best),
            settings=(*contender.settings, contender.rated.format(rate=rate, passes=PASSES[gold])),
            sloppy=sloppy,
            validation=CHOOSING,
        )
        for rate in contender.rates
    )


COMPARED: Mapping[tuple[str, str], tuple[Cell, ...]] = {
    (gold, name): _cells(name, contender, gold) for gold in GOLDS for name, contender in CONTENDERS.items()
}
"""(gold, contender) → its cells, one for each rate."""
COMPARED_GROUPS = tuple(
    Group(
        name=f"compared, {gold} gold",
        cells=tuple(cell for (at, _), cells in COMPARED.items() if at == gold for cell in cells),
        against=f"{gold}-{BASELINE}-{FAST[1]:g}",
    )
    for gold in GOLDS
)
FIGURE = "laboratory-compared-{gold}.svg"


def best(rows: Rows, gold: str, name: str) -> str | None:
    """The contender's cell that the first run seed ends best with on the validation prompts; None without all of them.

    Of equals the first.
    """
    ends: dict[str, float] = {}
    for cell in COMPARED[gold, name]:
        if FIRST_SEED not in rows.by_seed(cell.name, 1):
            return None
        ends[cell.name] = rows.by_seed(cell.name, rows.last(cell.name), VALIDATION)[FIRST_SEED]
    return max(ends, key=lambda cell: ends[cell])


def passed_over(rows: Rows) -> set[str]:
    """Cells with a rate that another has beaten in the first run seed: no other seed is run of them."""
    chosen = {at: best(rows, *at) for at in COMPARED}
    return {cell.name for at, cells in COMPARED.items() for cell in cells if chosen[at] not in (None, cell.name)}


def compared(rows: Rows, *, stopped: bool = False) -> str:
    """Each contender at its best rate: the last iteration, and its gain over Seed SFT, by gold.

    Brackets are Student's 95 % intervals over run seeds. Bold gains stay significant at 5 % with Holm's correction over
    the whole table. `stopped`: in place of the last iteration that which is best on the validation prompts.
    """
    told = [
        f"| | {' | '.join(f'{gold} gold | over Seed SFT' for gold in GOLDS)} |",
        "|---" * (1 + 2 * len(GOLDS)) + "|",
    ]
    chosen = {at: cell for at in COMPARED if (cell := best(rows, *at))}
    shares = {at: (_stopped if stopped else _last)(rows, cell) for at, cell in chosen.items()}
    each = {at: gains(found, shares.get((at[0], BASELINE), {})) for at, found in shares.items() if at[1] != BASELINE}
    bold = significant(each)
    for name, contender in CONTENDERS.items():
        columns: list[str] = []
        for gold in GOLDS:
            found = shares.get((gold, name), {})
            columns.append(share(list(found.values()), True) if found else "")
            columns.append(points(each.get((gold, name), ()), bold=(gold, name) in bold))
        told.append(line(contender.title, contender_anchor(name), columns))
    return "\n".join(told) if chosen else ""


def over_others(rows: Rows, name: str) -> str:
    """A contender's last iteration over every other's, both at their best rates, by gold, in points.

    Bold gains stay significant at 5 % with Holm's correction over the whole table.
    """
    chosen = {at: cell for at in COMPARED if (cell := best(rows, *at))}
    each = {
        (gold, other): last_gains(rows, chosen[gold, name], cell)
        for (gold, other), cell in chosen.items()
        if other != name and (gold, name) in chosen
    }
    bold = significant(each)
    told = [f"| {CONTENDERS[name].title} over | {' | '.join(f'{gold} gold' for gold in GOLDS)} |"]
    told.append("|---" * (1 + len(GOLDS)) + "|")
    for other in (other for other in CONTENDERS if other != name):
        columns = [points(each.get((gold, other), ()), bold=(gold, other) in bold) for gold in GOLDS]
        told.append(line(CONTENDERS[other].title, contender_anchor(other), columns))
    return "\n".join(told) if each else ""


def rates(rows: Rows) -> str:
    """Each contender's rates, the chosen one bold, by gold."""
    told = [f"| | {' | '.join(f'{gold} gold' for gold in GOLDS)} |", "|---" * (1 + len(GOLDS)) + "|"]
    for name, contender in CONTENDERS.items():
        columns: list[str] = []
        for gold in GOLDS:
            chosen = best(rows, gold, name)
            of = zip(contender.rates, COMPARED[gold, name], strict=True)
            columns.append(" ".join(f"**{rate:g}**" if cell.name == chosen else f"{rate:g}" for rate, cell in of))
        told.append(line(contender.title, contender_anchor(name), columns))
    return "\n".join(told)


def ends(rows: Rows, gold: str) -> dict[str, tuple[float, float, float]]:
    """Title → the last iteration's share with its interval at the best rate, the best first: for the figure."""
    found = {
        CONTENDERS[name].title: drawn(list(_last(rows, cell).values()))
        for name in CONTENDERS
        if (cell := best(rows, gold, name))
    }
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def _last(rows: Rows, cell: str) -> dict[int, float]:
    """Run seed → share after the last iteration."""
    return rows.by_seed(cell, rows.last(cell))


def _stopped(rows: Rows, cell: str) -> dict[int, float]:
    """Run seed → share after the iteration that is best on the validation prompts; of equals the first."""
    rounds = range(rows.last(cell) + 1)
    seen, share_of = ({t: rows.by_seed(cell, t, measure) for t in rounds} for measure in (VALIDATION, SHOWN))
    return {seed: share_of[max(rounds, key=lambda t: seen[t][seed])][seed] for seed in share_of[0]}
