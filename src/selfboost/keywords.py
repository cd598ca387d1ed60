"""Keywords of texts, and a pool of keyword lists that new prompts are written from (SynPO, arXiv 2410.06961, 2.1).

The paper names no extractor: this one keeps content words by a compact rule (no stop-words, no likely names, no
numbers unless asked). Left out: parts of speech, languages other than English.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*|\d+(?:\.\d+)?")
SHORTEST = 3
"""Letters of the shortest keyword."""
STOP_WORDS = frozenset(
    """a about above after again against all also am an and any anything are aren't as at be because been before being
    below between both but by can can't cannot could couldn't did didn't do does doesn't doing don't down during each
    else etc even ever every few for from further get gets give given gives go goes got had hadn't has hasn't have
    haven't having he he'd her here hers herself him himself his how however i if in instead into is isn't it it's its
    itself just know let let's like made make makes making many may me might more most much must my myself need no nor
    not now of off often on once one only or other others ought our ours ourselves out over own part per please put
    rather really said same say says see seem seems shall she should shouldn't since so some someone something still
    such take than that that's the their theirs them themselves then there there's these they they're this those though
    through thus to together too two under until up upon us use used uses using very was wasn't way we we're well were
    weren't what when where whether which while who whole whom whose why will with within without won't would wouldn't
    yes yet you you'd you're your yours yourself""".split()
)


def extract_keywords(text: str, *, keep_names: bool = False, keep_numbers: bool = False) -> list[str]:
    """The keywords of a text, lower-cased, each once, in order of appearance.

    A capitalised word that does not open a sentence is taken for a name; a text in capitals throughout has no names.
    """
    found: dict[str, None] = {}
    for match in WORD.finditer(text):
        word = match.group()
        if word[0].isdigit():
            if keep_numbers:
                found[word] = None
            continue
        if not keep_names and word[0].isupper() and not word.isupper() and not _opens_sentence(text, match.start()):
            continue
        low = word.lower()
        if len(low) >= SHORTEST and low not in STOP_WORDS:
            found[low] = None
    return list(found)


def _opens_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip(" \t\"'([“‘*-#>")
    return not before or before[-1] in ".!?:\n"


@dataclass(frozen=True, kw_only=True)
class KeywordPool:
    """Keyword candidates by paragraph, fixed for a run."""

    paragraphs: Sequence[Sequence[str]]
    """Keywords of each paragraph that has enough of them."""
    words: int = 3
    """Keywords per list, all of one paragraph."""

    def draw(self, count: int, seed: int) -> list[tuple[str, ...]]:
        """`count` lists, each once; the first k of a longer draw are the same.

        Paragraph by paragraph in a random order, again from the first when all have given a list.

        Raises:
            ValueError: the pool cannot give so many different lists.
        """
        shuffled = random.Random(seed)
        order = shuffled.sample(range(len(self.paragraphs)), len(self.paragraphs))
        drawn: dict[tuple[str, ...], None] = {}
        barren = 0
        while len(drawn) < count and barren < 20:
            before = len(drawn)
            for i in order:
                drawn[tuple(shuffled.sample(list(self.paragraphs[i]), self.words))] = None
                if len(drawn) == count:
                    break
            barren = barren + 1 if len(drawn) == before else 0
        if len(drawn) < count:
            raise ValueError(
                f"{len(self.paragraphs)} paragraphs give only {len(drawn)} different lists of {self.words} keywords, "
                f"{count} are wanted; give more text (method.generator.paragraphs) or fewer prompts"
            )
        return list(drawn)


def keyword_pool(
    texts: Iterator[str] | Sequence[str], *, words: int = 3, keep_names: bool = False, keep_numbers: bool = False
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
    for file in sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        text = data.decode("utf-8", errors="replace")
        if ".jsonl" in file.name:
            yield from _jsonl_texts(file, text)
        else:
            yield from (part for part in re.split(r"\n\s*\n", text) if part.strip())


def _jsonl_texts(file: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield str(json.loads(line)["text"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{file} line {number}: must be an object with the column text") from error
