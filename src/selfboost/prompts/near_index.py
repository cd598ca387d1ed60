"""Which texts' MinHashes agree in a band of values (locality-sensitive hashing; Broder 1997, Indyk and Motwani 1998).

Some 250 bytes a text, an eighth or less of what dictionaries of buckets take: per band a hash table of chains in
arrays, and 32 bits of the band's hash beside each link.

Shapes: N texts, B bands, R values in a band, S heads of chains in a band's table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Odd, with bits in no pattern: multiplying by it mixes a band's values into one hash."""
NONE = -1
"""Ends a chain."""
FIRST = 1024
"""Texts that there is room for in the beginning."""


class NearIndex:
    """Texts, numbered as they come, by the bands of their MinHashes."""

    def __init__(self, bands: int, values: int) -> None:
        self._bands, self._values, self._count = bands, values, 0
        self._every_B = np.arange(bands)
        self._tags_NB = np.zeros((FIRST, bands), dtype=np.uint32)
        self._next_NB = np.full((FIRST, bands), NONE, dtype=np.int32)
        self._heads_BS = np.full((bands, FIRST), NONE, dtype=np.int32)

    def insert(self, hashes: NDArray[np.uint64]) -> None:
        """Add the next text, by its MinHash (at least B x R values)."""
        if self._count == len(self._tags_NB):
            self._grow()
        tags_B = self._hashed(hashes)
        places_B = self._places(tags_B)
        self._tags_NB[self._count] = tags_B
        self._next_NB[self._count] = self._heads_BS[self._every_B, places_B]
        self._heads_BS[self._every_B, places_B] = self._count
        self._count += 1

    def query(self, hashes: NDArray[np.uint64]) -> list[int]:
        """Numbers of the texts that agree with a MinHash in all values of at least one band, in ascending order.

        Now and then a text is among them that agrees in no band.
        """
        tags_B = self._hashed(hashes)
        bands, numbers = self._every_B, self._heads_BS[self._every_B, self._places(tags_B)]
        found = set[int]()
        while True:
            linked = numbers != NONE
            bands, numbers = bands[linked], numbers[linked]
            if not len(numbers):
                return sorted(found)
            found.update(numbers[self._tags_NB[numbers, bands] == tags_B[bands]].tolist())
            numbers = self._next_NB[numbers, bands]

    def _hashed(self, hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
        values_BR = hashes[: self._bands * self._values].astype(np.uint64).reshape(self._bands, self._values)
        mixed_B = np.zeros(self._bands, dtype=np.uint64)
        for values_B in values_BR.T:
            mixed_B = (mixed_B ^ values_B) * MULTIPLIER
            mixed_B ^= mixed_B >> np.uint64(29)
        return (mixed_B >> np.uint64(16)).astype(np.uint32)

    def _places(self, tags: NDArray[Any]) -> NDArray[Any]:
        return tags & np.uint32(self._heads_BS.shape[1] - 1)

    def _grow(self) -> None:
        """Double the room, and link all chains anew."""
        size = 2 * self._count
        self._tags_NB = np.concatenate([self._tags_NB, np.zeros_like(self._tags_NB)])
        self._next_NB = np.full((size, self._bands), NONE, dtype=np.int32)
        self._heads_BS = np.full((self._bands, size), NONE, dtype=np.int32)
        for band in range(self._bands):
            places_N = self._places(self._tags_NB[: self._count, band])
            order_N = np.argsort(places_N, kind="stable").astype(np.int32)
            same = places_N[order_N[1:]] == places_N[order_N[:-1]]
            self._next_NB[order_N[1:][same], band] = order_N[:-1][same]
            self._heads_BS[band, places_N[order_N]] = order_N  # of texts in one chain the last one stays
