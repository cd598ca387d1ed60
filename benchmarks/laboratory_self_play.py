"""Self-play in the laboratory: SPIN, DNPO, what lies between and beside them, from a seed with sloppy golds in it.

One optimiser, learning rate and number of passes for all of them (found on validation prompts, docs/log.md), the same
seed, evaluation and judge. Then three axes: how good the gold answers are, how good the judge, how strong the noise.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.laboratory_cells import ITERATIONS, Cell, Group

GOLDS = 300
"""Seeds; a share of their golds is spoilt (`laboratory_golds`)."""
SLOPPY = 0.3
VALIDATION = 34
"""Nothing is chosen by the validation prompts here (their settings were, by all 306): a few, to save the time."""
SHARED = (
    f"run.iterations={ITERATIONS}",
    "seed.limit=0",
    'training={optimizer="rmsprop", learning_rate=3e-5, batch_size=16, epochs=3, schedule="linear"}',
    "seed_models.sft={learning_rate=1e-3, batch_size=16, epochs=6}",
)
SAMPLING = "sampling={temperature=0.7, max_tokens=40}"
PLAYING = f'method={{kind="spin", window="last", {SAMPLING}, distributions={{max_tokens=40}}}}'
RANKING = (
    'method={kind="sampling_ranking", prompts_from="seed", start="previous", reference="previous", window="last", '
    f"pairs={GOLDS}, {SAMPLING}}}"
)
"""The best over the worst of five own answers to the seed's prompts."""
DPO = 'loss={kind="dpo", beta=0.1}'
LEARNED = 'scorer={kind="implicit", policy="seed_sft", reference="initial"}'
"""A judge that knows the same golds and nothing else."""
PLAIN = ("method.kind=dnpo", "method.noise=none")
"""DNPO without noise: SPIN with labels by the judge."""
GOLD_CHOSEN = ("method.kind=dnpo", "method.labels=gold")
"""DNPO without labelling: SPIN with noise."""
STRENGTHS = (1, 4, 16)
"""|β·m| before the first step; where the paper trained (7B, c = 1) it was 15.7."""


def judged(accuracy: int) -> str:
    """The judge that is right about so many of a hundred answers."""
    return f'scorer={{kind="checks", function="benchmarks.laboratory_judges:right_in_{accuracy}"}}'


def noisy(start: float, penalty_weight: float = 1.0, more: str = "") -> str:
    """The loss with noise of which c is chosen so that |β·m| is `start` at first; the penalty's weight is α."""
    noise = f'noise={{scale="auto", start={start}, penalty_weight={penalty_weight}{more}}}'
    return f'loss={{kind="noise_preference", beta=0.1, {noise}}}'


def cell(name: str, title: str, *settings: str) -> Cell:
    """A cell with DPO's loss and the judge that is right about ninety of a hundred, unless its settings say else."""
    return Cell(
        name=name,
        title=title,
        common=(*SHARED, DPO, judged(90)),
        sloppy=SLOPPY,
        validation=VALIDATION,
        settings=settings,
    )


SPIN = cell("spin", "SPIN", PLAYING)
LABELLED = cell("spin-labelling", "SPIN + labelling", PLAYING, *PLAIN)
NOISY = cell("spin-noise", "SPIN + noise", PLAYING, *GOLD_CHOSEN, noisy(1))
DNPO = cell("dnpo", "DNPO", PLAYING, "method.kind=dnpo", noisy(1))
SEED_SFT = cell("seed-sft-sloppy-30", "Seed SFT, its own best setting", "method.kind=seed_sft")
PROMPTED = ("method.prompts=450", "method.more_prompts=0", "method.pairs=200")
"""Prompts of their own, and at most about as many pairs an iteration as self-play has, whose equal answers drop out."""
SELF_PLAY = (
    SPIN,
    cell("spin-two-windows", "SPIN, pairs of two iterations (paper)", PLAYING, "method.window=last_two"),
    LABELLED,
    NOISY,
    DNPO,
    cell("dnpo-fixed-noise", "DNPO, fixed noise", PLAYING, "method.kind=dnpo", "method.noise=fixed", noisy(1)),
    cell("iterative-dpo", "iterative DPO (n = 5, judged)", RANKING),
    cell("sampling-ranking-300", "Sampling-Ranking (n = 5, judged)", "method.kind=sampling_ranking", *PROMPTED),
    cell("synpo-300", "SynPO (judged)", *PROMPTED),
    cell("sft-longer", "SFT, k times the passes", 'method={kind="benchmarks.laboratory_methods:LongerSFT"}'),
    SEED_SFT,
)


