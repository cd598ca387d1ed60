"""Notes: what a method says of an iteration beside its stages, as small dataclasses beside the code that writes them.

`run.json` keeps a note under its class's name in snake case. Whoever knows the class reads it back as it was written;
everyone else sees its fields by name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

SomeNote = TypeVar("SomeNote", bound="Note")
Kept = Mapping[str, Any]
"""Notes as JSON has them: name → fields. A file may hold anything there."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """Base of all notes: subclass it as a frozen keyword-only dataclass, and write it with `run.note(...)`.

    Fields are numbers, texts, dataclasses and mappings from text to numbers; one that is None is not kept.
    """

    kept_as: ClassVar[str]
    """Its name in `run.json`."""
    decided_by: ClassVar[str] = ""
    """The settings to look at when nothing is left, as a recipe names them."""

    def __init_subclass__(cls, *, kept_as: str = "", decided_by: str = "") -> None:
        cls.kept_as = kept_as or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
        cls.decided_by = decided_by or cls.decided_by

    @property
    def nothing_left(self) -> str:
        """Where it says what was lost: how much, why, and what to change; else empty."""
        return ""


@dataclass(frozen=True, kw_only=True)
class Counts(Note):
    """How many came to what, by reason; `run.count(...)` adds to it. Reasons are words for people, an open set."""

    counts: Mapping[str, int]
    """Reason → how many. What the others are parts of is counted too, under a name of its own."""
    things: ClassVar[str] = ""
    """What is counted, in words: `candidate pairs`."""
    total: ClassVar[str] = ""
    """The count that the others are parts of."""
    cures: ClassVar[Mapping[str, str]] = {}
    """How a reason begins → what to change so that less is lost for it; `decided_by` stands in for the others."""

    @property
    def lost(self) -> Mapping[str, int]:
        """Reason → how many were lost for it, the most frequent first."""
        parts = {reason: n for reason, n in self.counts.items() if n and reason not in ("kept", self.total)}
        return dict(sorted(parts.items(), key=lambda part: -part[1]))

    @property
    def kept(self) -> int:
        """How many were not lost."""
        return self.counts.get("kept", max(0, self.counts.get(self.total, 0) - sum(self.lost.values())))

    @property
    def nothing_left(self) -> str:
        """How many were lost, the reasons, and what to change for the most frequent one."""
        if not self.lost:
            return ""
        whole, things = self.kept + sum(self.lost.values()), self.things or words(self.kept_as)
        reasons = ", ".join(f"{reason}: {n:,}" for reason, n in self.lost.items())
        cure = next((cure for start, cure in self.cures.items() if next(iter(self.lost)).startswith(start)), "")
        cure = cure or (f"look at {self.decided_by}" if self.decided_by else "")
        left = f"{self.kept:,} of {whole:,} {things} were kept" if self.kept else f"none of {whole:,} {things} was kept"
        return f"{left} ({reasons}){f'; {cure}' if cure else ''}"


def kept(note: Note) -> dict[str, Any]:
    """A note's fields as JSON has them."""
    return {name: value for name, value in asdict(note).items() if value is not None}


class Notebook:
    """The notes of an iteration while it runs."""

    def __init__(self) -> None:
        self._notes: dict[str, Note] = {}

    def note(self, note: Note) -> None:
        """Take a note, in the place of an earlier one of its kind.

        Raises:
            ValueError: a note of another class has its name.
        """
        known = self._notes.get(note.kept_as)
        if known is not None and type(known) is not type(note):
            both = f"{type(known).__qualname__} and {type(note).__qualname__}"
            raise ValueError(f"note {note.kept_as!r}: both {both} are kept under this name; give one another `kept_as`")
        self._notes[note.kept_as] = note

    def count(self, kind: type[Counts], counts: Mapping[str, int]) -> None:
        """Add counts by reason to the note of a kind; zeros are left out."""
        known = self.get(kind)
        total = Counter(known.counts if known else {})
        total.update({reason: number for reason, number in counts.items() if number})
        if total:
            self.note(kind(counts=dict(total)))

    def get(self, kind: type[SomeNote]) -> SomeNote | None:
        """The note of a kind, if there is one."""
        note = self._notes.get(kind.kept_as)
        return note if isinstance(note, kind) else None

    @property
    def kept(self) -> dict[str, dict[str, Any]]:
        """All notes as JSON has them, in the order in which they were first made."""
        return {name: kept(note) for name, note in self._notes.items()}

    @property
    def nothing_left(self) -> str:
        """What the last note says that was left of nothing, else of anything; empty where none does."""
        said = [(note, note.nothing_left) for note in reversed(self._notes.values())]
        empty = [words for note, words in said if words and not (isinstance(note, Counts) and note.kept)]
        return next(iter([*empty, *(words for _, words in said if words)]), "")


def read_note(notes: Kept, kind: type[SomeNote]) -> SomeNote | None:
    """The note of a kind; None where there is none, or what is kept under its name does not fit it."""
    fields = notes.get(kind.kept_as)
    if not isinstance(fields, Mapping):
        return None
    try:
        return cast(SomeNote, _adapter(kind).validate_python(fields))
    except ValidationError:
        return None


def words(name: str) -> str:
    """A name from code as people write it."""
    return name.replace("_", " ")


@cache
def _adapter(kind: type[Note]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
