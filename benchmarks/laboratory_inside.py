"""What happened inside an iteration: how answers were labelled, judged by the world's own checks, and how far it moved.

Read from the stages and notes that are there; what a method has no such thing for is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from benchmarks.laboratory_pairs import pair_quality, read_stages

from selfboost import store
from selfboost.demo.checks import check
from selfboost.methods.parts.distributions import Movement
from selfboost.methods.parts.labelling import Labels, Scores
from selfboost.records import Answer, Pair
from selfboost.results import Iteration

END = 0.1
"""Share of a training's logged steps, the last ones, whose mean is its end."""
HISTORY = ("chosen_logp", "rejected_logp", "noise_sigma", "noise_shift")
FACTS = ("noise_scale", "noise_start")


def inside(root: Path, entry: Iteration) -> dict[str, float]:
    """Measure → value, of one entry of a finished run's iterations; shares are 0 to 1, log-probabilities in nats."""
    t = entry.iteration
    quality = {name: value for name, value in vars(pair_quality(root, t)).items() if value is not None}
    return {**quality, **_labels(root, t), **_noted(entry), **_trained(root, t)}


def _labels(root: Path, t: int) -> dict[str, float]:
    """Where a pair sets the policy's own answer beside a gold one: which of them passes, and which was chosen."""
    own = read_stages(root, [f"iteration-{t}/own-answers"], Answer)
    pairs = [pair for pair in read_stages(root, [f"iteration-{t}/policy"], Pair) if pair.iteration == t]
    duels = [pair for pair in pairs if {pair.chosen.model, pair.rejected.model} > {"given"}]
    if not own or not duels:
        return {}
    flipped = [pair for pair in duels if pair.rejected.model == "given"]
    better = [pair for pair in duels if _passes(pair, gold=False) and not _passes(pair, gold=True)]
    worse = [pair for pair in duels if _passes(pair, gold=True) and not _passes(pair, gold=False)]
    return {
        "generated beats gold": len(better) / len(own),
        "gold beats generated": len(worse) / len(own),
        "generated chosen": len(flipped) / len(duels),
        "useful flips": _share(flipped, better, len(duels)),
        "harmful flips": _share(flipped, worse, len(duels)),
    }


def _passes(pair: Pair, *, gold: bool) -> bool:
    answer = pair.chosen if (pair.chosen.model == "given") is gold else pair.rejected
    return bool(check(pair.prompt.text, answer.text))


def _share(flipped: Sequence[Pair], among: Sequence[Pair], count: int) -> float:
    wanted = {pair.id for pair in among}
    return sum(pair.id in wanted for pair in flipped) / count


def _noted(entry: Iteration) -> dict[str, float]:
    """What the method noted, by the names of the rows."""
    labels, scores, moved = entry.note(Labels), entry.note(Scores) or Scores(), entry.note(Movement) or Movement()
    found = {
        "labels changed": labels and labels.changed,
        "generated beats gold, by the judge": scores.generated_beats_gold,
        "ties, by the judge": scores.ties,
        "kl to previous": moved.kl_to_previous and moved.kl_to_previous.value,
        "kl per token": moved.kl_per_token and moved.kl_per_token.value,
        "moved": moved.moved and moved.moved.value,
        "moved, low": moved.moved and moved.moved.low,
        "moved by chance": moved.moved_by_chance and moved.moved_by_chance.high,
        "gold shift": moved.gold_shift and moved.gold_shift.value,
        "reward margin": moved.reward_margin,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _trained(root: Path, t: int) -> dict[str, float]:
    """The end of the policy's training, and what it said before its first step."""
    card = store.read_card(root / store.STAGES / f"iteration-{t}" / "policy")
    if card is None:
        return {}
    history = cast("list[dict[str, float]]", card.notes.get("history", []))
    last = history[-max(1, round(END * len(history))) :]
    found = {name: sum(row[name] for row in last) / len(last) for name in HISTORY if last and name in last[-1]}
    facts = cast("dict[str, float]", card.notes.get("facts", {}))
    return found | {name: facts[name] for name in FACTS if name in facts}
