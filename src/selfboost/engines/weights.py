"""The weights of a checkpoint, read by their headers and a few rows: names, shapes, and whether numbers are numbers.

The layout of safetensors: eight bytes with the header's length, the header in JSON, the tensors' bytes end to end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
LENGTH_BYTES = 8
LONGEST_HEADER = 100_000_000
"""Bytes that the format allows a header."""
WIDTHS: Mapping[str, int] = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4,
    "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
"""Bytes of a number, by the format's name of its type."""
UNCOUNTED = ("F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64")
"""The format's other types: few checkpoints have them, and some take less than a byte."""
FLOATS: Mapping[str, tuple[str, int]] = {
    "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80), "F32": ("<u4", 0x7F800000), "F64": ("<u8", 0x7FF << 52),
}  # fmt: skip
"""Number type → its bits as a whole number, and the exponent that infinity and NaN alone have in full."""
LOOKED_AT = 4096
"""Numbers read at the beginning and at the end of a tensor: they hold a few whole rows of most."""
COPY = "copy or download the folder again"


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Its first byte in the file."""
    end: int


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Name → where and what it is, of all tensors that a checkpoint consists of; no weight is read.

    Raises:
        ValueError: a file is damaged or cut off, or the index is none.
    """
    found: dict[str, Stored] = {}
    for file in weight_files(folder):
        found |= _header(file)
    return found


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make a checkpoint: its one file, else those of its index, else all."""
    index = folder / INDEX
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not index.is_file():
        return sorted(file for file in folder.glob("*.safetensors") if file.is_file())
    return [folder / name for name in sorted(set(_weight_map(index).values()))]


def missing_weights(folder: Path) -> list[str]:
    """Files that a checkpoint should have and lacks.

    Raises:
        ValueError: the index is none.
    """
    if weight_files(folder) and (folder / INDEX).is_file():
        return [file.name for file in weight_files(folder) if not file.is_file()]
    return [] if weight_files(folder) else [SINGLE]


def _weight_map(index: Path) -> dict[str, str]:
    found = read_object(index).get("weight_map")
    names = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names.values()):
        raise ValueError(f"{index} has no weight_map from weights to file names in this folder: {COPY}")
    return names


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object from a file of a checkpoint.

    Raises:
        ValueError: it is none.
    """
    try:
        found: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{file} is not readable as JSON ({_first_line(error)}): {COPY}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds a {type(found).__name__}, expected a JSON object: {COPY}")
    return cast("dict[str, Any]", found)


def not_finite(tensors: Mapping[str, Stored]) -> Iterator[str]:
    """Names of tensors with an infinite number or NaN among the first or last few."""
    for name, tensor in tensors.items():
        if tensor.dtype in FLOATS and not _sample_is_finite(tensor):
            yield name


def _sample_is_finite(tensor: Stored) -> bool:
    import numpy as np  # here: reading a recipe must not need it

    bits, exponent = FLOATS[tensor.dtype]
    most = LOOKED_AT * WIDTHS[tensor.dtype]
    with tensor.file.open("rb") as stream:
        for start in {tensor.start, max(tensor.start, tensor.end - most)}:
            stream.seek(start)
            read = np.frombuffer(stream.read(min(most, tensor.end - start)), dtype=bits)
            if bool(((read & exponent) == exponent).any()):
                return False
    return True


def _header(file: Path) -> dict[str, Stored]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or length > min(size - LENGTH_BYTES, LONGEST_HEADER):
            raise ValueError(
                f"{file} is not a whole safetensors file: it has {size} bytes and names a header of {length}; {COPY}"
            )
        try:
            entries: object = json.loads(stream.read(length))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file} is not a safetensors file: its header is not JSON; {COPY}") from error
    if not isinstance(entries, dict):
        raise ValueError(f"{file} is not a safetensors file: its header is not a JSON object; {COPY}")
    named = cast("dict[str, Any]", entries)
    found = {name: _entry(file, name, entry, length) for name, entry in named.items() if name != "__metadata__"}
    end = max((tensor.end for tensor in found.values()), default=LENGTH_BYTES + length)
    if end != size:
        raise ValueError(f"{file} is damaged: it has {size} bytes, its header describes {end}; {COPY}")
    return found


def _entry(file: Path, name: str, entry: Any, header: int) -> Stored:
    try:
        dtype, shape = str(entry["dtype"]), tuple(int(size) for size in entry["shape"])
        start, end = (LENGTH_BYTES + header + int(place) for place in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged: its header does not describe {name!r}; {COPY}") from error
    width = WIDTHS.get(dtype)
    if width is None and dtype not in UNCOUNTED:
        raise ValueError(f"{file} is damaged: {name!r} has the type {dtype[:40]!r}, which safetensors lack; {COPY}")
    if not 0 <= start <= end or min(shape, default=0) < 0 or (width and end - start != width * math.prod(shape)):
        raise ValueError(f"{file} is damaged: {name!r} has not the bytes of its shape {list(shape)}; {COPY}")
    return Stored(file, dtype, shape, start, end)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]


def some(names: Sequence[str]) -> str:
    """The first of several names, and how many more there are."""
    return repr(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
