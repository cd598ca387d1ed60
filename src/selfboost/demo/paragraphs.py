"""Short paragraphs of the demo world, the public text from which keywords for new prompts are drawn."""

from random import Random

from selfboost.demo.stream import fresh_task, keywords_of
from selfboost.demo.vocabulary import AMOUNTS, CATEGORIES, COLORS, LINKS, NAMES, NOUNS, TASK_WORDS

_SENTENCES = (
    "{name} has a {color} {noun} .",
    "the {noun} {link} the {other} .",
    "{name} likes {category} but not the {noun} .",
    "in the morning {name} has {amount} {category} .",
    "the teacher asks {name} to {task} the {category} .",
    "the children {task} and {other_task} the words .",
    "some day the {color} {noun} will stand near {name} .",
)


def paragraph(rng: Random, reserved: frozenset[str]) -> str:
    """A sentence about an ordinary prompt's words between two sentences of a story."""
    prompt, _ = fresh_task(rng, reserved)
    told = f"the teacher asks for : {' '.join(keywords_of(prompt))} ."
    return f"{_sentence(rng)} {told} {_sentence(rng)}"


def _sentence(rng: Random) -> str:
    noun, other = rng.sample(NOUNS, 2)
    task, other_task = rng.sample(TASK_WORDS, 2)
    return rng.choice(_SENTENCES).format(
        name=rng.choice(NAMES),
        color=rng.choice(COLORS),
        noun=noun,
        other=other,
        link=rng.choice(LINKS),
        category=rng.choice(tuple(CATEGORIES)),
        amount=rng.choice(tuple(AMOUNTS)),
        task=task,
        other_task=other_task,
    )
