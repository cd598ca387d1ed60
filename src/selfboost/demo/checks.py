"""The strict verdict on an answer, read from the prompt's own text, so that prompts a model made up are graded too."""

from selfboost.demo.families import facts, knowledge, sentences, sequences
from selfboost.demo.task import Family, Task

FAMILIES: tuple[Family, ...] = sentences.FAMILIES + knowledge.FAMILIES + sequences.FAMILIES + facts.FAMILIES


def read(prompt: str) -> Task | None:
    """The task that a prompt asks for; None where the text is no valid instruction of the demo world."""
    text = " ".join(prompt.split())
    tasks = (family.read(text) for family in FAMILIES)
    return next((task for task in tasks if task is not None), None)


def check(prompt: str, answer: str) -> bool | None:
    """Whether the answer is right; None where the prompt is no valid instruction of the demo world."""
    task = read(prompt)
    return None if task is None else task.accepts(" ".join(answer.split()))
