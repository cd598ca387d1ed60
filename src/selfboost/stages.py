"""A running stage: its rows, its clock, its progress reports. The files themselves are `store`'s."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from selfboost import store
from selfboost.disk import files
from selfboost.records import Model

Record = TypeVar("Record")
WEIGHTS = "model"
"""The folder of a training stage that holds the trained model."""


class Listener(Protocol):
    """Receives a run's progress: a terminal, a log, nobody."""

    def started(self, stage: str, verb: str, total: int) -> None: ...
    def progress(self, done: int, total: int, tokens: int) -> None: ...
    def finished(self, stage: str, card: store.StageCard, *, reused: bool) -> None: ...
    def say(self, sentence: str) -> None: ...


class Silent:
    """A listener that says nothing."""

    def started(self, stage: str, verb: str, total: int) -> None: ...
    def progress(self, done: int, total: int, tokens: int) -> None: ...
    def finished(self, stage: str, card: store.StageCard, *, reused: bool) -> None: ...
    def say(self, sentence: str) -> None: ...


class OpenStage:
    """One stage, finished (`card` is set) or to be made."""

    def __init__(self, stage: store.Stage, listener: Listener, total: int) -> None:
        self._stage, self._listener, self.total = stage, listener, total
        self.card = stage.card()
        self._say_broken()
        self._start = time.monotonic()
        self.inner_seconds = 0.0
        """Seconds spent in stages opened inside this one, which count for those."""

    def rows(self, kind: type[Record]) -> Sequence[Record]:
        """The records of the finished stage, each read when it is asked for."""
        assert self.card is not None, f"{self._stage.name} is not finished"
        return store.stored_rows(self._stage.root, self.card, kind)

    def own_rows(self, kind: type[Record]) -> Sequence[Record]:
        """Those of its records that are not an earlier stage's."""
        assert self.card is not None, f"{self._stage.name} is not finished"
        return store.own_rows(self._stage.root, self.card, kind)

    def resumed(self, kind: type[Record], fits: Callable[[Record], bool]) -> Sequence[Record]:
        """Records that an earlier try left; `fits` says of each in turn whether it can stand there in this stage.

        A try that is damaged, or of which one does not fit, is set aside, and said to be.
        """
        try:
            found = self._stage.rows_so_far(kind)
            wrong = next((i for i, record in enumerate(found) if i >= self.total or not fits(record)), None)
            if wrong is None:
                return found
            why = f"{self._stage.partial / store.ROWS} line {wrong + 1}: does not belong there"
        except (ValueError, OSError) as error:
            why = str(error)
        self._stage.begin_again(why)
        self._say_broken()
        return []

    def _say_broken(self) -> None:
        while self._stage.broken:
            self._listener.say(self._stage.broken.pop(0))

    @property
    def warnings(self) -> list[str]:
        """Sentences that the finished stage has for the user."""
        assert self.card is not None, f"{self._stage.name} is not finished"
        return self.card.warnings

    @property
    def notes(self) -> Mapping[str, Any]:
        """What the finished stage counted."""
        assert self.card is not None, f"{self._stage.name} is not finished"
        return self.card.notes

    def append(self, records: Iterable[object]) -> None:
        """Add records; they survive a kill."""
        self._stage.append(records)

    def replace_rows(self, records: Sequence[object]) -> None:
        """Write all of its own records at once."""
        path = self._stage.begin() / store.ROWS
        files.refuse_link(path)
        path.unlink(missing_ok=True)
        self._stage.append(records)

    def result_folder(self) -> Path:
        """Folder for a training's model; may hold the state of a killed attempt."""
        folder = self._stage.begin() / WEIGHTS
        files.refuse_links_inside(folder)
        folder.mkdir(exist_ok=True)
        return folder

    def progress(self, done: int, total: int, tokens: int) -> None:
        """Tell the listener."""
        self._listener.progress(done, total, tokens)

    def finish(
        self,
        *,
        tokens: int = 0,
        notes: Mapping[str, Any] | None = None,
        result: str = store.ROWS,
        earlier: tuple[store.Earlier, ...] = (),
    ) -> None:
        """Seal the stage; the records of `earlier` stages come before its own."""
        self.card = self._stage.finish(
            rows=self.total,
            tokens=tokens,
            seconds=time.monotonic() - self._start - self.inner_seconds,
            result=result,
            notes=notes or {},
            earlier=earlier,
        )

    def model(self, name: str, start: Model) -> Model:
        """The model a finished training stage made."""
        assert self.card is not None, f"{self._stage.name} is not finished"
        return Model(name=name, path=str(self._stage.folder / WEIGHTS), fingerprint=self.card.made, start=start)


class Stages:
    """Opens the stages of one run."""

    def __init__(self, root: Path, listener: Listener) -> None:
        self._root, self._listener = root, listener
        self._open: list[OpenStage] = []

    @contextmanager
    def open(self, name: str, verb: str, parts: Mapping[str, Any], total: int) -> Generator[OpenStage, None, None]:
        """Open a stage by its name and everything that determines its result; the block finishes it if need be."""
        stage = store.Stage(self._root, name, verb, parts)
        opened = OpenStage(stage, self._listener, total)
        reused = opened.card is not None
        if not reused:
            changed = stage.replaced()
            if changed:
                self._listener.say(f"{name} runs again, changed: {', '.join(changed)}")
            self._listener.started(name, verb, total)
        self._open.append(opened)
        try:
            yield opened
        finally:
            self._open.pop()
            if self._open:
                self._open[-1].inner_seconds += time.monotonic() - opened._start  # pyright: ignore[reportPrivateUsage]
        assert opened.card is not None, f"{name} was left unfinished"
        self._listener.finished(name, opened.card, reused=reused)
