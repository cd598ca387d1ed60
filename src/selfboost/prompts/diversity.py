"""How new and how varied prompts are: measures of texts alone, after figures 4 and 5 of SynPO (arXiv 2410.06961).

Similarity is the cosine of tf-idf vectors of words; groups are compared at one size, their prompts drawn by hash, since
spread depends on the number. Left out: embeddings and parsers, which need a model; languages written without spaces.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from selfboost.statistics import words_of

MOST = 2000
"""Most prompts of a group that are compared."""
LEAST = 20
"""Fewest prompts of a group that is compared; the smallest group sets the size of all."""
TOPICS = 20
"""Clusters of the prompts of all groups together."""
STARTS, ROUNDS = 4, 50
"""Clustering runs from different centres, and the most steps of each."""
SAMPLED = 500
"""Prompts of a group whose nearest seed prompt is searched."""
TINY = 1e-12
"""Smallest vector length used as a divisor."""
QUESTION_WORDS = "what which who whom whose when where why how"
AUXILIARIES = "is are was were am do does did can could will would shall should may might must has have had"
INSTRUCTIONS = """
    add advise analyse analyze answer apply argue arrange assess brainstorm build calculate categorise categorize change
    check choose cite classify collect combine come compare complete compose compute consider construct continue convert
    correct count craft create critique debate decide decode deduce define demonstrate derive describe design detail
    detect determine develop differentiate discuss divide draft draw edit elaborate estimate evaluate examine execute
    expand explain explore express extract fill find fix follow forecast formulate generate give group guess help
    highlight identify illustrate imagine imitate implement improve infer insert introduce invent investigate join
    judge justify label list locate look make match measure merge modify name optimise optimize organise organize
    outline paraphrase pick plan play predict prepare present pretend print produce proofread propose prove provide put
    rank rate read rearrange recommend refactor reformulate remove rename rephrase replace reply report respond
    restate reverse review revise rewrite say select shorten show simplify simulate sketch solve sort
    speak spell split state suggest summarise summarize tell think transform translate try turn understand update
    use verify visualise visualize walk write
"""
"""Verbs that instructions begin with, in their base form."""
ASKED, OPENING = frozenset((QUESTION_WORDS + INSTRUCTIONS).split()), frozenset(AUXILIARIES.split())


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How alike the prompts of one group are, one value per prompt drawn."""

    texts: Sequence[str]
    within: Sequence[float]
    """Mean cosine similarity to the other prompts of its own group: lower is more varied."""
    to_reference: Sequence[float]
    """Mean cosine similarity to the prompts of the reference group: lower is newer. Empty for that group itself."""


def draw(texts: Iterable[str], count: int) -> list[str]:
    """`count` different texts at random, the same in every process: those with the smallest SHA-256."""
    return sorted(set(texts), key=lambda text: hashlib.sha256(text.encode(errors="replace")).digest())[:count]


