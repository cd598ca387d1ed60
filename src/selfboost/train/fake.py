"""The trainer of tests: a fake model's skill moves with the share of good answers in its data.

Deterministic and bounded, without libraries: what it writes depends only on start, data, settings and seed. It does
not learn.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from selfboost.engines import Progress
from selfboost.engines.fake import FakeModel, FakeTokenizer, fake_logps, is_good, read_fake, write_fake
from selfboost.losses import Loss, noisy
from selfboost.records import Answer, Example, Model, Pair, content_hash
from selfboost.setting_types import decides
from selfboost.train import Sequenced, Training, TrainingResult
from selfboost.train.packs.batches import steps_of
from selfboost.train.packs.rows import Item, example_items, pair_items

WORTH: Mapping[bool | None, float] = {True: 1.0, None: 0.8, False: 0.0}
"""Worth of a good answer, of one that does not say (usually a person's), and of a poor one."""
RATE = 0.4
"""Share of the distance to what its data can teach that one training covers."""
REWARD = "reward model"
"""How the lineage of a reward model ends."""


@dataclass(frozen=True, kw_only=True)
class Fake:
    """Moves a fake model's skill with the quality of its data, for tests."""

    seconds_per_step: Annotated[float, Field(ge=0, le=60)] = 0.0
    """Seconds per step, so that a test can interrupt a training."""

    def finetune(
        self,
        start: Model,
        examples: Sequence[Example],
        training: Training,
        *,
        into: Path,
        seed: int,
        progress: Progress,
    ) -> TrainingResult:
        """Skill moves towards the answers' mean worth."""
        items = example_items(examples, training.max_length, training.max_prompt_length)
        model = read_fake(start.path)
        quality = sum(WORTH[_goodness(example.answer)] for example in examples) / len(examples)
        sentence = _sentence("fine-tuned on", items, training, seed, examples)
        after = _trained(model, RATE * (quality - model.skill), sentence)
        return self._train(items, training, progress, after, into, lambda share: {"loss": 2 - quality * share})

    def prefer(
        self,
        start: Model,
        reference: Model | None,
        pairs: Sequence[Pair],
        loss: Loss,
        training: Training,
        *,
        into: Path,
        seed: int,
        progress: Progress,
        cache: Path | None = None,  # noqa: ARG002 - nothing here is worth keeping
    ) -> TrainingResult:
        """Skill rises with the mean worth of chosen over rejected answers, and falls where they are reversed.

        Raises:
            ValueError: the loss needs a reference model and none was given.
        """
        if loss.needs_reference and reference is None:
            raise ValueError(f"{type(loss).__name__} needs a reference model, and none was given")
        items = pair_items(pairs, training.max_length, training.max_prompt_length)
        model = read_fake(start.path)
        gaps = [WORTH[_goodness(pair.chosen)] - WORTH[_goodness(pair.rejected)] for pair in pairs]
        lead = sum(gaps) / len(gaps)
        change = RATE * lead * ((1 - model.skill) if lead > 0 else model.skill)
        sentence = _sentence(
            "preferred on", items, training, seed, [pairs, _text(loss), reference and reference.fingerprint]
        )
        after = _trained(model, change, f"{sentence}, {REWARD}" if loss.head == "reward" else sentence)
        right = sum((gap > 0) + (gap == 0) / 2 for gap in gaps) / len(gaps)

        def row(share: float) -> dict[str, float]:
            margin = lead * share
            found = {"loss": math.log1p(math.exp(-margin)), "margin": margin, "accuracy": right}
            likely = {"chosen_logp": -0.5 + 0.1 * margin, "rejected_logp": -0.5 - 0.1 * margin}
            return found if loss.head == "reward" else found | likely | noise

        noise, facts = _noise(loss)
        return replace(self._train(items, training, progress, after, into, row), facts=facts)

    def logps(self, model: Model, sequences: Sequence[Sequenced]) -> Iterator[tuple[float, ...]]:
        """The fake engine's own log-probabilities: a skilled model finds good answers likelier."""
        opened = read_fake(model.path)
        return (fake_logps(opened, s.prompt_ids, s.token_ids) for s in sequences)

    def rewards(self, model: Model, sequences: Sequence[Sequenced]) -> Iterator[float]:
        """Roughly plus or minus the reward model's skill, with a little noise.

        Raises:
            ValueError: the model is not a reward model.
        """
        opened = read_fake(model.path)
        if not (opened.lineage and opened.lineage[-1].endswith(REWARD)):
            raise ValueError(f"{model.path!r} is not a reward model: it was trained as {opened.lineage or 'nothing'}")
        return (_reward(opened, sequence) for sequence in sequences)

    def _train(
        self,
        items: Sequence[Item],
        training: Training,
        progress: Progress,
        after: FakeModel,
        into: Path,
        row: Callable[[float], Mapping[str, float]],
    ) -> TrainingResult:
        """Report steps as a real training would, then write the checkpoint."""
        epochs = training.stop_after or training.epochs
        steps = steps_of(len(items), training.batch_size, epochs)
        tokens = round(sum(item.tokens for item in items) * epochs)
        history: list[dict[str, float]] = []
        for step in range(1, steps + 1):
            time.sleep(self.seconds_per_step)
            rates = {"learning_rate": training.learning_rate, "gradient_norm": 1.0, "tokens_per_second": tokens / steps}
            history.append({"step": step, **row(step / steps), **rates})
            progress(step, steps, tokens * step // steps)
        write_fake(into, after)
        cut = sum(item.cuts for item in items)
        return TrainingResult(steps=steps, tokens=tokens, truncated=cut, history=history)


def _goodness(answer: Answer) -> bool | None:
    return is_good(answer.prompt.text, answer.text)


def _sentence(verb: str, items: Sequence[Item], training: Training, seed: int, data: object) -> str:
    digest = content_hash([data, training, seed])[:12]
    return f"{verb} {len(items)} items ({sum(item.tokens for item in items)} tokens, {digest})"


def _trained(model: FakeModel, change: float, sentence: str) -> FakeModel:
    root = model.name.partition(".")[0]
    skill = round(min(0.98, max(0.02, model.skill + change)), 6)
    return FakeModel(name=f"{root}.{len(model.lineage) + 1}", skill=skill, lineage=(*model.lineage, sentence))


def _text(loss: Any) -> str:
    """A loss and those of its settings that results depend on."""
    decisive = [f for f in fields(loss) if decides(f, getattr(loss, f.name))]
    return f"{type(loss).__qualname__}({', '.join(f'{f.name}={getattr(loss, f.name)!r}' for f in decisive)})"


def _noise(loss: Loss) -> tuple[dict[str, float], dict[str, float]]:
    """Columns of the history and facts of a training with noise, which does nothing here."""
    with_noise = noisy(loss)
    if with_noise is None:
        return {}, {}
    noise = with_noise.noise
    scale = 1.0 if noise.scale == "auto" else noise.scale
    tokens = dict.fromkeys(("noise_sigma", "noise_sigma_first", "noise_sigma_middle", "noise_sigma_last"), scale)
    facts = {"noise_scale": scale, "noise_start": -noise.start}
    return {"noise_loss": -math.log(2.0) + scale, "noise_shift": -scale, **tokens}, facts


def _reward(model: FakeModel, sequence: Sequenced) -> float:
    quality = is_good("asked", FakeTokenizer().text(sequence.token_ids))
    side = {True: 1.0, None: 0.3, False: -1.0}[quality]
    drawn = hashlib.sha256(repr((sequence.prompt_ids, sequence.token_ids)).encode()).digest()[0] / 255
    return round(side * model.skill + 0.2 * (drawn - 0.5), 6)
