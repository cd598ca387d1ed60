"""Short paragraphs of the demo world, the public text that keywords for new prompts are drawn from."""

from random import Random

from selfboost.demo.stream import fresh_task, keywords_of
from selfboost.demo.vocabulary import AMOUNTS, CATEGORIES, COLORS, NAMES, NOUNS, TASK_WORDS

# Only function words around the drawn ones, so that each keyword is a word that prompts use.
_SENTENCES = (
    "{name} has a {color} {noun} .",
    "there is a {noun} with the {other} .",
    "they have {amount} {category} .",
    "we have more {category} than {other_category} .",
    "now they {task} the {noun} .",
    "there are {category} about the {noun} .",
)


def paragraph(rng: Random, reserved: frozenset[str]) -> str:
    """A sentence with the keywords of an ordinary prompt, and one about something else."""
    prompt, _ = fresh_task(rng, reserved)
    sentence = f"here we have {' and '.join(keywords_of(prompt))} ."
    return f"{sentence} {_sentence(rng)}" if rng.random() < 0.5 else f"{_sentence(rng)} {sentence}"


def _sentence(rng: Random) -> str:
    noun, other = rng.sample(NOUNS, 2)
    category, other_category = rng.sample(tuple(CATEGORIES), 2)
    return rng.choice(_SENTENCES).format(
        name=rng.choice(NAMES),
        color=rng.choice(COLORS),
        noun=noun,
        other=other,
        category=category,
        other_category=other_category,
        amount=rng.choice(tuple(AMOUNTS)),
        task=rng.choice(TASK_WORDS),
    )
