"""Follows the folders of runs: a thread looks at the files' times, reads what is new, and numbers each change."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

from selfboost import results, store
from selfboost.live.progress import StageInProgress, open_stage, time_left
from selfboost.live.record_tails import RecordFile, record_files
from selfboost.live.runs import Check, find_runs
from selfboost.live.state import full_state, in_progress, short_state
from selfboost.live.texts import TextIndex
from selfboost.store.cards import CARD
from selfboost.views.summary import RunSummary, summary

PERIOD = 0.5
"""Seconds between two looks."""
BREATH = 0.001
"""Seconds between two batches, in which a search gets its turn."""
AGAIN = 10.0
"""Seconds after which a run that does not change is looked at again: its process may be gone."""


@dataclass(kw_only=True)
class Followed:
    """A run as it was when it was last looked at."""

    root: Path
    version: int = 0
    """Raised at each change."""
    marks: object = None
    read_at: float = 0.0
    run: RunSummary | None = None
    state: Mapping[str, Any] = field(default_factory=dict[str, Any])
    short: Mapping[str, Any] = field(default_factory=dict[str, Any])
    moving: Mapping[str, Any] = field(default_factory=dict[str, Any])
    problem: str = ""
    """Why it cannot be shown."""
    unread: dict[str, str] = field(default_factory=dict[str, str])
    """Stage → why its records cannot be searched."""


class Watcher:
    """All runs of the given folders, those that come later too."""

    def __init__(self, folders: Sequence[Path], check: Check, period: float = PERIOD) -> None:
        """Raises ValueError where a folder does not exist."""
        self._folders, self._check, self._period = folders, check, period
        self.texts = TextIndex()
        self.runs = {name: Followed(root=root) for name, root in find_runs(folders).items()}
        self._stop = Event()
        self._thread = Thread(target=self._follow, daemon=True, name="selfboost-live")
        self.filled = Event()
        """Set once everything that was there has been read."""

    def __enter__(self) -> Watcher:
        for name in self.runs:
            self._look(name)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.texts.close()

    @property
    def versions(self) -> dict[str, int]:
        """Run → number of its last change."""
        return {name: followed.version for name, followed in self.runs.items()}

    def _follow(self) -> None:
        while not self._stop.is_set():
            for name, followed in self.runs.items():
                try:
                    self._look(name)
                    self._fill(name)
                except Exception as error:  # one run's folder, whatever is in it, does not stop the others
                    followed.problem = f"{followed.root}: cannot be read ({type(error).__name__}: {error})"
            self.filled.set()
            self._stop.wait(self._period)
            self._find_more()

    def _find_more(self) -> None:
        try:
            known = {followed.root for followed in self.runs.values()}
            new = {name: root for name, root in find_runs(self._folders).items() if root not in known}
        except (OSError, ValueError):  # a folder is gone: its runs are kept as they were
            return
        if new:
            self.runs = self.runs | {name: Followed(root=root) for name, root in new.items()}

    def _look(self, name: str) -> None:
        """Read a run's summary and cards again if one of its files has changed."""
        followed = self.runs[name]
        marks = _marks(followed.root)
        changed = marks != followed.marks
        if not changed and time.monotonic() - followed.read_at < AGAIN:
            return
        before, followed.marks, followed.read_at = (followed.short, followed.problem), marks, time.monotonic()
        try:
            self._check(followed.root)
            run = summary(followed.root)
            cards = store.cards(followed.root)
            followed.run, followed.problem = run, ""
            followed.state, followed.short = full_state(followed.root, run, cards), short_state(name, run)
        except (OSError, ValueError) as error:
            followed.problem = str(error)
        if changed or (followed.short, followed.problem) != before or not followed.version:
            followed.version += 1

    def _fill(self, name: str) -> None:
        """Read what the run's record files have more."""
        followed = self.runs[name]
        if followed.problem and followed.run is None:
            return
        found = record_files(followed.root)
        self.texts.forget(name, list(found))
        followed.moving = self._moving(name, followed, found)
        for each in found.values():
            self._read(name, followed, each)

    def _read(self, name: str, followed: Followed, found: RecordFile) -> None:
        followed.unread.pop(found.stage, None)
        try:
            for _ in self.texts.fill(name, found):
                followed.version += 1
                if self._stop.wait(BREATH):
                    return
        except (OSError, ValueError) as error:
            followed.unread[found.stage] = str(error)
        if faults := self.texts.tail(name, found.stage).faults:
            words = f"{len(faults):,} lines are" if len(faults) > 1 else f"line {faults[0]} is"
            followed.unread.setdefault(found.stage, f"{found.stage}: {words} no record and left out")

    def _moving(self, name: str, followed: Followed, found: Mapping[str, RecordFile]) -> dict[str, Any]:
        """What is open, and how long the rest may take."""
        run = followed.run
        if run is None or run.status not in ("running", "starting"):
            return in_progress([], None)
        stages = [s for e in (*run.iterations, *run.beside) for s in e.stages] + [*run.prepare, *run.further]
        since = max((_finished(each) for each in found.values() if not each.open), default=0.0)
        opened: list[StageInProgress] = []
        for each in found.values():
            if each.open:
                seconds = round(max(time.time() - since, 0.0)) if since else 0.0
                opened.append(open_stage(each.stage, self.texts.tail(name, each.stage).lines, seconds, stages))
        return in_progress(opened, time_left(run, opened))


def _marks(root: Path) -> object:
    """Times and sizes of the files that a summary is read from; equal as long as none has changed."""
    places = [root / name for name in (results.SUMMARY, results.RECIPE, "lock")]
    found: list[tuple[str, int, int]] = []
    for path in (*places, *(root / store.STAGES).rglob(CARD)):
        try:
            stat = path.stat()
        except OSError:
            continue
        found.append((str(path), stat.st_mtime_ns, stat.st_size))
    return sorted(found)


def _finished(found: RecordFile) -> float:
    """When a stage was finished, in seconds since 1970."""
    try:
        return found.path.with_name(CARD).stat().st_mtime
    except OSError:  # replaced meanwhile
        return 0.0
