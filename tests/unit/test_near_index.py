"""The index of near texts finds what datasketch's finds."""

from __future__ import annotations

import random

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH

from selfboost.prompts.near_index import NearIndex

PERMUTATIONS = 128


def min_hash(words: list[str]) -> MinHash:
    found = MinHash(num_perm=PERMUTATIONS)
    found.update_batch([word.encode() for word in words])
    return found


@pytest.mark.parametrize(
    "threshold", [pytest.param(0.3, marks=pytest.mark.slow), 0.56, pytest.param(0.8, marks=pytest.mark.slow)]
)
def test_it_finds_what_datasketch_finds(threshold: float) -> None:
    theirs = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    ours = NearIndex(theirs.b, theirs.r)
    chance, known = random.Random(1), [f"w{i}" for i in range(26)]
    hits = 0
    for number in range(3000):  # beyond two doublings
        hashed = min_hash(chance.sample(known, chance.randint(3, 20)))
        found = sorted(theirs.query(hashed))
        assert ours.query(hashed.hashvalues) == found
        hits += len(found)
        theirs.insert(number, hashed, check_duplication=False)
        ours.insert(hashed.hashvalues)
    assert hits > 50


def test_no_text_is_near_in_an_empty_index() -> None:
    assert NearIndex(4, 2).query(np.arange(8, dtype=np.uint64)) == []