def spoilt(base: Cell, line: str, percent: int, at: int) -> Cell:
    """A cell of the main group with another share of sloppy golds."""
    name = base.name if percent == round(100 * SLOPPY) else f"{line.lower().replace(' ', '-')}-sloppy-{percent}"
    title = f"{line}, {percent} % sloppy"
    against = "spin" if percent == round(100 * SLOPPY) else f"spin-sloppy-{percent}"
    return replace(base, name=name, title=title, sloppy=percent / 100, against=against, line=line, at=at)


def by_judge(base: Cell, accuracy: int, at: int) -> Cell:
    """A cell of the main group with another judge."""
    name = base.name if accuracy == 90 else f"{base.name}-judge-{accuracy}"
    title = f"{base.title}, judge right in {accuracy} %"
    return replace(base, name=name, title=title, settings=(*base.settings, judged(accuracy)), line=base.title, at=at)


def by_noise(base: Cell, start: int, penalty_weight: int, at: int, against: str) -> Cell:
    """A cell of the main group with another noise."""
    same = (start, penalty_weight) == (1, 1)
    name = base.name if same else f"{base.name}-{start}-penalty-{penalty_weight}"
    line = f"{base.title}, α = {penalty_weight}"
    settings = (*base.settings, noisy(start, penalty_weight))
    title = f"{line}, β·m = −{start} at first"
    return replace(base, name=name, title=title, settings=settings, line=line, at=at, against=against)


QUALITIES = (0, 30, 60)
ACCURACIES = (60, 75, 90, 100)
LINES = ((SPIN, "SPIN"), (DNPO, "DNPO"), (SEED_SFT, "Seed SFT"))
GOLD_QUALITY = tuple(spoilt(base, line, share, at) for base, line in LINES for at, share in enumerate(QUALITIES))
JUDGES = (
    replace(SPIN, line="SPIN"),
    *(by_judge(base, accuracy, at) for base in (LABELLED, DNPO) for at, accuracy in enumerate(ACCURACIES)),
    replace(
        LABELLED,
        name="spin-labelling-ties-gold",
        title="SPIN + labelling, 90 %, ties to gold",
        settings=(*LABELLED.settings, "method.labelling.ties=gold"),
    ),
    *(
        replace(base, name=f"{base.name}-learned", title=f"{base.title}, learned judge", line=line, settings=settings)
        for base, line in ((LABELLED, "SPIN + labelling, learned judge"), (DNPO, "DNPO, learned judge"))
        for settings in [(*base.settings, LEARNED)]
    ),
)
NOISES = (
    replace(SPIN, title="SPIN (no noise)", line="SPIN (no noise)"),
    *(by_noise(NOISY, start, 1, at, "spin") for at, start in enumerate(STRENGTHS)),
    replace(LABELLED, title="SPIN + labelling (no noise)", line="SPIN + labelling (no noise)", against="spin"),
    *(by_noise(DNPO, start, alpha, at, "spin-labelling") for alpha in (1, 0) for at, start in enumerate(STRENGTHS)),
    replace(
        DNPO,
        name="dnpo-fast-noise",
        title="DNPO, noise learning a hundred times faster",
        settings=(*DNPO.settings, noisy(1, 1, ", learning_rate=3e-3")),
        against="spin-labelling",
    ),
)
STEEP = ("loss.beta=3.0",)
"""With so large a beta a pair's weight in the gradient does fade as it is learned."""
FADING = (
    replace(
        LABELLED, name="spin-labelling-steep", title="SPIN + labelling, β = 3", settings=(*LABELLED.settings, *STEEP)
    ),
    *(
        replace(
            DNPO,
            name=f"dnpo-steep-{start}",
            title=f"DNPO, β = 3, β·m = −{start} at first",
            settings=(*DNPO.settings, noisy(start), *STEEP),
        )
        for start in (1, 4)
    ),
)
SELF_PLAY_GROUPS = (
    Group(name="self-play", cells=SELF_PLAY, against="spin", figure="iterations"),
    Group(
        name="gold quality",
        cells=GOLD_QUALITY,
        against="spin",
        figure="axis",
        axis="sloppy golds",
        ticks=tuple(f"{share} %" for share in QUALITIES),
    ),
    Group(
        name="judge accuracy",
        cells=JUDGES,
        against="spin",
        figure="axis",
        axis="verdicts about single answers that are right",
        ticks=tuple(f"{accuracy} %" for accuracy in ACCURACIES),
    ),
    Group(
        name="noise strength",
        cells=NOISES,
        against="spin",
        figure="axis",
        axis="β·m before the first step",
        ticks=tuple(f"−{start}" for start in STRENGTHS),
    ),
    Group(name="fading loss", cells=FADING, against="spin-labelling-steep", figure="iterations"),
)
