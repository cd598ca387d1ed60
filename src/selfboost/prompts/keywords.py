"""Keywords of texts, and a pool of keyword lists that new prompts are written from (SynPO, arXiv 2410.06961, 2.1).

The paper names no extractor: this one keeps content words by a compact rule (no stop-words, no likely names, no
numbers unless asked), and optionally only those with the highest tf-idf. Left out: phrases, parts of speech
beyond English adverbs, word stems.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import math
import os
import random
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path

from selfboost.prompts.person_names import names_in
from selfboost.prompts.stop_words import NO_ADVERBS, STOP_WORDS, Language
from selfboost.records import content_hash
from selfboost.setting_types import Several, SeveralOrNone

WORD = re.compile(r"([^\W\d_]+(?:-[^\W\d_]+)*)(?:'([^\W\d_]+))?|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")
"""A word and what follows its apostrophe, or a number."""
ELIDING: frozenset[Language] = frozenset({"fr", "it"})
"""Languages in which an apostrophe ends a word: l'acqua."""
COUNTED = 50_000
"""Number of first texts whose words are counted for tf-idf."""
COMMON = 0.1
"""With tf-idf, a word in more than this share of the counted texts is not a keyword ..."""
FEWEST_COUNTED = 100
"""... if at least this many were counted."""
NOISE_TRIES = 100
"""Texts tried as sources of noise keywords."""
BARREN_ROUNDS = 20
"""Rounds over all paragraphs without a new list, after which the remaining lists are enumerated."""
SPLIT = 1000
"""A pool of so few paragraphs has each of them split once, not at every draw."""
POOL_VERSION = 1
"""Raise it when the same texts and rule give different keywords, so that stored pools are rebuilt."""


@dataclass(frozen=True, kw_only=True)
class KeywordRule:
    """Which words of a text are its keywords."""

    language: Language = "en"
    """The language whose stop-words and names are dropped."""
    keep_names: bool = False
    """Keep capitalised words, which are likely names (the paper drops names)."""
    keep_numbers: bool = False
    """Keep numbers as keywords."""
    most: SeveralOrNone = 0
    """Keep this many words per text, those with the highest tf-idf; 0 = all."""
    shortest: Several = 3
    """Fewest letters of a keyword."""


ALL_CONTENT_WORDS = KeywordRule()


def extract_keywords(text: str, rule: KeywordRule = ALL_CONTENT_WORDS) -> list[str]:
    """The content words of a text, lower-cased, each once, in order of appearance; ignores `most`.

    A word that is capitalised inside a sentence, and nowhere lower-case, is taken for a name (in German: see
    person_names). Words in all capitals are not names. What follows an apostrophe is left out, in French and Italian
    what precedes it.
    """
    return list(dict.fromkeys(_content_words(text, rule)))


def _content_words(text: str, rule: KeywordRule) -> Iterator[str]:
    """Every occurrence of a content word."""
    text = text.replace("\u2019", "'")
    if rule.language in ELIDING:
        text = text.replace("'", " ")
    matches = list(WORD.finditer(text))
    stop_words, names = STOP_WORDS[rule.language], frozenset[str]()
    if not rule.keep_names:
        names = names_in(text, [match for match in matches if match[1]], rule.language)
    for match in matches:
        word, ending = match.groups()
        if word is None:
            if rule.keep_numbers:
                yield match[0]
            continue
        low = word.lower()
        if len(low) < rule.shortest or low in stop_words or low in names:
            continue
        if rule.language == "en" and ((ending and ending in "tT") or (low[-2:] == "ly" and _is_adverb(low))):
            continue
        yield low


def _is_adverb(word: str) -> bool:
    return len(word) > 4 and word not in NO_ADVERBS


