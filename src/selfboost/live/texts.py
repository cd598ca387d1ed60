"""All prompts and answers of runs in a full-text index (SQLite's FTS5), which is this process's alone and ends with it.

Filled from the record files as they grow, row by row; what a run removed is removed here.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from selfboost.live.indexed import Indexed, Scored
from selfboost.live.reading import read_batch
from selfboost.live.record_tails import RecordFile, Tail
from selfboost.records import Rated

SCHEMA = """
CREATE TABLE rows (
  id INTEGER PRIMARY KEY, run TEXT, stage TEXT, iteration INTEGER, kind TEXT, place INTEGER, key TEXT, prompt_id TEXT,
  gap REAL, facts TEXT, UNIQUE (run, kind, key)
);
CREATE INDEX rows_by_stage ON rows (run, stage, prompt_id);
CREATE INDEX rows_by_run ON rows (run, id);
CREATE INDEX rows_by_kind ON rows (run, kind, id);
CREATE VIRTUAL TABLE texts USING fts5(
  prompt, answer, other, tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3'
);
CREATE TABLE scores (run TEXT, stage TEXT, place INTEGER, value REAL, reason TEXT, PRIMARY KEY (run, stage, place));
CREATE TABLE ratings (run TEXT, stage TEXT, prompt_id TEXT, measure TEXT, value REAL);
CREATE INDEX ratings_by_stage ON ratings (run, stage, measure);
"""
ROW = "SELECT rows.*, texts.prompt, texts.answer, texts.other FROM rows CROSS JOIN texts ON texts.rowid = rows.id"
COUNTED = 10_000
"""Hits are counted up to this many."""
SCORES = "-scores"
"""Ends the name of the stage with the verdicts on another stage's answers."""
LONGEST_QUERY = 300
"""Characters of a search that are read."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which rows are asked for; what is empty does not narrow them."""

    runs: tuple[str, ...] = ()
    kind: str = ""
    stage: str = ""
    iteration: int | None = None
    query: str = ""
    by_gap: bool = False
    """Widest score gap first, else the newest first."""
    offset: int = 0
    limit: int = 50


