"""Files of lines in gzip members of whole lines: any gzip reads them, and a line is found without reading all before.

Written with the standard library alone, the same bytes from the same lines.
"""

from __future__ import annotations

import gzip
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from io import BufferedReader, BytesIO
from itertools import groupby
from pathlib import Path

from selfboost.disk import files

ENDING = ".gz"
MEMBER = 2**20
"""Bytes of the lines of a member, at least."""
LEVEL = 4
"""Of compression: within a few percent of the smallest, at thrice its speed."""


def compress(path: Path) -> Path:
    """Compress a file of lines into `NAME.gz` beside it."""
    into = path.with_name(path.name + ENDING)
    with files.open_to_read(path) as lines, files.open_new(into) as file:
        while block := lines.readlines(MEMBER):
            file.write(gzip.compress(b"".join(block), LEVEL, mtime=0))
        files.sync(file)
    return into


def decompress(path: Path) -> None:
    """Make a file of lines anew from `NAME.gz` beside it, which it replaces."""
    packed = path.with_name(path.name + ENDING)
    fresh = path.with_name(path.name + files.FRESH)
    with files.open_new(fresh) as file:
        for block in CompressedLines(packed).blocks():
            file.write(block)
        files.sync(file)
    fresh.replace(path)
    packed.unlink()


class CompressedLines:
    """The lines of a compressed file. The places of its members are in memory."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError where the file is damaged."""
        self._path = path
        self._starts = array("Q", [0])
        """Where each member begins, and the last one ends, in bytes."""
        self._ends = array("Q")
        """Lines up to the end of each member."""
        lines = 0
        with files.open_to_read(path) as file:
            for size, count in _members(file, path):
                lines += count
                self._starts.append(self._starts[-1] + size)
                self._ends.append(lines)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def blocks(self) -> Iterator[bytes]:
        """All lines, a member at a time."""
        return map(self._block, range(len(self._ends)))

    def lines(self, places: Sequence[int]) -> Iterator[bytes]:
        """The lines at these places."""
        for member, group in groupby(places, lambda place: bisect_right(self._ends, place)):
            lines = BytesIO(self._block(member)).readlines()
            first = self._ends[member - 1] if member else 0
            yield from (lines[place - first] for place in group)

    def _block(self, member: int) -> bytes:
        with files.open_to_read(self._path) as file:
            file.seek(self._starts[member])
            return gzip.decompress(file.read(self._starts[member + 1] - self._starts[member]))


def _members(file: BufferedReader, path: Path) -> Iterator[tuple[int, int]]:
    """Size in bytes, and lines, of each gzip member of a file.

    Raises:
        ValueError: it is damaged.
    """
    left, read, lines, member = b"", 0, 0, zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        while block := left or file.read(MEMBER):
            lines += member.decompress(block).count(b"\n")
            left = member.unused_data
            read += len(block) - len(left)
            if member.eof:
                yield read, lines
                read, lines, member = 0, 0, zlib.decompressobj(zlib.MAX_WBITS | 16)
    except zlib.error as error:
        raise ValueError(f"{path}: is damaged ({error})") from error
    if read:
        raise ValueError(f"{path}: is damaged (its end is missing)")