def equal_draws(groups: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Equally many different texts of each group; groups of fewer than `LEAST` are left out."""
    drawn = {name: draw(texts, MOST) for name, texts in groups.items()}
    enough = {name: texts for name, texts in drawn.items() if len(texts) >= LEAST}
    size = min(map(len, enough.values()), default=0)
    return {name: texts[:size] for name, texts in enough.items()}


def tf_idf(texts: Sequence[str]) -> Any:
    """Sparse unit vectors of texts, shape (texts, words): each word's count times its inverse document frequency.

    idf = ln((1 + N) / (1 + n)) + 1 for a word of n among N texts (Salton & Buckley 1988, smoothed). A text without
    words is a vector of zeros.
    """
    import numpy as np

    counts_NV = _matrix([Counter(words_of(text)) for text in texts])
    found_V = np.asarray((counts_NV > 0).sum(axis=0)).ravel()
    weighed_NV = counts_NV.multiply(np.log((1 + len(texts)) / (1 + found_V)) + 1)
    norms_N = np.sqrt(np.asarray(weighed_NV.multiply(weighed_NV).sum(axis=1)).ravel())
    return weighed_NV.multiply(1 / np.maximum(norms_N, TINY)[:, None]).tocsr()


def mean_similarities(vectors_NV: Any, others_MV: Any = None) -> list[float]:
    """Mean cosine of each text to the other texts of its own group, or to all texts of another group.

    Vectors as `tf_idf` makes them. The sum of the unit vectors gives all cosines at once, without forming pairs.
    """
    import numpy as np

    if others_MV is not None:
        return (vectors_NV @ np.asarray(others_MV.mean(axis=0)).ravel()).tolist()
    count = vectors_NV.shape[0]
    assert count > 1, "a single text has no other to compare with"
    own_N = np.asarray(vectors_NV.multiply(vectors_NV).sum(axis=1)).ravel()
    return ((vectors_NV @ np.asarray(vectors_NV.sum(axis=0)).ravel() - own_N) / (count - 1)).tolist()


def likeness(drawn: Mapping[str, Sequence[str]], vectors: Mapping[str, Any], reference: str) -> dict[str, Likeness]:
    """The similarities of each group of equal draws; `reference` (the seed) may be missing."""
    return {
        name: Likeness(
            texts=texts,
            within=mean_similarities(vectors[name]),
            to_reference=mean_similarities(vectors[name], vectors[reference])
            if reference in vectors and name != reference
            else (),
        )
        for name, texts in drawn.items()
    }


def group_vectors(drawn: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """tf-idf vectors by group, fitted on all of them together, so that no group is favoured."""
    together = tf_idf(list(chain.from_iterable(drawn.values())))
    vectors: dict[str, Any] = {}
    start = 0
    for name, texts in drawn.items():
        vectors[name] = together[start : start + len(texts)]
        start += len(texts)
    return vectors


def nearest_overlaps(texts: Sequence[str], seeds: Sequence[str]) -> list[float]:
    """ROUGE-L F1 of each text with the nearest seed, itself left out (Self-Instruct, arXiv 2212.10560, figure 4).

    F1 = 2 L / (m + n), L the longest common subsequence of words of texts of m and n words. Exact: words in common,
    in any order, bound L from above, and seeds that cannot be nearer are skipped.
    """
    import numpy as np

    words, others = [words_of(text) for text in texts], [words_of(seed) for seed in seeds]
    places_S = [_places(other) for other in others]
    numbered_TV = _matrix([_numbered(each) for each in (*words, *others)])
    own_NV, seeds_SV = numbered_TV[: len(words)], numbered_TV[len(words) :]
    lengths_S = np.asarray([len(other) for other in others])
    nearest: list[float] = []
    for i, own in enumerate(words):
        shared_S = (seeds_SV @ own_NV[i].T).toarray().ravel()
        bounds_S = 2 * shared_S / np.maximum(1, lengths_S + len(own))
        best = 0.0
        for s in cast(list[int], np.argsort(-bounds_S, kind="stable").tolist()):
            if bounds_S[s] <= best:
                break
            if seeds[s] != texts[i]:
                best = max(
                    best, 2 * _common_subsequence(own, places_S[s], len(others[s])) / (len(own) + len(others[s]))
                )
        nearest.append(best)
    return nearest


def intention(text: str) -> str:
    """A prompt's intention as one word: its first question word or instruction verb, or the auxiliary that opens it.

    After Self-Instruct's root verbs (arXiv 2212.10560, figure 3), by word lists instead of a parser: `explain` of
    `Could you explain …`, `is` of `Is it …`, `other` where there is none. A noun that looks like a verb counts as one.
    """
    words = words_of(text)
    if len(words) > 1 and words[0] in OPENING and words[1] not in ("you", "i", "we"):
        return words[0]
    return next((word for word in words if word in ASKED), "other")


def entropy_bits(counts: Iterable[int]) -> float:
    """Entropy of a distribution given by counts, in bits: 0 for a single value, log2(k) for k equally frequent ones."""
    known = [count for count in counts if count]
    total = sum(known)
    return sum(count / total * math.log2(total / count) for count in known)


def keyword_coverage(text: str, keywords: Sequence[str]) -> float:
    """Share of the keywords requested of a prompt that occur in it as words, ignoring case."""
    assert keywords, "no keywords to cover"
    found = (re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) for word in keywords)
    return sum(match is not None for match in found) / len(keywords)


def topics(groups: Sequence[Any], count: int = TOPICS, seed: int = 0) -> list[int]:
    """The cluster, 0 to count - 1, of each text of all groups' vectors, by spherical k-means (Dhillon & Modha 2001).

    Unit vectors go to the centre of the largest cosine. Centres start at texts that are far apart (k-means++,
    Arthur & Vassilvitskii 2007); the best of `STARTS` runs counts. Deterministic for a seed.
    """
    import numpy as np
    import scipy.sparse

    vectors_NV = cast(Any, scipy.sparse).vstack(groups).tocsr()
    generator = np.random.default_rng(seed)
    best, labels_N = -math.inf, np.zeros(vectors_NV.shape[0], dtype=int)
    for _ in range(STARTS):
        total, found_N = _clustered(vectors_NV, _far_apart(vectors_NV, count, generator))
        if total > best:
            best, labels_N = total, found_N
    return labels_N.tolist()


def _clustered(vectors_NV: Any, centres_KV: Any) -> tuple[float, Any]:
    """(sum of cosines to the own centre, cluster of each text) once assignments stop changing."""
    count = len(centres_KV)
    cosines_NK = vectors_NV @ centres_KV.T
    labels_N = cosines_NK.argmax(axis=1)
    for _ in range(ROUNDS):
        cosines_NK, before_N = vectors_NV @ _centres(vectors_NV, labels_N, count).T, labels_N
        labels_N = cosines_NK.argmax(axis=1)
        if (labels_N == before_N).all():
            break
    return float(cosines_NK.max(axis=1).sum()), labels_N


def _centres(vectors_NV: Any, labels_N: Any, count: int) -> Any:
    """The mean direction of each cluster; zeros where it is empty."""
    import numpy as np

    size = len(labels_N)
    members_KN = _sparse((np.ones(size), (labels_N, np.arange(size))), (count, size))
    sums_KV = (members_KN @ vectors_NV).toarray()
    return sums_KV / np.maximum(np.linalg.norm(sums_KV, axis=1, keepdims=True), TINY)


def _far_apart(vectors_NV: Any, count: int, generator: Any) -> Any:
    """Initial centres: texts drawn with weights equal to the squared distance to the nearest centre so far."""
    import numpy as np

    chosen = [int(generator.integers(vectors_NV.shape[0]))]
    distances_N = np.ones(vectors_NV.shape[0])
    while len(chosen) < min(count, vectors_NV.shape[0]):
        cosines_N = (vectors_NV @ vectors_NV[chosen[-1]].T).toarray().ravel()
        distances_N = np.minimum(distances_N, np.clip(1 - cosines_N, 0, None))
        total = distances_N.sum()
        if total <= 0:  # fewer different texts than clusters
            break
        chosen.append(int(generator.choice(len(distances_N), p=distances_N / total)))
    return vectors_NV[chosen].toarray()


def _matrix(bags: Sequence[Mapping[Hashable, int]]) -> Any:
    """Counts of items as a sparse matrix, shape (bags, distinct items)."""
    columns: dict[Hashable, int] = {}
    places = [columns.setdefault(thing, len(columns)) for bag in bags for thing in bag]
    counts = [float(count) for bag in bags for count in bag.values()]
    starts = [0]
    for bag in bags:
        starts.append(starts[-1] + len(bag))
    return _sparse((counts, places, starts), (len(bags), max(1, len(columns))))


def _sparse(content: Any, shape: tuple[int, int]) -> Any:
    import scipy.sparse

    return cast(Any, scipy.sparse).csr_matrix(content, shape=shape)


def _numbered(words: Sequence[str]) -> dict[Hashable, int]:
    """Each word with the number of its occurrence: what two texts share of these is what they share, repeats too."""
    seen = Counter[str]()
    numbered: dict[Hashable, int] = {}
    for word in words:
        seen[word] += 1
        numbered[word, seen[word]] = 1
    return numbered


def _places(words: Sequence[str]) -> dict[str, int]:
    """Word → bit mask of its positions."""
    places: dict[str, int] = {}
    for place, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << place
    return places


def _common_subsequence(words: Sequence[str], places: Mapping[str, int], length: int) -> int:
    """Length of the longest common subsequence with a text given by its positions; one integer holds a table row.

    Source: Hyyrö 2004, Bit-parallel LCS-length computation revisited. A zero bit marks a step up of the row.
    """
    whole = (1 << length) - 1
    row = whole
    for word in words:
        match = row & places.get(word, 0)
        row = ((row + match) | (row - match)) & whole
    return length - row.bit_count()
