"""The strict verdict on an answer, derived from the prompt's text, so that model-written prompts are graded too."""

from selfboost.demo.families import facts, knowledge, sentences, sequences
from selfboost.demo.task import Family, Task
from selfboost.trust.check_functions import check_function

FAMILIES: tuple[Family, ...] = sentences.FAMILIES + knowledge.FAMILIES + sequences.FAMILIES + facts.FAMILIES


def read(prompt: str) -> Task | None:
    """The task of a prompt; None if the text is not a valid instruction of the demo world."""
    text = " ".join(prompt.split())
    tasks = (family.read(text) for family in FAMILIES)
    return next((task for task in tasks if task is not None), None)


@check_function
def check(prompt: str, answer: str) -> bool | None:
    """Whether the answer is right; None if the prompt is not a valid instruction of the demo world."""
    task = read(prompt)
    return None if task is None else task.accepts(" ".join(answer.split()))
