"""Every word of the demo world. A text is words joined by single spaces; punctuation marks are words too."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CATEGORIES: dict[str, tuple[str, ...]] = {
    "animals": _words(
        "fox dog cat horse cow goat sheep bear wolf mouse rabbit deer tiger lion camel monkey pig zebra snake frog"
    ),
    "fruits": _words(
        "apple pear plum peach lemon lime mango melon grape cherry banana fig kiwi papaya berry coconut "
        "date apricot olive guava"
    ),
    "tools": _words(
        "hammer saw drill wrench pliers shovel rake axe chisel ladder knife scissors file clamp needle "
        "broom brush spade crowbar lever"
    ),
    "birds": _words(
        "robin eagle owl duck goose swan crow hawk parrot pigeon falcon heron stork finch sparrow gull "
        "turkey raven magpie penguin"
    ),
    "clothes": _words(
        "coat hat shirt scarf glove sock boot shoe belt skirt dress jacket sweater vest cap tie robe sandal apron hood"
    ),
    "vehicles": _words(
        "car bus train truck bicycle boat ship plane tram taxi van canoe ferry scooter tractor sled "
        "rocket wagon kayak yacht"
    ),
    "places": _words(
        "river lake forest hill beach garden bridge market school castle harbor island valley village "
        "tower park farm station museum library"
    ),
    "foods": _words(
        "bread cheese rice soup cake pasta butter honey pie salad pizza egg noodle toast waffle cookie "
        "sauce yogurt bacon pudding"
    ),
}
NOUNS: tuple[str, ...] = tuple(noun for nouns in CATEGORIES.values() for noun in nouns)
CATEGORY_OF: dict[str, str] = {noun: category for category, nouns in CATEGORIES.items() for noun in nouns}
CAPITAL_OF: dict[str, str] = {
    noun: noun.upper() for category in ("animals", "fruits", "tools") for noun in CATEGORIES[category]
}

NAMES: tuple[str, ...] = _words("tom anna ben clara david emma frank grace henry julia kate leo maria nora peter rosa")
COLORS: tuple[str, ...] = _words("red blue green yellow black white brown pink purple grey")
NUMBERS: tuple[str, ...] = tuple(str(value) for value in range(41))
AMOUNTS: dict[str, int] = {"two": 2, "three": 3, "four": 4}
ORDINALS: dict[str, int] = {"first": 0, "second": 1, "third": 2, "fourth": 3}
LINKS: tuple[str, ...] = ("is near", "is behind", "is under")
SPOTS: tuple[str, ...] = ("house", "door", "road", "tree")
"""Where a thing may be, in sentences that choose a place themselves."""
ENDINGS: tuple[str, ...] = ("done", "stop", "over", "finished", "today", "tonight", "again", "here")
JOINERS: tuple[str, ...] = ("and", "or", "then", "plus")

# Words of instructions that carry meaning (a keyword may be one of them), then words that carry none.
TASK_WORDS: tuple[str, ...] = _words(
    "write sentence list name odd find belong reverse backwards sort low high numbers order color capitals count "
    "compare number larger smaller end word join words pick keep replace times belongs first second third fourth "
    "describe"
)
STOP_WORDS: tuple[str, ...] = _words(
    "a the is are in with and or to from of not but other than for which how does this that these on only by then we "
    "between as out at has have use now there they here two put say what about one many more who where again over"
)
MARKS: tuple[str, ...] = (".", ",", "?", ":")

QUESTION_TAGS: tuple[str, str] = ("<question>", "</question>")
SOLUTION_TAGS: tuple[str, str] = ("<solution>", "</solution>")
PAD, UNKNOWN, USER, ASSISTANT, END = "<pad>", "<unk>", "<user>", "<assistant>", "<end>"
SPECIAL_WORDS: tuple[str, ...] = (PAD, UNKNOWN, USER, ASSISTANT, END)
