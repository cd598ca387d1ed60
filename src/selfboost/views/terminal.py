"""A run's progress for a person: a live line on a terminal, plain lines elsewhere (a log, a pipe).

Goes to stderr, so that stdout has only results. Reused stages are counted, not listed.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from selfboost.store import StageCard
from selfboost.store.faults import faults_of
from selfboost.views import streams
from selfboost.views.time_left import TimeLeft, in_words
from selfboost.views.visible import visible

QUIET_SECONDS = 10.0
"""Without a terminal, the shortest time between two progress lines of a stage, in seconds."""
BAR = 20
FEW, MANY = 0.1, 0.5
"""Shares of a stage's rows up to which a fault is dim, and yellow; beyond, it is red."""


@dataclass
class StageProgress:
    """A running stage: its progress, and its pace since it was first reported."""

    stage: str
    verb: str
    total: int
    start: float = field(default_factory=time.monotonic)
    done: int = 0
    tokens: int = 0
    heard: tuple[float, int] | None = None
    """When progress was first reported, and how much was done then: a resumed stage does not begin at 0."""
    printed: float = field(default_factory=time.monotonic)

    def update(self, done: int, total: int, tokens: int) -> None:
        """Record a progress report."""
        self.done, self.total, self.tokens = done, total, tokens
        if self.heard is None:
            self.heard = (time.monotonic(), done)

    def rate(self, now: float) -> float:
        """Tokens per second."""
        return self.tokens / max(now - self.start, 1e-3)

    @property
    def share(self) -> float:
        """How much of it is done."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the end at the pace so far; None while there is no pace."""
        since, before = self.heard or (self.start, 0)
        if self.done == before:  # only one report: count all of it since the start
            since, before = self.start, 0
        if self.done <= before:
            return None
        return (self.total - self.done) * (now - since) / (self.done - before)


class Terminal:
    """A listener that shows progress; used as `with Terminal() as terminal`."""

    def __init__(self, console: Console | None = None, time_left: TimeLeft | None = None) -> None:
        self.console = console or streams.console(error=True)
        self._time_left = time_left
        self._works: list[StageProgress] = []
        self._reused = 0
        self._live: Live | None = None
        if self.console.is_terminal:
            self._live = Live(
                console=self.console,
                get_renderable=self._line,
                transient=True,
                refresh_per_second=5,
                redirect_stdout=False,
            )

    def __enter__(self) -> Terminal:
        if self._live is not None:
            self._live.start()
            sys.stderr = streams.Guarded(sys.stderr)  # the live display takes it, with all that libraries say
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell_reused()
        if self._live is not None:
            self._live.stop()

    def started(self, stage: str, verb: str, total: int) -> None:
        """A stage begins, possibly inside another."""
        self._tell_reused()
        self._works.append(StageProgress(stage, verb, total))
        if self._live is None and len(self._works) == 1:  # stages inside it report only when they are done
            self._print(f"{stage}: {verb} {total:,} …")

    def progress(self, done: int, total: int, tokens: int) -> None:
        """Progress of the innermost stage."""
        if not self._works:
            return
        work, now = self._works[-1], time.monotonic()
        work.update(done, total, tokens)
        if self._live is None and now - work.printed >= QUIET_SECONDS:
            work.printed = now
            self._print(
                "  ".join([f"{work.stage}: {done:,}/{total:,}", *_pace(work, now), *self._of_the_run(work, now)])
            )

    def finished(self, stage: str, card: StageCard, *, reused: bool) -> None:
        """A stage is done, or was reused."""
        if self._time_left is not None:
            self._time_left.passed(stage, card.seconds, reused=reused)
        if reused:
            self._reused += 1
            return
        self._works = self._works[: next((i for i, w in enumerate(self._works) if w.stage == stage), None)]
        tokens = f", {card.tokens:,} tokens" if card.tokens else ""
        faults = faults_of(card.notes, card.rows)
        mark = "! " if max((fault.share for fault in faults), default=0.0) > FEW else "✓ "
        line = Text()
        if self._live is not None:
            line.append(mark, style="yellow" if mark == "! " else "green")
        line.append(visible(f"{stage}: {card.verb}, {card.rows:,} rows{tokens}, {card.seconds:.1f} s"))
        for fault in faults:
            line.append(visible(f"; {fault}"), style=_weight(fault.share))
        self.console.print(line, soft_wrap=True)

    def say(self, sentence: str) -> None:
        """A message that the user must see."""
        self._tell_reused()
        self._print(sentence)

    def _tell_reused(self) -> None:
        if self._reused:
            self._print(f"reused {self._reused} finished stage{'s' if self._reused > 1 else ''}")
            self._reused = 0

    def _print(self, sentence: str) -> None:
        self.console.print(Text(visible(sentence)), soft_wrap=True)

    def _line(self) -> RenderableType:
        """The live lines: the running stage, its progress, pace and remaining time; then what is left of the run."""
        if not self._works:
            return Text()
        work, now = self._works[-1], time.monotonic()
        bar = ProgressBar(total=max(work.total, 1), completed=work.done, width=BAR)
        words = [f"{work.done:,}/{work.total:,}", *_pace(work, now)]
        grid = Table.grid(padding=(0, 1, 0, 0))
        name = Text(visible(work.stage), style="bold", overflow="ellipsis", no_wrap=True)
        grid.add_row(name, bar, Text("  ".join(words), no_wrap=True, overflow="ellipsis"))
        run = [Text(words, style="dim", no_wrap=True, overflow="ellipsis") for words in self._of_the_run(work, now)]
        return Group(grid, *run)

    def _of_the_run(self, work: StageProgress, now: float) -> list[str]:
        """What is left of the run as a whole, if somebody can tell."""
        if self._time_left is None:
            return []
        left = self._time_left.seconds(work.stage, work.share, now - work.start)
        return [f"{in_words(left)}, {_clock(now - self._time_left.start)} so far"]


def _weight(share: float) -> str:
    """How loud a fault is said, by its share of the rows."""
    return "dim" if share <= FEW else "yellow" if share <= MANY else "bold red"


def _pace(work: StageProgress, now: float) -> list[str]:
    words = [f"{work.rate(now):,.0f} tokens/s"] if work.tokens else []
    left = work.seconds_left(now)
    return [*words, f"{_clock(left)} left"] if left is not None else [*words, f"{_clock(now - work.start)} so far"]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
