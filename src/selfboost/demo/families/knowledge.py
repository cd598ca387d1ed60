"""Families that need to know the category of each noun: list, odd one out, belongs, count, keep."""

from random import Random

from selfboost.demo.task import Family, Task, Wordings, exact, other_than, swap_two, words_of
from selfboost.demo.vocabulary import AMOUNTS, CATEGORIES, CATEGORY_OF, NOUNS

_LIST = Wordings(("list {amount} {category} but not {noun} .", "name {amount} {category} other than {noun} ."))
_ODD = Wordings(("which is the odd one : {words} ?", "find the word that does not belong : {words}"))
_BELONGS = Wordings(("does {noun} belong with {first} or {second} ?",))
_COUNT = Wordings(("how many {category} are in : {words} ?", "count the {category} : {words}"))
_KEEP = Wordings(("keep only the {category} : {words}", "which are {category} : {words} ?"))
_CATEGORY_NAMES = tuple(CATEGORIES)


def _mixed_words(rng: Random, category: str, inside: int, outside: int) -> str:
    strangers = [noun for noun in NOUNS if CATEGORY_OF[noun] != category]
    words = rng.sample(CATEGORIES[category], inside) + rng.sample(strangers, outside)
    rng.shuffle(words)
    return " ".join(words)


def _ask_list(rng: Random) -> str:
    category = rng.choice(_CATEGORY_NAMES)
    noun = rng.choice(CATEGORIES[category])
    return _LIST.render(rng, amount=rng.choice(tuple(AMOUNTS)), category=category, noun=noun)


def _read_list(prompt: str) -> Task | None:
    slots = _LIST.match(prompt)
    if slots is None or slots["amount"] not in AMOUNTS or slots["noun"] not in CATEGORIES.get(slots["category"], ()):
        return None
    size, excluded, members = AMOUNTS[slots["amount"]], slots["noun"], CATEGORIES[slots["category"]]

    def accepts(answer: str) -> bool:
        words = words_of(answer, members, range(size, size + 1), " , ")
        return words is not None and len(set(words)) == size and excluded not in words

    def gold(_rng: Random) -> str:
        return " , ".join([member for member in members if member != excluded][:size])

    def slip(rng: Random, answer: str) -> str:
        words = answer.split(" , ")
        stranger = rng.choice([noun for noun in NOUNS if noun not in members])
        words[rng.randrange(size)] = rng.choice((excluded, stranger, stranger))
        return " , ".join(words)

    return Task(family="list", accepts=accepts, gold=gold, slip=slip, habit=lambda answer: answer.rsplit(" , ", 1)[0])


def _ask_odd(rng: Random) -> str:
    return _ODD.render(rng, words=_mixed_words(rng, rng.choice(_CATEGORY_NAMES), 3, 1))


def _read_odd(prompt: str) -> Task | None:
    slots = _ODD.match(prompt)
    words = words_of(slots["words"], NOUNS, range(4, 5)) if slots else None
    if words is None or len(set(words)) < len(words):
        return None
    kinds = [CATEGORY_OF[word] for word in words]
    alone = [word for word, kind in zip(words, kinds, strict=True) if kinds.count(kind) == 1]
    if len(alone) != 1:
        return None
    wrong = tuple(word for word in words if word != alone[0])
    return exact("odd", alone[0], lambda rng, _answer: rng.choice(wrong), lambda _answer: wrong[-1])


def _ask_belongs(rng: Random) -> str:
    noun = rng.choice(NOUNS)
    pair = [CATEGORY_OF[noun], other_than(rng, _CATEGORY_NAMES, CATEGORY_OF[noun])]
    rng.shuffle(pair)
    return _BELONGS.render(rng, noun=noun, first=pair[0], second=pair[1])


def _read_belongs(prompt: str) -> Task | None:
    slots = _BELONGS.match(prompt)
    if slots is None or slots["noun"] not in NOUNS or slots["first"] == slots["second"]:
        return None
    noun, pair = slots["noun"], (slots["first"], slots["second"])
    right = CATEGORY_OF[noun]
    if right not in pair or not set(pair) <= set(CATEGORIES):
        return None
    wrong = pair[0] if pair[1] == right else pair[1]
    return exact(
        "belongs",
        f"{noun} belongs with {right}",
        lambda _rng, _answer: f"{noun} belongs with {wrong}",
        lambda _answer: right,
    )


def _ask_count(rng: Random) -> str:
    category = rng.choice(_CATEGORY_NAMES)
    return _COUNT.render(
        rng, category=category, words=_mixed_words(rng, category, rng.randint(1, 3), rng.randint(1, 2))
    )


def _read_count(prompt: str) -> Task | None:
    slots = _COUNT.match(prompt)
    words = words_of(slots["words"], NOUNS, range(2, 6)) if slots else None
    if slots is None or words is None or slots["category"] not in CATEGORIES:
        return None
    category, total = slots["category"], len(words)
    number = sum(CATEGORY_OF[word] == category for word in words)
    choices = tuple(str(value) for value in range(1, 6))
    return exact(
        "count",
        f"{number} {category}",
        lambda rng, _answer: f"{other_than(rng, choices, str(number))} {category}",
        lambda _answer: f"{total} {category}",
    )


def _ask_keep(rng: Random) -> str:
    category = rng.choice(_CATEGORY_NAMES)
    return _KEEP.render(rng, category=category, words=_mixed_words(rng, category, 2, rng.randint(1, 2)))


def _read_keep(prompt: str) -> Task | None:
    slots = _KEEP.match(prompt)
    words = words_of(slots["words"], NOUNS, range(3, 6)) if slots else None
    if slots is None or words is None or slots["category"] not in CATEGORIES:
        return None
    kept = [word for word in words if CATEGORY_OF[word] == slots["category"]]
    dropped = [word for word in words if word not in kept]
    if not kept or not dropped:
        return None

    def slip(rng: Random, _answer: str) -> str:
        wrong = list(kept)
        wrong[rng.randrange(len(kept))] = rng.choice(dropped)
        return " , ".join(rng.choice((wrong, swap_two(rng, kept))))

    return exact("keep", " , ".join(kept), slip, lambda answer: answer.replace(" , ", " "))


FAMILIES = (
    Family(name="list", ask=_ask_list, read=_read_list),
    Family(name="odd", ask=_ask_odd, read=_read_odd),
    Family(name="belongs", ask=_ask_belongs, read=_read_belongs),
    Family(name="count", ask=_ask_count, read=_read_count),
    Family(name="keep", ask=_ask_keep, read=_read_keep),
)
