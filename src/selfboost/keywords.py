"""Keywords of texts, and a pool of keyword lists that new prompts are written from (SynPO, arXiv 2410.06961, 2.1).

The paper names no extractor: this one keeps content words by a compact rule (no stop-words, no likely names, no
numbers unless asked). Left out: parts of speech, languages other than English.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TextIO, cast

WORD = re.compile(r"([^\W\d_]+(?:-[^\W\d_]+)*)(?:'([^\W\d_]+))?|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")
"""A word and what follows its apostrophe, or a number."""
SHORTEST = 3
"""Letters of the shortest keyword."""
NOISE_TRIES = 100
"""Texts that are looked at for noise keywords."""
WORDS_OF_NO_CONTENT = """
    a about above across after again against all along already also although always am among amongst an and any
    anything are around as at away be became because become becomes been before being below between both but by
    came can cannot come comes could despite did do does doing down during each else etc even ever every except few
    for from further get gets give given gives go goes got had has have having he her here hers herself him himself
    his how however i if in including instead into is it its itself just know later least let like likely made make
    makes making many may me might more most mostly much must my myself need never no nor not now of off often on
    once one only or other others otherwise ought our ours ourselves out over own part per perhaps please put quite
    rather really said same say says see seem seems shall she should since so some someone something sometimes soon
    still such take than that the their theirs them themselves then there therefore these they thing things this
    those though through throughout thus to together too toward towards two under unless unlike until up upon us
    use used uses using usually very was way we well went were what whatever when whenever where whereas whether
    which while who whole whom whose why will with within without would yes yet you your yours yourself
"""
STOP_WORDS = frozenset(WORDS_OF_NO_CONTENT.split())


def extract_keywords(text: str, *, keep_names: bool = False, keep_numbers: bool = False) -> list[str]:
    """The keywords of a text, lower-cased, each once, in order of appearance.

    A word that is capitalised inside a sentence, and nowhere lower-case, is taken for a name. Words in capitals
    throughout are none. What follows an apostrophe is left out.
    """
    text = text.replace("\u2019", "'")
    names = frozenset[str]() if keep_names else _names(text)
    found: dict[str, None] = {}
    for match in WORD.finditer(text):
        word, ending = match[1], (match[2] or "").lower()
        if word is None:
            if keep_numbers:
                found[match[0]] = None
            continue
        low = word.lower()
        if len(low) >= SHORTEST and ending != "t" and low not in STOP_WORDS and low not in names:
            found[low] = None
    return list(found)


def _names(text: str) -> frozenset[str]:
    words = [match for match in WORD.finditer(text) if match[1]]
    capitalised = {
        match[1].lower()
        for match in words
        if match[1][0].isupper() and not match[1].isupper() and not _opens_sentence(text, match.start())
    }
    return frozenset(capitalised - {match[1] for match in words})


def _opens_sentence(text: str, start: int) -> bool:
    before = text[max(0, start - 40) : start].rstrip(" \t\"'([\u201c\u2018*-#>")
    return not before or before[-1] in ".!?:\n"


def training_list(
    keywords: Sequence[Sequence[str]], i: int, *, own: int = 2, noise: int = 1, shuffle: random.Random
) -> list[str]:
    """Keywords of text i and noise keywords, each of another text, mixed (arXiv 2410.06961, 2.1).

    The noise teaches a generator that a keyword may be left out. There is less of it where no other text has any.
    """
    chosen = shuffle.sample(list(keywords[i]), own)
    taken = set(keywords[i])
    for _ in range(NOISE_TRIES):
        if len(chosen) == own + noise:
            break
        others = [word for word in keywords[shuffle.randrange(len(keywords))] if word not in taken]
        if others:
            chosen.append(shuffle.choice(others))
            taken.add(chosen[-1])
    return shuffle.sample(chosen, len(chosen))


@dataclass(frozen=True, kw_only=True)
class KeywordPool:
    """Keyword candidates by paragraph, fixed for a run."""

    paragraphs: Sequence[Sequence[str]]
    """Keywords of each paragraph that has enough of them."""
    words: int = 3
    """Keywords per list, all of one paragraph."""

    @property
    def capacity(self) -> int:
        """Different lists there are at most."""
        return sum(math.comb(len(keywords), self.words) for keywords in self.paragraphs)

    def draw(self, count: int, seed: int) -> list[tuple[str, ...]]:
        """`count` lists, no two of the same words; the first k of a longer draw are the same.

        Paragraph by paragraph in a random order, again from the first when all have given a list.

        Raises:
            ValueError: the pool cannot give so many different lists.
        """
        shuffled = random.Random(seed)
        order = shuffled.sample(range(len(self.paragraphs)), len(self.paragraphs))
        drawn: dict[frozenset[str], tuple[str, ...]] = {}
        barren = 0
        while len(drawn) < count and barren < 20:
            before = len(drawn)
            for i in order:
                words = shuffled.sample(list(self.paragraphs[i]), self.words)
                drawn.setdefault(frozenset(words), tuple(words))
                if len(drawn) == count:
                    break
            barren = barren + 1 if len(drawn) == before else 0
        if len(drawn) < count:
            raise ValueError(
                f"{len(self.paragraphs)} paragraphs give only {len(drawn)} different lists of {self.words} keywords, "
                f"{count} are wanted; give more text (method.generator.paragraphs) or fewer prompts"
            )
        return list(drawn.values())


def keyword_pool(
    texts: Iterable[str], *, words: int = 3, keep_names: bool = False, keep_numbers: bool = False
) -> KeywordPool:
    """A pool from paragraphs; those with fewer than `words` keywords are left out.

    Raises:
        ValueError: none has enough.
    """
    found = (extract_keywords(text, keep_names=keep_names, keep_numbers=keep_numbers) for text in texts)
    enough = [keywords for keywords in found if len(keywords) >= words]
    if not enough:
        raise ValueError(f"no text has {words} keywords to draw; give longer texts (method.generator.paragraphs)")
    return KeywordPool(paragraphs=enough, words=words)


def read_paragraphs(path: Path) -> Iterator[str]:
    """Paragraphs of a file or folder: JSONL with a `text` column (gzip too), or plain text split at blank lines.

    Raises:
        ValueError: there is no such file, or a line is wrong.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder of paragraphs")
    for file in sorted(p for p in path.iterdir() if p.is_file() and p.name[0] != ".") if path.is_dir() else [path]:
        try:
            with _opened(file) as lines:
                yield from _jsonl_texts(file, lines) if ".jsonl" in file.name else _plain_texts(lines)
        except UnicodeDecodeError as error:
            raise ValueError(f"{file}: is not UTF-8 text") from error
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{file}: cannot be read ({error})") from error


def _opened(file: Path) -> TextIO:
    if file.suffix == ".gz":
        return cast(TextIO, gzip.open(file, "rt", encoding="utf-8-sig"))
    return file.open(encoding="utf-8-sig")


def _plain_texts(lines: Iterable[str]) -> Iterator[str]:
    for blank, paragraph in groupby(lines, key=lambda line: not line.strip()):
        if not blank:
            yield "".join(paragraph)


def _jsonl_texts(file: Path, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError, RecursionError):
            text = None
        if not isinstance(text, str):
            raise ValueError(f"{file} line {number}: must be an object with a text in the column text")
        yield text