def keywords_of_each(texts: Iterable[str], rule: KeywordRule) -> Iterator[list[str]]:
    """The keywords of each text, in order; with `most`, its words of the highest tf-idf among the first texts.

    tf-idf = (1 + log n) · log((1 + N) / max(1, d)): n times in the text, in d of the N texts that were counted (the
    first 50,000, held until they are). Words in more than a tenth of 100 or more counted texts are dropped as well.
    Reads `texts` once; with `most = 0` nothing is held.
    """
    if not rule.most:
        yield from (extract_keywords(text, rule) for text in texts)
        return
    found = (" ".join(_content_words(text, rule)) for text in texts)
    first = list(itertools.islice(found, COUNTED))
    weights = _inverse_frequencies(first)
    unknown = math.log(1 + len(first))
    first.reverse()  # popped from the end, so that yielded texts are freed
    while first:
        yield _heaviest(first.pop().split(), weights, unknown, rule.most)
    for words in found:
        yield _heaviest(words.split(), weights, unknown, rule.most)


def _inverse_frequencies(texts: Sequence[str]) -> dict[str, float]:
    """log((1 + N) / d) of the words in d > 1 of N texts, 0 if d is too large."""
    counts = Counter[str]()
    for words in texts:
        counts.update(set(words.split()))
    limit = COMMON * len(texts) if len(texts) >= FEWEST_COUNTED else math.inf
    return {
        word: math.log((1 + len(texts)) / count) if count <= limit else 0.0
        for word, count in counts.items()
        if count > 1
    }


def _heaviest(words: Sequence[str], weights: Mapping[str, float], unknown: float, most: int) -> list[str]:
    tf_idf = {word: (1 + math.log(count)) * weights.get(word, unknown) for word, count in Counter(words).items()}
    heaviest = set(sorted(tf_idf, key=tf_idf.__getitem__, reverse=True)[:most])
    return [word for word in tf_idf if word in heaviest and tf_idf[word]]


def training_list(
    keywords: Sequence[Sequence[str]], i: int, *, own: int = 2, noise: int = 1, shuffle: random.Random
) -> list[str]:
    """Keywords of text i, shuffled with noise keywords from other texts (arXiv 2410.06961, 2.1).

    The noise teaches a generator that keywords may be left out. There is less of it if no other text has any.
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

    paragraphs: Sequence[str]
    """Keywords of each paragraph that has enough of them, joined by spaces to use a fifth of the memory."""
    words: int = 3
    """Keywords per list, all from one paragraph."""

    @property
    def capacity(self) -> int:
        """Upper bound on the number of different lists."""
        return sum(math.comb(keywords.count(" ") + 1, self.words) for keywords in self.paragraphs)

    def draw(self, count: int, seed: int) -> list[tuple[str, ...]]:
        """As `lists`, all at once."""
        return list(self.lists(count, seed))

    def lists(self, count: int, seed: int) -> Iterator[tuple[str, ...]]:
        """`count` lists, no two with the same words; a longer draw begins with the same lists.

        Paragraph by paragraph in random order, starting over when each has given a list.

        Raises:
            ValueError: there are not that many different lists.
        """
        drawn = set[int]()
        if count > self.capacity:
            raise ValueError(self._too_few(f"at most {self.capacity}", count))
        for words in self._lists(random.Random(seed), drawn):
            if len(drawn) >= count:
                break
            # 64 bits of a hash, a fifth of the words' memory: one run in forty million with a million lists loses one.
            identity = int.from_bytes(blake2b(" ".join(sorted(words)).encode(), digest_size=8).digest())
            if identity not in drawn:
                drawn.add(identity)
                yield words
        if len(drawn) < count:
            raise ValueError(self._too_few(f"only {len(drawn)}", count))

    def _too_few(self, most: str, count: int) -> str:
        return (
            f"{len(self.paragraphs)} paragraphs give {most} different lists of {self.words} keywords, {count} are "
            "needed; give more text (method.generator.paragraphs), or lower method.prompts or method.more_prompts"
        )

    def _lists(self, shuffled: random.Random, drawn: Sized) -> Iterator[tuple[str, ...]]:
        """Random lists until rounds add nothing new to `drawn`, then every remaining list."""
        order = array("Q", shuffled.sample(range(len(self.paragraphs)), len(self.paragraphs)))
        words_of = lru_cache(maxsize=SPLIT)(partial(_words_of, self.paragraphs))
        barren = 0
        while barren < BARREN_ROUNDS:
            before = len(drawn)
            for i in order:
                yield tuple(shuffled.sample(words_of(i), self.words))
            barren = barren + 1 if len(drawn) == before else 0
        for keywords in dict.fromkeys(self.paragraphs[i] for i in order):
            yield from itertools.combinations(keywords.split(" "), self.words)

    def save(self, path: Path) -> None:
        """Write the pool as gzip text, atomically; creates the folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        with fresh.open("wb") as file:
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=4, mtime=0) as lines:
                lines.write(f"{self.words} {len(self.paragraphs)}\n".encode())
                lines.writelines(f"{keywords}\n".encode() for keywords in self.paragraphs)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)


