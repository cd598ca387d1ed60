"""The cache of replies: one SQLite file in a run's cache folder, one row per reply, written when it arrives.

So a killed run pays for no reply twice, and a budget counts what earlier attempts spent. Several processes may use one
file. What is stored of a request is its hash; a key is nowhere in it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from functools import cache as once
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from selfboost.disk.files import refuse_link, set_aside
from selfboost.endpoints import Endpoint, Reply

FILE = "replies.sqlite"
WAIT_SECONDS = 60.0
"""How long to wait for another process that is writing."""
TABLE = (
    "CREATE TABLE IF NOT EXISTS replies "
    "(key TEXT PRIMARY KEY, address TEXT NOT NULL, model TEXT NOT NULL, tokens INTEGER NOT NULL, reply TEXT NOT NULL)"
)
BESIDE = ("-journal", "-wal", "-shm")
"""Endings of the files that SQLite keeps beside its own while it writes."""


def tell_nobody(sentence: str) -> None:
    """Say a sentence to nobody: for callers without a user."""
    del sentence


class KeptReplies:
    """An open cache."""

    def __init__(self, opened: sqlite3.Connection, place: str) -> None:
        self._opened, self._place = opened, place

    def find(self, keys: Iterable[str]) -> dict[str, Reply]:
        """Key → reply, of those that are kept; what cannot be read counts as missing."""
        found: dict[str, Reply] = {}
        with self._faults():
            for key in dict.fromkeys(keys):
                row = self._opened.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
                if row is not None and (reply := _parsed(row[0])):
                    found[key] = reply
        return found

    def keep(self, key: str, endpoint: Endpoint, reply: Reply) -> None:
        """Store a reply; it survives a kill once this returns.

        Raises:
            ValueError: the file cannot be written.
        """
        row = (key, endpoint.address, endpoint.model, reply.read + reply.written, json.dumps(asdict(reply)))
        with self._faults(), self._opened:
            self._opened.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?)", row)

    def spent(self, endpoint: Endpoint) -> tuple[int, int]:
        """How many replies of an endpoint's model are kept, and their tokens, those of the requests included."""
        total = "SELECT count(*), coalesce(sum(tokens), 0) FROM replies WHERE address = ? AND model = ?"
        with self._faults():
            requests, tokens = self._opened.execute(total, (endpoint.address, endpoint.model)).fetchone()
        return int(requests), int(tokens)

    @contextmanager
    def _faults(self) -> Generator[None, None, None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ValueError(f"{self._place}: cannot be used ({error}); rerun the same command to resume") from None


@contextmanager
def open_replies(folder: Path | None, say: Callable[[str], None]) -> Generator[KeptReplies, None, None]:
    """The cache in a folder, made where there is none; a damaged one is set aside, which `say` tells. None: in memory.

    Raises:
        ValueError: something other than a plain file is in its place, or it cannot be opened.
    """
    place = ":memory:" if folder is None else str(folder / FILE)
    if folder is not None:
        _set_damaged_aside(folder / FILE, say)
    # Used by two threads, one after the other: first to look up, then to store.
    try:
        opened = sqlite3.connect(place, timeout=WAIT_SECONDS, check_same_thread=False)
        with suppress(sqlite3.OperationalError):  # another process is writing: it has seen to it, or does without
            opened.execute("PRAGMA journal_mode = WAL")
        # A kill loses nothing; a power cut may lose the last replies, but breaks nothing. Waiting for the disk at every
        # reply would hold up all requests in flight.
        opened.execute("PRAGMA synchronous = NORMAL")
        with opened:
            opened.execute(TABLE)
    except sqlite3.Error as error:
        raise ValueError(f"{place}: cannot be opened ({error}); is its folder writable?") from None
    with closing(opened):
        yield KeptReplies(opened, place)


def _set_damaged_aside(path: Path, say: Callable[[str], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = [path.with_name(path.name + ending) for ending in BESIDE]
    for each in (path, *beside):
        refuse_link(each)
    if not path.exists() or not (why := _damage(path)):
        return
    aside = set_aside(path)
    for each in beside:  # they belong to the damaged file
        if each.exists():
            set_aside(each)
    say(f"{path}: is damaged ({why}); kept as {aside}, and what it held is asked again")


def _damage(path: Path) -> str:
    """What is wrong with a cache's file; empty if nothing is, or if another process is writing it."""
    try:
        with closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as opened:
            found = str(opened.execute("PRAGMA quick_check(1)").fetchone()[0])
            opened.execute(TABLE)
            opened.execute("SELECT key, address, model, tokens, reply FROM replies LIMIT 1").fetchone()
    except sqlite3.DatabaseError as error:
        locked = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
        return "" if locked else str(error)
    return "" if found == "ok" else found


def _parsed(text: object) -> Reply | None:
    try:
        return replace(_adapter().validate_json(str(text)), cached=True)
    except ValidationError:
        return None


@once
def _adapter() -> TypeAdapter[Reply]:
    return TypeAdapter(Reply)
