"""Ten iterations: which method goes on improving, levels off or collapses, and which guard holds it.

SynPO and Sampling-Ranking start every training from the initial model, with the pairs of all iterations, and write new
prompts for each. Iterative DPO goes on from the newest policy, on the seed's prompts or on fresh ones. Its judge is
mostly right, or learned from the same seed and nothing else, as that of SynPO and Sampling-Ranking is. What is shown of
an iteration is the policy that stands after it, so where a gate refused a candidate it is the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from benchmarks.laboratory_cells import COMMON, Cell, Group
from benchmarks.laboratory_rows import Rows, gains
from benchmarks.laboratory_self_play import DPO, GOLDS, LEARNED, RANKING, SHARED, SLOPPY, judged
from benchmarks.laboratory_tables import line, points, share, significant

TEN, EARLY = 10, 4
"""Iterations, and the one that the last is compared with: as far as the other groups go."""
SHOWN = (1, 2, 4, 6, 8, 10)
LONG = f"run.iterations={TEN}"
CHOOSING = 100
"""Validation prompts, by which a gate decides."""
BOUND = 0.25
"""Nats per token: about what SynPO reaches in ten iterations."""
FRESH = (
    "method.kind=sampling_ranking",
    "method.start=previous",
    "method.reference=previous",
    "method.window=last",
    "method.more_prompts=0",
    "method.prompts=450",
    f"method.pairs={GOLDS}",
)
"""Iterative DPO on prompts of its own in each iteration, in place of the seed's."""


def _cells(
    name: str, title: str, base: Cell, guards: Mapping[str, tuple[str, ...]], validation: int = CHOOSING
) -> tuple[Cell, ...]:
    return tuple(
        Cell(
            name=f"ten-{name}{'-' if guard else ''}{guard.replace(' ', '-')}",
            title=f"{title}{', ' if guard else ''}{guard}",
            common=(*base.common, LONG),
            settings=(*base.settings, *settings),
            sloppy=base.sloppy,
            validation=validation,
        )
        for guard, settings in guards.items()
    )


NONE: Mapping[str, tuple[str, ...]] = {"": ()}
GUARDS: Mapping[str, tuple[str, ...]] = {
    **NONE,
    "gate": ("gate.rule=not_worse",),
    "KL bound": (f"gate.largest_divergence={BOUND}",),
    "a fifth gold": ("method.gold_share=0.2",),
    "gate for gains": ("gate.rule=better",),
}
MORE_PROMPTS: Mapping[str, tuple[str, ...]] = {"gate of 306 prompts": GUARDS["gate"]}


def _bases(*settings: str) -> tuple[Cell, Cell]:
    """Iterative DPO as in self-play's group: with the judge who is right in 90 %, and with the learned one."""
    made = (Cell(name="", title="", common=(*SHARED, DPO, judge), sloppy=SLOPPY) for judge in (judged(90), LEARNED))
    one, other = (replace(base, settings=settings) for base in made)
    return one, other


JUDGED, LEARNED_JUDGE = _bases(RANKING)
JUDGED_FRESH, LEARNED_JUDGE_FRESH = _bases(*FRESH)
SYNPO = Cell(name="", title="", common=COMMON)
RANKED = replace(SYNPO, settings=("method.kind=sampling_ranking",))
TEN_CELLS = (
    *_cells("synpo", "SynPO", SYNPO, NONE),
    *_cells("iterative-dpo", "Iterative DPO, good judge", JUDGED, NONE),
    *_cells("iterative-dpo-fresh", "Iterative DPO, good judge, fresh prompts", JUDGED_FRESH, NONE),
    *_cells("learned-judge", "Iterative DPO, learned judge", LEARNED_JUDGE, NONE),
    *_cells("learned-judge-fresh", "Iterative DPO, learned judge, fresh prompts", LEARNED_JUDGE_FRESH, NONE),
    *_cells("ranking", "Sampling-Ranking", RANKED, GUARDS),
    *_cells("ranking", "Sampling-Ranking", RANKED, MORE_PROMPTS, validation=0),
)
TEN_GROUP = Group(name="ten iterations", cells=TEN_CELLS, against="ten-synpo", figure="iterations")


def ten(rows: Rows) -> str:
    """Pass rate of the policy that stands after an iteration, and what the iterations after the fourth added.

    Brackets are Student's 95 % intervals over run seeds; changes in bold are significant at 5 % with Holm's correction
    over the table.
    """
    cells = [cell for cell in TEN_CELLS if rows.by_seed(cell.name, TEN)]
    if not cells:
        return ""
    added = {cell.name: gains(rows.by_seed(cell.name, TEN), rows.by_seed(cell.name, EARLY)) for cell in cells}
    bold = significant(added)
    told = [
        f"| | {' | '.join(f'it. {t}' for t in SHOWN)} | it. {TEN} less it. {EARLY} |",
        "|---" * (len(SHOWN) + 2) + "|",
    ]
    for cell in cells:
        shares = [share(list(rows.by_seed(cell.name, t).values()), t == rows.last(cell.name)) for t in SHOWN]
        change = points(added[cell.name], bold=cell.name in bold)
        told.append(line(cell.title, cell.name, [*shares, change]))
    return "\n".join(told)