def _words_of(paragraphs: Sequence[str], i: int) -> list[str]:
    return paragraphs[i].split(" ")


def read_pool(path: Path) -> KeywordPool:
    """The pool that `KeywordPool.save` wrote.

    Raises:
        ValueError: the file is missing or damaged.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
            words, count = map(int, next(lines, "").split(" "))
            paragraphs = [line.removesuffix("\n") for line in lines]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{path}: is not a readable keyword pool ({error})") from error
    if len(paragraphs) != count or words < 1 or any(line.count(" ") + 1 < words for line in paragraphs):
        raise ValueError(f"{path}: is not a complete keyword pool")
    return KeywordPool(paragraphs=paragraphs, words=words)


def keyword_pool(texts: Iterable[str], rule: KeywordRule = ALL_CONTENT_WORDS, words: int = 3) -> KeywordPool:
    """A pool from paragraphs, which are read once; those with fewer than `words` keywords are dropped.

    Raises:
        ValueError: none has enough.
    """
    found = (keywords for keywords in keywords_of_each(texts, rule) if len(keywords) >= words)
    return _pool([" ".join(keywords) for keywords in found], words)


def cached_pool(
    texts: Callable[[], Iterable[str]], rule: KeywordRule, words: int, folder: Path, known_by: object
) -> KeywordPool:
    """The pool of the texts that `known_by` (plain JSON data) identifies, cached in `folder`/keywords-HASH.txt.gz.

    The texts are read only if the file is missing or damaged.

    Raises:
        ValueError: no text has enough keywords.
    """
    name = content_hash([POOL_VERSION, asdict(rule), words, known_by])[:16]
    path = folder / f"keywords-{name}.txt.gz"
    with contextlib.suppress(ValueError):
        return read_pool(path)
    pool = keyword_pool(texts(), rule, words)
    pool.save(path)
    return pool


def has_lists(texts: Iterable[str], rule: KeywordRule, words: int, count: int) -> KeywordPool:
    """A pool from which `count` different lists can be drawn, of no more of the first texts than that needs.

    Every list with a word that no earlier text has is new, which gives a safe lower bound. With `rule.most` the texts
    counted for tf-idf are read in any case.

    Raises:
        ValueError: all texts together do not give that many; says how many they give.
    """
    paragraphs: list[str] = []
    seen, sure = set[str](), 0
    for keywords in keywords_of_each(texts, rule):
        if len(keywords) >= words:
            paragraphs.append(" ".join(keywords))
            sure += math.comb(len(keywords), words) - math.comb(len(seen.intersection(keywords)), words)
            seen.update(keywords)
        if paragraphs and sure >= count:
            return _pool(paragraphs, words)
    pool = _pool(paragraphs, words)
    pool.draw(count, seed=0)
    return pool


def _pool(paragraphs: list[str], words: int) -> KeywordPool:
    if not paragraphs:
        raise ValueError(f"no text has {words} keywords to draw; give longer texts (method.generator.paragraphs)")
    return KeywordPool(paragraphs=paragraphs, words=words)
