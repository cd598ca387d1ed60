"""What went wrong in a stage, counted on its card: answers that failed or were cut, scores that are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

FAILED, CUT, UNSCORED, TRUNCATED = "failed", "cut at the token limit", "without a value", "truncated"
"""Names of these counts among a card's notes."""
REASON = "most common reason"
"""The note that says why most of what failed did so."""
LONGEST = 200
"""Most characters of a reason that are kept."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of fault of a stage."""

    kind: Literal["failed", "cut", "other"]
    count: int
    of: int
    """Rows of the stage."""
    what: str
    """What is wrong with them: `cut at the token limit`."""
    why: str = ""
    """The most common reason, where one is known."""

    @property
    def share(self) -> float:
        """Of the rows; a training may cut several texts of one."""
        return min(1.0, self.count / self.of) if self.of else 0.0

    def __str__(self) -> str:
        counted = f"{self.count:,} of {self.of:,} " if self.count <= self.of else f"{self.count:,} "
        return f"{counted}{self.what}{f': {self.why}' if self.why else ''}"


_KINDS: Mapping[str, tuple[Literal["failed", "cut", "other"], str]] = {
    FAILED: ("failed", "failed"),
    UNSCORED: ("failed", "without a score"),
    CUT: ("cut", "cut at the token limit"),
    TRUNCATED: ("cut", "prompts or answers cut to max_length"),
    "empty": ("other", "empty"),
    "doubled begin token": ("other", "with a doubled begin token"),
    "doubled end token": ("other", "with a doubled end token"),
}
"""Name of a count → its kind, and how it is said."""


def faults_of(notes: Mapping[str, Any], rows: int) -> Sequence[Fault]:
    """The faults that a card's notes count; anything else in them is left out."""
    reason = notes.get(REASON)
    why = reason if isinstance(reason, str) else ""
    found: list[Fault] = []
    for name, (kind, what) in _KINDS.items():
        count = notes.get(name)
        if isinstance(count, int) and count > 0:
            found.append(Fault(kind=kind, count=count, of=rows, what=what, why=why if kind == "failed" else ""))
    return found


def reason_note(reasons: Counter[str]) -> Mapping[str, str]:
    """The note with the most common reason, shortened; none where nothing failed."""
    found = [reason for reason, _ in reasons.most_common(1) if reason]
    return {REASON: " ".join(found[0].split())[:LONGEST]} if found else {}
