"""Figures of texts alone: lengths, repetition, variety, refusals. Units are tokens, for texts of any language.

Variety depends on how much text it is computed from, so two models are compared at equal counts. Left out: anything
that needs a model, such as embeddings.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import combinations, groupby

from selfboost.drift import request
from selfboost.records import Answer
from selfboost.statistics import distinct, quantiles, repeated_share, summed, words_of

LEAST = 10
"""Fewest answers that figures of variety are computed from."""
BLEU_TEXTS, BLEU_REFERENCES = 100, 20
"""Answers whose BLEU is computed, and how many others each is compared with."""
ORDERS = 4
"""Longest n-grams of BLEU."""
COMPARED, ALIKE = 200, 0.8
"""Answers searched for near-duplicates, and the Jaccard similarity of word 3-grams from which two are such."""
MOST_BYTES = 2**20
"""Most bytes of text that are compressed."""
HALF = 0.5
"""Share of repeated 4-grams from which an answer is degenerate: SynPO's filter drops those beyond it."""
REFUSAL = re.compile(
    r"^\W*(?:(?:i'?m|i am) (?:really |very |so )?(?:sorry|unable|not able)|sorry\b|i apologi[sz]e|unfortunately,? i\b"
    r"|i (?:can(?:no|')?t|cannot|can not|won'?t|will not|must decline)"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model))",
    re.IGNORECASE,
)
"""How English refusals begin."""


def text_figures(answers: Sequence[Answer], first: Sequence[Answer]) -> tuple[dict[str, float], dict[str, str]]:
    """Figures by name, and reasons for those that are absent; `first` are the initial model's answers."""
    if not answers or not first:
        return {}, dict.fromkeys(TEXT_FIGURES, "the benchmark sampled no answers")
    found: dict[str, float] = {**_lengths(answers, first), **_repetition(answers)}
    found["refusals"] = summed(is_refusal(a.text) for a in answers) / len(answers)
    found["near_duplicates"] = near_duplicates([a.text for a in one_each(answers)][:COMPARED])
    known = {(request(a), a.token_ids) for a in first}
    found["unchanged"] = summed((request(a), a.token_ids) in known for a in answers) / len(answers)
    absent: dict[str, str] = {}
    for names, compute in _VARIETY.items():
        values = compute(answers, first)
        if values is None:
            absent |= dict.fromkeys(names, f"fewer than {LEAST} answers are long enough to compare")
        else:
            found |= dict(zip(names, values, strict=True))
    return found, absent


def _lengths(answers: Sequence[Answer], first: Sequence[Answer]) -> dict[str, float]:
    lengths, before = [float(len(a.token_ids)) for a in answers], [float(len(a.token_ids)) for a in first]
    low, middle, high = quantiles(lengths)
    found = {"length_p10": low, "length_median": middle, "length_p90": high}
    if any(before):
        found["length_ratio"] = (summed(lengths) / len(lengths)) / (summed(before) / len(before))
    found["unended"] = summed(a.finish == "length" for a in answers) / len(answers)
    return found


def _repetition(answers: Sequence[Answer]) -> dict[str, float]:
    shares = [repeated_share(a.token_ids) for a in answers]
    return {
        "repeated": summed(shares) / len(shares),
        "repeated_half": summed(share > HALF for share in shares) / len(shares),
    }


def equal_counts(
    answers: Sequence[Sequence[Hashable]], first: Sequence[Sequence[Hashable]]
) -> tuple[list[Sequence[Hashable]], list[Sequence[Hashable]]] | None:
    """Equally many answers of both models, each cut to the same number of tokens; None if fewer than `LEAST` remain.

    The cut is the smaller of the two 10 % quantiles of length, at least 2; shorter answers are left out.
    """
    ends = [quantiles([float(len(each)) for each in group], (0.1,))[0] for group in (answers, first)]
    cut = max(2, int(min(ends)))
    own, others = ([each[:cut] for each in group if len(each) >= cut] for group in (answers, first))
    count = min(len(own), len(others))
    return (own[:count], others[:count]) if count >= LEAST else None


def _distinct(answers: Sequence[Answer], first: Sequence[Answer]) -> list[float] | None:
    """Distinct-1 and -2 of the model, and the same over the initial model's at these counts."""
    cut = equal_counts([a.token_ids for a in answers], [a.token_ids for a in first])
    if cut is None:
        return None
    own, others = ([distinct(group, n) for n in (1, 2)] for group in cut)
    return [*own, *(a / b if b else 1.0 for a, b in zip(own, others, strict=True))]


