"""The prompts of a run by origin: the seed, the method's own by iteration, plain self-instruct.

Read from the stages that were sampled from or trained on; of two stages with the same prompts only one is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfboost import store
from selfboost.prompts.self_instruct import STAGE, known_prompts, read_prompts
from selfboost.records import Answer, Prompt

WRITTEN = "prompts"
"""Origin of prompts that the method wrote."""
MEASURED = ("validation", "held_out")
"""Origins of prompts that models are measured on."""


@dataclass(frozen=True)
class Prompted:
    """A record of which only the prompt matters."""

    prompt: Prompt


@dataclass(frozen=True, kw_only=True)
class RunPrompts:
    """Prompts by group, without duplicate texts."""

    seed: Mapping[str, Prompt] = field(default_factory=dict[str, Prompt])
    """Seed prompts; if no stage holds them, the measured ones."""
    seed_name: str = "seed"
    iterations: Mapping[int, Mapping[str, Prompt]] = field(default_factory=dict[int, Mapping[str, Prompt]])
    """Prompts that the method wrote, by iteration; iterations without any are left out."""
    self_instruct: Mapping[str, Prompt] = field(default_factory=dict[str, Prompt])


def read_run_prompts(
    root: Path, cards: Sequence[store.StageCard], iterations: Mapping[int, Sequence[Prompt]]
) -> RunPrompts:
    """The prompts of a run; `iterations`: number → prompts of its pairs, used if no stage was sampled.

    Raises:
        ValueError: a record is damaged.
    """
    written = {number: {p.text: p for p in known if p.origin.source == WRITTEN} for number, known in iterations.items()}
    plain = next((card for card in cards if card.name == STAGE), None)
    stages = _stages(root, cards)
    if plain is None and WRITTEN not in stages and not any(written.values()):
        return RunPrompts()
    for card in stages.get(WRITTEN, ()):
        if (number := _iteration(card)) in written:
            written[number] |= _texts(root, [card], WRITTEN)
    seed = _texts(root, stages.get("seed", ()), "seed")
    measured = {text: p for name in MEASURED for text, p in _texts(root, stages.get(name, ()), name).items()}
    known = known_prompts((seed | measured).values())
    baseline = read_prompts(store.stored_rows(root, plain, Answer), known)[0] if plain is not None else []
    return RunPrompts(
        seed=seed or measured,
        seed_name="seed" if seed else "measured prompts",
        iterations={number: prompts for number, prompts in written.items() if prompts},
        self_instruct={prompt.text: prompt for prompt in baseline},
    )


def _stages(root: Path, cards: Sequence[store.StageCard]) -> dict[str, list[store.StageCard]]:
    """Stages by the origin of their first prompt; those of the same iteration and prompts once."""
    found: dict[str, list[store.StageCard]] = {}
    seen: set[tuple[int | None, str]] = set()
    for card in cards:
        key = _iteration(card), str(card.parts.get("prompts") or card.parts.get("examples") or card.name)
        if card.verb in ("sample", "finetune") and key not in seen:
            seen.add(key)
            first = next(iter(store.stored_rows(root, card, Prompted)), None)
            found.setdefault(first.prompt.origin.source if first is not None else "", []).append(card)
    return found


def _iteration(card: store.StageCard) -> int | None:
    place = card.name.partition("/")[0].removeprefix("iteration-")
    return int(place) if place.isdecimal() else None


def _texts(root: Path, cards: Sequence[store.StageCard], source: str) -> dict[str, Prompt]:
    """The prompts from one source in these stages, by text."""
    found = (row.prompt for card in cards for row in store.stored_rows(root, card, Prompted))
    return {prompt.text: prompt for prompt in found if prompt.origin.source == source}
