"""Families that rearrange the words of the prompt: reverse, join, pick, replace, repeat, capitals."""

from random import Random

from selfboost.demo.task import Family, Task, Wordings, exact, other_than, swap_two, words_of
from selfboost.demo.vocabulary import AMOUNTS, CAPITAL_OF, JOINERS, NOUNS, ORDINALS

_REVERSE = Wordings(("reverse the words : {words}", "write backwards : {words}"))
_JOIN = Wordings(("join with {joiner} : {words}", "put {joiner} between the words : {words}"))
_PICK = Wordings(("pick the {ordinal} word : {words}", "what is the {ordinal} word of : {words} ?"))
_REPLACE = Wordings(("replace {old} with {new} : {words}", "use {new} for {old} : {words}"))
_REPEAT = Wordings(("say {first} {often} times and {second} {seldom} times .",))
_CAPITALS = Wordings(("write in capitals : {words}", "use capitals for the words : {words}"))
_CAPITAL_NOUNS = tuple(CAPITAL_OF)


def _some_nouns(rng: Random, least: int, most: int) -> str:
    return " ".join(rng.sample(NOUNS, rng.randint(least, most)))


def _one_wrong(rng: Random, words: list[str]) -> list[str]:
    spot = rng.randrange(len(words))
    return [other_than(rng, NOUNS, *words) if index == spot else word for index, word in enumerate(words)]


def _ask_reverse(rng: Random) -> str:
    return _REVERSE.render(rng, words=_some_nouns(rng, 3, 4))


def _read_reverse(prompt: str) -> Task | None:
    slots = _REVERSE.match(prompt)
    words = words_of(slots["words"], NOUNS, range(2, 6)) if slots else None
    if words is None:
        return None
    backwards = words[::-1]
    return exact(
        "reverse",
        " ".join(backwards),
        lambda rng, _answer: " ".join(rng.choice((swap_two, _one_wrong))(rng, backwards)),
        lambda _answer: " ".join(words),
    )


def _ask_join(rng: Random) -> str:
    return _JOIN.render(rng, joiner=rng.choice(JOINERS), words=_some_nouns(rng, 3, 4))


def _read_join(prompt: str) -> Task | None:
    slots = _JOIN.match(prompt)
    words = words_of(slots["words"], NOUNS, range(2, 6)) if slots else None
    if slots is None or words is None or slots["joiner"] not in JOINERS:
        return None
    joiner = f" {slots['joiner']} "

    def slip(rng: Random, _answer: str) -> str:
        if rng.random() < 0.3:
            return f" {other_than(rng, JOINERS, slots['joiner'])} ".join(words)
        return joiner.join(rng.choice((swap_two, _one_wrong))(rng, words))

    return exact("join", joiner.join(words), slip, lambda _answer: " , ".join(words))


def _ask_pick(rng: Random) -> str:
    return _PICK.render(rng, ordinal=rng.choice(tuple(ORDINALS)), words=_some_nouns(rng, 4, 5))


def _read_pick(prompt: str) -> Task | None:
    slots = _PICK.match(prompt)
    words = words_of(slots["words"], NOUNS, range(2, 6)) if slots else None
    if slots is None or words is None or ORDINALS.get(slots["ordinal"], len(words)) >= len(words):
        return None
    right = words[ORDINALS[slots["ordinal"]]]
    answer_form = "the {} word is {}".format
    wrong = tuple(word for word in words if word != right)
    return exact(
        "pick",
        answer_form(slots["ordinal"], right),
        lambda rng, _answer: answer_form(slots["ordinal"], rng.choice(wrong)),
        lambda _answer: right,
    )


def _ask_replace(rng: Random) -> str:
    words = _some_nouns(rng, 3, 4)
    old = rng.choice(words.split())
    return _REPLACE.render(rng, old=old, new=other_than(rng, NOUNS, *words.split()), words=words)


def _read_replace(prompt: str) -> Task | None:
    slots = _REPLACE.match(prompt)
    words = words_of(slots["words"], NOUNS, range(2, 6)) if slots else None
    if slots is None or words is None or slots["old"] not in words or slots["new"] not in NOUNS:
        return None
    old, new = slots["old"], slots["new"]
    if old == new:
        return None
    right = [new if word == old else word for word in words]

    def slip(rng: Random, _answer: str) -> str:
        if rng.random() < 0.4:
            return " ".join(swap_two(rng, right))
        spot = rng.choice([index for index, word in enumerate(words) if word != old])
        return " ".join([*words[:spot], new, *words[spot + 1 :]])

    return exact("replace", " ".join(right), slip, lambda _answer: " ".join(words))


def _ask_repeat(rng: Random) -> str:
    first, second = rng.sample(NOUNS, 2)
    often, seldom = rng.choice(tuple(AMOUNTS)), rng.choice(tuple(AMOUNTS))
    return _REPEAT.render(rng, first=first, second=second, often=often, seldom=seldom)


def _read_repeat(prompt: str) -> Task | None:
    slots = _REPEAT.match(prompt)
    if slots is None or not {slots["first"], slots["second"]} <= set(NOUNS):
        return None
    if not {slots["often"], slots["seldom"]} <= set(AMOUNTS):
        return None
    first, second = slots["first"], slots["second"]
    counts = AMOUNTS[slots["often"]], AMOUNTS[slots["seldom"]]

    def slip(rng: Random, _answer: str) -> str:
        wrong = rng.choice([(a, b) for a in range(1, 6) for b in range(1, 6) if (a, b) != counts])
        return " ".join([first] * wrong[0] + [second] * wrong[1])

    right = " ".join([first] * counts[0] + [second] * counts[1])
    return exact("repeat", right, slip, lambda _answer: f"{first} {second}")


def _ask_capitals(rng: Random) -> str:
    return _CAPITALS.render(rng, words=" ".join(rng.sample(_CAPITAL_NOUNS, rng.randint(2, 3))))


def _read_capitals(prompt: str) -> Task | None:
    slots = _CAPITALS.match(prompt)
    words = words_of(slots["words"], _CAPITAL_NOUNS, range(1, 5)) if slots else None
    if words is None:
        return None
    capitals = [CAPITAL_OF[word] for word in words]

    def slip(rng: Random, _answer: str) -> str:
        spot = rng.randrange(len(words))
        wrong = rng.choice((words[spot], CAPITAL_OF[other_than(rng, _CAPITAL_NOUNS, *words)]))
        return " ".join([*capitals[:spot], wrong, *capitals[spot + 1 :]])

    return exact("capitals", " ".join(capitals), slip, lambda _answer: " ".join(words))


FAMILIES = (
    Family(name="reverse", ask=_ask_reverse, read=_read_reverse),
    Family(name="join", ask=_ask_join, read=_read_join),
    Family(name="pick", ask=_ask_pick, read=_read_pick),
    Family(name="replace", ask=_ask_replace, read=_read_replace),
    Family(name="repeat", ask=_ask_repeat, read=_read_repeat),
    Family(name="capitals", ask=_ask_capitals, read=_read_capitals),
)
