"""Which words of a text are likely names, judged by capitals and titles alone.

German capitalises its nouns: there only runs of capitalised words and what follows a title count, so that a lone first
or last name stays, and a noun in front of a name goes with it. Elsewhere places and firms count as names too. Left out:
names in all capitals, and a lone name that is only ever the first word of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from selfboost.prompts.stop_words import STOP_WORDS, Language

_TITLES: Mapping[Language, str] = {
    "en": "mr mrs ms miss dr prof professor rev sir lord president senator judge",
    "de": "herr herrn frau dr prof professor professorin kanzler kanzlerin präsident präsidentin",
    "fr": "mm mme mlle monsieur madame mademoiselle dr maître saint sainte",
    "es": "don doña señor señora señorita sr sra srta dr dra san santa",
    "it": "signor signora signorina sig dott dottor dottoressa prof san santa",
    "pt": "dom dona senhor senhora sr sra dr dra doutor doutora são santa",
    "nl": "heer mevrouw meneer mijnheer dhr mevr dr prof",
}
TITLES = {language: frozenset(titles.split()) for language, titles in _TITLES.items()}
"""A capitalised word after one of these is a name."""
PARTICLES = frozenset(("van", "von", "der", "den", "del", "della", "dos", "das", "ten", "ter", "bin", "ibn"))
"""Lower-case words that belong to the name after them, except in German, where they precede any noun."""
GAPS = frozenset((" ", ". ", "."))
"""Between two words of one name."""


def names_in(text: str, words: Sequence[re.Match[str]], language: Language) -> frozenset[str]:
    """The words that are likely names, lower-cased; `words` are the text's words in order.

    A match holds the word as group 1 and what follows its apostrophe as group 2: an English "Sandy's" that opens a
    sentence is a name. A word that also occurs in lower case is not a name, except for particles of names.
    """
    likely, particles = set[str](), set[str]()
    for i, match in enumerate(words):
        word = match[1]
        if not word[0].isupper() or word.isupper():
            continue
        before = words[i - 1][1] if i and text[words[i - 1].end() : match.start()] in GAPS else ""
        if before in PARTICLES and language != "de":
            particles.add(before)
        if before.lower() in TITLES[language] or _is_initial(before):
            named = True
        elif language == "de":
            named = _in_run(text, words, i, STOP_WORDS[language])
        else:
            inside = not _opens_sentence(text, match.start()) or (language == "en" and match[2] == "s")
            named = inside or _in_run(text, words, i, STOP_WORDS[language])
        if named:
            likely.add(word.lower())
    return frozenset(likely - {match[1] for match in words} | particles)


def _is_initial(word: str) -> bool:
    return len(word) == 1 and word.isupper()


def _in_run(text: str, words: Sequence[re.Match[str]], i: int, stop_words: frozenset[str]) -> bool:
    """Whether the word and one next to it are both capitalised and not stop-words."""

    def pair(first: int) -> bool:
        if not 0 <= first < len(words) - 1 or text[words[first].end() : words[first + 1].start()] != " ":
            return False
        both = words[first][1], words[first + 1][1]
        return all(word[0].isupper() and not word.isupper() and word.lower() not in stop_words for word in both)

    return pair(i - 1) or pair(i)


def _opens_sentence(text: str, start: int) -> bool:
    before = text[max(0, start - 40) : start].rstrip(" \t\"'([\u201c\u2018*-#>")
    return not before or before[-1] in ".!?:\n"
