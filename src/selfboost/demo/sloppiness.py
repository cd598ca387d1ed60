"""How often, and how, the base model's training texts are wrong. Answers are wrong about half of the
time; improved answers are right more often, so that the base model edits better than it writes."""

from dataclasses import dataclass
from random import Random

from selfboost.demo.task import Task

HABITUAL_FAMILIES = frozenset(("end", "describe", "list", "keep", "join", "repeat", "capitals", "sort", "text"))
"""Families whose usual mistake is the habit; the others mostly slip."""


@dataclass(frozen=True, kw_only=True)
class Sloppiness:
    """Probabilities of a wrong answer, and of a rewrite that does not help."""

    habitual: tuple[float, float] = (0.42, 0.13)
    """Habit and slip in a family with a strong habit."""
    erratic: tuple[float, float] = (0.12, 0.33)
    """Habit and slip in the other families."""
    unimproved: float = 0.08
    """The rewrite repeats its draft."""
    careless: float = 0.05
    """The rewrite is a fresh sloppy answer."""

    def answer(self, rng: Random, task: Task, gold: str, share: float = 1.0) -> str:
        """The right answer or a corrupted one; `share` scales how often it is corrupted."""
        habit, slip = self.habitual if task.family in HABITUAL_FAMILIES else self.erratic
        draw = rng.random()
        if draw < habit * share:
            return task.habit(gold)
        return task.slip(rng, gold) if draw < (habit + slip) * share else gold

    def rewrite(self, rng: Random, task: Task, gold: str, draft: str, share: float = 1.0) -> str:
        """The improved version of a draft that the base model is trained on."""
        draw = rng.random()
        if draw < self.unimproved * share:
            return draft
        if draw < (self.unimproved + self.careless) * share:
            return self.answer(rng, task, gold, share)
        return gold