class TextIndex:
    """The index. One thread fills it, any number read it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)  # "": a file of its own, unnamed
        self._db.executescript(SCHEMA)
        self._tails: dict[tuple[str, str], Tail] = {}
        self.rows = Counter[str]()
        """Run → rows."""

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

    def fill(self, run: str, found: RecordFile) -> Iterator[int]:
        """Read what a stage's file has more by now; yields after each batch the number of lines read so far.

        Raises:
            ValueError: the file cannot be read.
        """
        tail = self._tails.setdefault((run, found.stage), Tail())
        if not tail.behind(found) and tail.offset <= found.size:
            return
        if tail.restarted(found):
            self.drop(run, found.stage)
        for batch in tail.batches(found):
            self._add(run, found.stage, read_batch(batch, found, tail))
            yield tail.lines

    def forget(self, run: str, stages: Sequence[str]) -> None:
        """Remove all stages of a run that are not among these."""
        for name, stage in [key for key in self._tails if key[0] == run and key[1] not in stages]:
            self.drop(name, stage)
            del self._tails[name, stage]

    def tail(self, run: str, stage: str) -> Tail:
        """How far a stage has been read."""
        return self._tails.get((run, stage), Tail())

    def drop(self, run: str, stage: str) -> None:
        """Remove a stage."""
        its = (run, stage)
        with self._lock, self._db:
            self._db.execute("BEGIN")
            self._db.execute("DELETE FROM texts WHERE rowid IN (SELECT id FROM rows WHERE run = ? AND stage = ?)", its)
            self.rows[run] -= self._db.execute("DELETE FROM rows WHERE run = ? AND stage = ?", its).rowcount
            for table in ("scores", "ratings"):
                self._db.execute(f"DELETE FROM {table} WHERE run = ? AND stage = ?", its)

    def search(self, wanted: Wanted) -> tuple[list[dict[str, Any]], int]:
        """The rows that are wanted, and how many there are in all, counted up to `COUNTED`."""
        where, values = _where(wanted)
        searched = bool(wanted.query.strip())
        # CROSS JOIN keeps SQLite from looking up every row of a run in the index of words.
        tables = "texts CROSS JOIN rows ON rows.id = texts.rowid" if searched else "rows"
        order = "rows.gap DESC, rows.id" if wanted.by_gap else "texts.rowid DESC" if searched else "rows.id DESC"
        chosen = f"SELECT rows.id FROM {tables} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
        count = f"SELECT count(*) FROM (SELECT 1 FROM {tables} WHERE {where} LIMIT {COUNTED + 1})"
        with self._lock:
            ids = [found for (found,) in self._db.execute(chosen, (*values, wanted.limit, wanted.offset))]
            by_id = {row["id"]: row for row in self._rows(f"{ROW} WHERE rows.id IN ({_marks(ids)})", ids)}
            [[total]] = self._db.execute(count, values).fetchall()
        return [by_id[each] for each in ids], total

    def row(self, identity: int) -> dict[str, Any] | None:
        """One row."""
        with self._lock:
            return next(iter(self._rows(f"{ROW} WHERE rows.id = ?", (identity,))), None)

    def answers(self, run: str, stage: str, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """A stage's answers to these prompts, in the order in which they were sampled."""
        narrowed = f"rows.run = ? AND rows.stage = ? AND rows.prompt_id IN ({_marks(prompts)}) ORDER BY rows.place"
        with self._lock:
            return self._rows(f"{ROW} WHERE {narrowed}", (run, stage, *prompts))

    def ratings(self, run: str, stage: str, measure: str) -> dict[str, float]:
        """Prompt → mean of a measure's values, in the order of the stage."""
        select = "SELECT prompt_id, value FROM ratings WHERE run = ? AND stage = ? AND measure = ? ORDER BY rowid"
        with self._lock:
            return dict(self._db.execute(select, (run, stage, measure)).fetchall())

    def prompts_with(self, run: str, stages: Sequence[str], query: str) -> set[str]:
        """The prompts whose text, or whose answers in these stages, match a search."""
        select = (
            "SELECT DISTINCT rows.prompt_id FROM texts CROSS JOIN rows ON rows.id = texts.rowid "
            f"WHERE texts MATCH ? AND rows.run = ? AND rows.stage IN ({_marks(stages)})"
        )
        with self._lock:
            return {found for (found,) in self._db.execute(select, (match(query), run, *stages))}

    def _rows(self, select: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        """Rows as objects, with the verdict on each answer if another stage holds one."""
        cursor = self._db.execute(select, values)
        names = [column[0] for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        verdict = "SELECT value, reason FROM scores WHERE run = ? AND stage = ? AND place = ?"
        for row in found:
            row["facts"] = json.loads(row["facts"])
            if row["kind"] == "answer":
                scored = self._db.execute(verdict, (row["run"], row["stage"] + SCORES, row["place"])).fetchone()
                row["score"], row["unscored"] = scored or (None, "")
        return found

    def _add(self, run: str, stage: str, rows: Sequence[tuple[int, Indexed | Scored | Rated]]) -> None:
        head = stage.partition("/")[0].removeprefix("iteration-")
        iteration = int(head) if head.isdecimal() and len(head) < 10 else None
        with self._lock, self._db:
            self._db.execute("BEGIN")
            for place, row in rows:
                if isinstance(row, Indexed):
                    self._insert(run, stage, iteration, place, row)
                elif isinstance(row, Scored):
                    values = (run, stage, place, row.value, row.reason)
                    self._db.execute("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", values)
                else:
                    self._db.executemany("INSERT INTO ratings VALUES (?, ?, ?, ?, ?)", _rated(run, stage, row))

    def _insert(self, run: str, stage: str, iteration: int | None, place: int, row: Indexed) -> None:
        facts = json.dumps(row.facts)
        values = (run, stage, iteration, row.kind, place, row.key, row.prompt_id, row.facts.get("gap"), facts)
        insert = (
            "INSERT OR IGNORE INTO rows (run, stage, iteration, kind, place, key, prompt_id, gap, facts) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        added = self._db.execute(insert, values)
        if added.rowcount:
            self.rows[run] += 1
            texts = (added.lastrowid, row.prompt, row.answer, row.other)
            self._db.execute("INSERT INTO texts (rowid, prompt, answer, other) VALUES (?, ?, ?, ?)", texts)


def match(query: str) -> str:
    """A search as FTS5 reads it: every word, as the beginning of a word; what stands in quotes as it is, in a row."""
    parts = re.findall(r'"([^"]*)"|([^\s"]+)', query[:LONGEST_QUERY])
    kept = [(phrase or word, "" if phrase else "*") for phrase, word in parts if re.search(r"[^\W_]", phrase or word)]
    return " ".join(f'"{text}"{star}' for text, star in kept) or '"\x01"'


def _where(wanted: Wanted) -> tuple[str, list[Any]]:
    """The condition on rows, and its values."""
    one = len(wanted.runs) == 1  # "=" lets the index give the order
    asked: list[tuple[str, list[Any]]] = [
        ("rows.run = ?" if one else f"rows.run IN ({_marks(wanted.runs)})", list(wanted.runs)),
        ("rows.kind = ?", [wanted.kind] if wanted.kind else []),
        ("rows.stage = ?", [wanted.stage] if wanted.stage else []),
        ("rows.iteration = ?", [] if wanted.iteration is None else [wanted.iteration]),
        ("texts MATCH ?", [match(wanted.query)] if wanted.query.strip() else []),
    ]
    used = [(condition, values) for condition, values in asked if values]
    return " AND ".join(condition for condition, _ in used) or "1", [v for _, values in used for v in values]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _rated(run: str, stage: str, rated: Rated) -> Iterator[tuple[Any, ...]]:
    for name, values in rated.values.items():
        known = [value for value in values if value is not None]
        if known:
            yield run, stage, rated.prompt, name, sum(known) / len(known)
