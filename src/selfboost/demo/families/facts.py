"""Families about numbers and short texts: sort, compare, answer from two sentences."""

from random import Random

from selfboost.demo.task import Family, Task, Wordings, exact, other_than, swap_two, words_of
from selfboost.demo.vocabulary import COLORS, NAMES, NOUNS, NUMBERS

_SORT = Wordings(("sort from {low} to {high} : {numbers}", "put in order from {low} to {high} : {numbers}"))
_LARGER = Wordings(
    ("which number is larger : {first} or {second} ?", "compare {first} and {second} : which is larger ?")
)
_SMALLER = Wordings(
    ("which number is smaller : {first} or {second} ?", "compare {first} and {second} : which is smaller ?")
)
_WHO = Wordings(("{text} who has the {noun} ?",))
_COLOR = Wordings(("{text} what color is the {noun} ?",))
_WHAT = Wordings(("{text} what does {name} have ?",))
_TEXT = Wordings(("{name1} has a {color1} {noun1} . {name2} has a {color2} {noun2} .",))


def _ask_sort(rng: Random) -> str:
    low, high = rng.choice((("low", "high"), ("high", "low")))
    return _SORT.render(rng, low=low, high=high, numbers=" ".join(rng.sample(NUMBERS, rng.randint(3, 4))))


def _read_sort(prompt: str) -> Task | None:
    slots = _SORT.match(prompt)
    numbers = words_of(slots["numbers"], NUMBERS, range(2, 6)) if slots else None
    if slots is None or numbers is None or {slots["low"], slots["high"]} != {"low", "high"}:
        return None
    right = sorted(numbers, key=int, reverse=slots["low"] == "high")
    return exact(
        "sort",
        " , ".join(right),
        lambda rng, _answer: " , ".join(swap_two(rng, right)),
        lambda _answer: " , ".join(right[:-1]),
    )


def _ask_compare(rng: Random) -> str:
    first, second = rng.sample(NUMBERS, 2)
    return rng.choice((_LARGER, _SMALLER)).render(rng, first=first, second=second)


def _read_compare(prompt: str) -> Task | None:
    larger, smaller = _LARGER.match(prompt), _SMALLER.match(prompt)
    slots = larger or smaller
    if slots is None or not set(slots.values()) <= set(NUMBERS) or slots["first"] == slots["second"]:
        return None
    low, high = sorted(slots.values(), key=int)
    right, wrong = (f"{high} is larger than {low}", f"{low} is larger than {high}")
    if larger is None:
        right, wrong = (f"{low} is smaller than {high}", f"{high} is smaller than {low}")
    return exact("compare", right, lambda _rng, _answer: wrong, lambda answer: answer.split()[0])


def _ask_text(rng: Random) -> str:
    names, colors, nouns = rng.sample(NAMES, 2), rng.sample(COLORS, 2), rng.sample(NOUNS, 2)
    slots = {
        f"{kind}{i + 1}": words[i]
        for kind, words in zip(("name", "color", "noun"), (names, colors, nouns), strict=True)
        for i in (0, 1)
    }
    text, asked = _TEXT.render(rng, **slots), rng.randrange(2)
    wordings = rng.choice((_WHO, _COLOR, _WHAT))
    return wordings.render(rng, text=text, noun=nouns[asked], name=names[asked])


def _read_text(prompt: str) -> Task | None:
    for wordings in (_WHO, _COLOR, _WHAT):
        slots = wordings.match(prompt)
        facts = _TEXT.match(slots["text"]) if slots else None
        if slots is not None and facts is not None:
            return _question(wordings, slots.get("noun") or slots["name"], facts)
    return None


def _question(wordings: Wordings, asked: str, facts: dict[str, str]) -> Task | None:
    owners = [(facts[f"name{i}"], facts[f"color{i}"], facts[f"noun{i}"]) for i in (1, 2)]
    for words, allowed in zip(zip(*owners, strict=True), (NAMES, COLORS, NOUNS), strict=True):
        if not set(words) <= set(allowed):
            return None
    position = 0 if wordings is _WHAT else 2
    matching = [owner for owner in owners if owner[position] == asked]
    if len(matching) != 1:
        return None
    name, color, noun = matching[0]
    other_name, other_color, other_noun = owners[0] if matching[0] is owners[1] else owners[1]
    if wordings is _WHO:
        return exact(
            "text", f"{name} has the {noun}", lambda _rng, _answer: f"{other_name} has the {noun}", lambda _answer: name
        )
    if wordings is _COLOR:
        return exact(
            "text",
            f"the {noun} is {color}",
            lambda _rng, _answer: f"the {noun} is {other_color}",
            lambda _answer: color,
        )

    def slip(rng: Random, _answer: str) -> str:
        return rng.choice(
            (f"a {other_color} {noun}", f"a {color} {other_noun}", f"a {other_than(rng, COLORS, color)} {noun}")
        )

    return exact("text", f"a {color} {noun}", slip, lambda _answer: f"a {noun}")


FAMILIES = (
    Family(name="sort", ask=_ask_sort, read=_read_sort),
    Family(name="compare", ask=_ask_compare, read=_read_compare),
    Family(name="text", ask=_ask_text, read=_read_text),
)