def _compression(answers: Sequence[Answer], first: Sequence[Answer]) -> list[float] | None:
    """zlib's ratio for the model, and over the initial model's for equally many bytes."""
    own, others = ("\n".join(a.text for a in group).encode(errors="replace") for group in (answers, first))
    size = min(len(own), len(others), MOST_BYTES)
    if min(len(answers), len(first)) < LEAST or not size:
        return None
    value, before = compressed(own[:size]), compressed(others[:size])
    return [value, value / before]


def compressed(text: bytes) -> float:
    """Bytes after zlib over bytes before: what repeats, within or across answers, takes less."""
    return len(zlib.compress(text)) / len(text)


def _self_bleu(answers: Sequence[Answer], first: Sequence[Answer]) -> list[float] | None:
    """Of the model, and how much above the initial model's, from equally many prompts."""
    own, others = one_each(answers), one_each(first)
    count = min(len(own), len(others), BLEU_TEXTS)
    if count < LEAST:
        return None
    value, before = (self_bleu([a.text for a in group[:count]]) for group in (own, others))
    return [value, value - before]


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU of each text against the `BLEU_REFERENCES` that follow it, in a circle; 0 to 100 (arXiv 1802.01886)."""
    words = [words_of(text) for text in texts]
    counts = [[_grams(each, n) for n in range(1, ORDERS + 1)] for each in words]
    scores: list[float] = []
    for i in range(len(words)):
        around = [(i + step) % len(words) for step in range(1, min(BLEU_REFERENCES, len(words) - 1) + 1)]
        scores.append(_bleu(len(words[i]), counts[i], [(len(words[j]), counts[j]) for j in around]))
    return summed(scores) / len(scores)


Grams = Counter[tuple[str, ...]]


def _grams(words: Sequence[str], n: int) -> Grams:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _bleu(length: int, counts: Sequence[Grams], references: Sequence[tuple[int, Sequence[Grams]]]) -> float:
    """BLEU against several references (Papineni et al. 2002), 0 to 100.

    n-grams no longer than the text; a precision of 0 at the k-th such order counts as 1 / (2^k · n-grams), so that
    short texts have a score (method 3 of Chen & Cherry 2014).
    """
    if not length:
        return 0.0
    logs: list[float] = []
    halving = 1.0
    for n, own in enumerate(counts[: min(ORDERS, length)]):
        total = own.total()
        matched = sum(min(count, max(each[n][gram] for _, each in references)) for gram, count in own.items())
        halving *= 1 if matched else 2
        logs.append(math.log(matched / total if matched else 1 / (halving * total)))
    nearest = min((size for size, _ in references), key=lambda size: (abs(size - length), size))
    brevity = min(0.0, 1 - nearest / length)
    return 100 * math.exp(brevity + summed(logs) / len(logs))


def near_duplicates(texts: Sequence[str]) -> float:
    """Share of texts with a near-duplicate among the others: equal words, or 3-grams of words mostly in common."""
    shingles = [_shingles(words_of(text)) for text in texts]
    alike = set[int]()
    for (i, one), (j, other) in combinations(enumerate(shingles), 2):
        if _jaccard(one, other) >= ALIKE:
            alike |= {i, j}
    return len(alike) / len(texts) if texts else 0.0


def _shingles(words: Sequence[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2)))


def _jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    if min(len(one), len(other)) < ALIKE * max(len(one), len(other)):
        return 0.0  # too different in size to be alike
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def is_refusal(text: str) -> bool:
    """Whether an answer begins as English refusals do; in other languages none is recognised."""
    return REFUSAL.match(text.replace("\u2019", "'")) is not None


def one_each(answers: Iterable[Answer]) -> list[Answer]:
    """The first answer of each prompt."""
    return [next(group) for _, group in groupby(answers, key=request)]


Compute = Callable[[Sequence[Answer], Sequence[Answer]], list[float] | None]
_VARIETY: Mapping[tuple[str, ...], Compute] = {
    ("distinct_1", "distinct_2", "distinct_1_ratio", "distinct_2_ratio"): _distinct,
    ("compression", "compression_ratio"): _compression,
    ("self_bleu", "self_bleu_rise"): _self_bleu,
}
TEXT_FIGURES = (
    "length_p10",
    "length_median",
    "length_p90",
    "length_ratio",
    "unended",
    "repeated",
    "repeated_half",
    "refusals",
    "near_duplicates",
    "unchanged",
    *(name for names in _VARIETY for name in names),
)
"""Names of all figures of this module."""
