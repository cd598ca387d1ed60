"""Families answered by a sentence: use two words, end with a given word, say where a word is."""

import re
from random import Random

from selfboost.demo.task import Family, Task, Wordings, other_than
from selfboost.demo.vocabulary import COLORS, ENDINGS, LINKS, NOUNS, SPOTS

_SENTENCE = re.compile(rf"the (\w+) ({'|'.join(LINKS)}) the (\w+) (\S+)")
_COLORED = re.compile(rf"the (\w+) (\w+) ({'|'.join(LINKS)}) the (\w+) \.")

_USE = Wordings(("write a sentence with {first} and {second} .", "put {first} and {second} in one sentence ."))
_END = Wordings(("write about {noun} and end with {ending} .", "say where {noun} is and end with the word {ending} ."))
_DESCRIBE = Wordings(("describe a {color} {noun} in a sentence .", "write a sentence about a {color} {noun} ."))


def _replace_noun(rng: Random, answer: str) -> str:
    words = answer.split()
    spot = rng.choice([index for index, word in enumerate(words) if word in NOUNS])
    words[spot] = other_than(rng, NOUNS, *words)
    return " ".join(words)


def _without_last(answer: str) -> str:
    return answer.rsplit(" ", 1)[0]


def _ask_use(rng: Random) -> str:
    first, second = rng.sample(NOUNS, 2)
    return _USE.render(rng, first=first, second=second)


def _read_use(prompt: str) -> Task | None:
    slots = _USE.match(prompt)
    if slots is None or not set(slots.values()) <= set(NOUNS) or slots["first"] == slots["second"]:
        return None
    wanted = [slots["first"], slots["second"]]

    def accepts(answer: str) -> bool:
        found = _SENTENCE.fullmatch(answer)
        return bool(found) and sorted([found[1], found[3]]) == sorted(wanted) and found[4] == "."

    def gold(rng: Random) -> str:
        return f"the {wanted[0]} {rng.choice(LINKS)} the {wanted[1]} ."

    return Task(family="use", accepts=accepts, gold=gold, slip=_replace_noun, habit=_without_last)


def _ask_end(rng: Random) -> str:
    return _END.render(rng, noun=rng.choice(NOUNS), ending=rng.choice(ENDINGS))


def _read_end(prompt: str) -> Task | None:
    slots = _END.match(prompt)
    if slots is None or slots["noun"] not in NOUNS or slots["ending"] not in ENDINGS:
        return None
    noun, ending = slots["noun"], slots["ending"]

    def accepts(answer: str) -> bool:
        found = _SENTENCE.fullmatch(answer)
        return bool(found) and found[1] == noun and found[3] in SPOTS and found[4] == ending

    def gold(rng: Random) -> str:
        return f"the {noun} {rng.choice(LINKS)} the {rng.choice(SPOTS)} {ending}"

    def slip(rng: Random, answer: str) -> str:
        if rng.random() < 0.5:
            return f"{_without_last(answer)} {other_than(rng, ENDINGS, ending)}"
        return answer.replace(f"the {noun} ", f"the {other_than(rng, NOUNS, noun)} ", 1)

    return Task(family="end", accepts=accepts, gold=gold, slip=slip, habit=lambda answer: f"{_without_last(answer)} .")


def _ask_describe(rng: Random) -> str:
    return _DESCRIBE.render(rng, color=rng.choice(COLORS), noun=rng.choice(NOUNS))


def _read_describe(prompt: str) -> Task | None:
    slots = _DESCRIBE.match(prompt)
    if slots is None or slots["noun"] not in NOUNS or slots["color"] not in COLORS:
        return None
    color, noun = slots["color"], slots["noun"]

    def accepts(answer: str) -> bool:
        found = _COLORED.fullmatch(answer)
        return bool(found) and (found[1], found[2]) == (color, noun) and found[4] in SPOTS

    def gold(rng: Random) -> str:
        return f"the {color} {noun} {rng.choice(LINKS)} the {rng.choice(SPOTS)} ."

    def slip(rng: Random, answer: str) -> str:
        if rng.random() < 0.5:
            return answer.replace(f" {color} ", f" {other_than(rng, COLORS, color)} ", 1)
        return answer.replace(f" {noun} ", f" {other_than(rng, NOUNS, noun)} ", 1)

    def habit(answer: str) -> str:
        return answer.replace(f"{color} ", "", 1)

    return Task(family="describe", accepts=accepts, gold=gold, slip=slip, habit=habit)


FAMILIES = (
    Family(name="use", ask=_ask_use, read=_read_use),
    Family(name="end", ask=_ask_end, read=_read_end),
    Family(name="describe", ask=_ask_describe, read=_read_describe),
)
