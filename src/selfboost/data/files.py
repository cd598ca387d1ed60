"""Opens files of strangers: nothing that blocks for ever (a pipe, a device), no gzip file that swells without end."""

from __future__ import annotations

import gzip
import json
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

CHUNK = 1 << 20
LONGEST_LINE = 1 << 26
"""Most bytes of a line that is read on its own."""
UNSUSPICIOUS = 2_000_000
"""Up to this many bytes, a gzip file may expand as it likes ..."""
MOST_EXPANSION = 500
"""... beyond, to this many times its size: texts reach 30, zeros 1,000."""
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
OTHERS: Mapping[bytes, str] = {
    b"\x1f\x8b": "is compressed by gzip; let its name end in .gz",
    b"PK\x03\x04": "is a zip file or a spreadsheet; export it as CSV in UTF-8",
    b"PAR1": "is a Parquet file; let its name end in .parquet",
}
"""How files begin that are no text, whatever their name says → what to do."""


def check_regular(file: Path) -> None:
    """Refuse what is no regular file, before it is opened: reading a pipe may block for ever.

    Raises:
        ValueError: it does not exist, or is a folder, pipe, socket or device.
    """
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in KINDS if is_kind(mode)), "no file")
        raise ValueError(f"{file}: is {kind}; give a regular file")


def check_folder(folder: Path, parts: Sequence[str]) -> None:
    """Refuse a folder that holds a pipe, a socket or a device: reading one may block for ever.

    Looks at its own files, and at any depth into the folders that match one of `parts`, in which alone files are read.

    Raises:
        ValueError: it does; names the first.
    """
    own = sorted(folder.iterdir()) if folder.is_dir() else []
    deep = [path for part in own if any(map(part.match, parts)) for path in sorted(part.rglob("*"))]
    for path in [*own, *deep]:
        if path.exists() and not path.is_dir():
            check_regular(path)


def first_line(error: BaseException) -> str:
    """A library's own message, in one line of bounded length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300].rstrip(".")


def content_of(file: Path) -> bytes:
    """A regular file's bytes, decompressed if its name ends in .gz.

    Raises:
        ValueError: it cannot be read, or is no complete gzip file, or one that expands too much.
    """
    return b"".join(_chunks(file))


def text_in(file: Path) -> str:
    """A regular UTF-8 file's text, decompressed if its name ends in .gz, without a byte order mark.

    Raises:
        ValueError: as `content_of`, or it is not UTF-8 text; names the line.
    """
    data = content_of(file)
    check_utf8(data, str(file))
    if other := next((words for start, words in OTHERS.items() if data.startswith(start)), ""):
        raise ValueError(f"{file}: {other}")
    try:
        return data.decode("utf-8-sig")  # some editors start a file with a byte order mark
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{file} line {line}: is not UTF-8 text (byte {error.start} of the file); save it again as UTF-8"
        ) from error


def lines_of(file: Path) -> Iterator[bytes]:
    """A regular file's lines, decompressed if its name ends in .gz, each with its end.

    Raises:
        ValueError: as `content_of`, or a line is too long.
    """
    rest = b""
    for chunk in _chunks(file):
        *whole, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
        yield from (line + b"\n" for line in whole)
        if len(rest) > LONGEST_LINE:
            raise ValueError(f"{file}: has a line of more than {LONGEST_LINE:,} bytes; break it into several")
    if rest:
        yield rest


def check_utf8(start: bytes, where: str) -> None:
    """Refuse text that begins as UTF-16 does.

    Raises:
        ValueError: it does; says what to do.
    """
    if start.startswith(UTF_16):
        raise ValueError(f"{where}: is UTF-16 text, must be UTF-8; save it again as UTF-8")


def parsed(text: str) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is not valid (JSONDecodeError), or an object has a key twice.
        RecursionError: it is nested too deep.
    """
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return made


def _chunks(file: Path) -> Iterator[bytes]:
    check_regular(file)
    packed = file.name.endswith(".gz")
    most = max(UNSUSPICIOUS, MOST_EXPANSION * file.stat().st_size)
    total = 0
    try:
        with cast(BinaryIO, gzip.open(file)) if packed else file.open("rb") as opened:
            while chunk := opened.read(CHUNK):
                total += len(chunk)
                if packed and total > most:
                    raise ValueError(
                        f"{file}: expands to more than {MOST_EXPANSION} times its size; unpack it yourself"
                    )
                yield chunk
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{file}: is not a complete gzip file ({error})") from error
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror})") from error
