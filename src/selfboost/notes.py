"""Notes: what a method says of an iteration beside its stages, as small dataclasses beside the code that writes them.

`run.json` keeps a note under its class's name in snake case. Whoever knows the class reads it back as it was written;
everyone else sees its fields by name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
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


@dataclass(frozen=True, kw_only=True)
class Counts(Note):
    """How many came to what, by reason; `run.count(...)` adds to it. Reasons are words for people, an open set."""

    counts: Mapping[str, int]
    """Reason → how many. What the others are parts of is counted too, under a name of its own."""


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
    def in_words(self) -> str:
        """What the notes say: `improver: seeds 30, kept 12; prompts: …`."""
        return "; ".join(f"{words(name)}: {', '.join(_told(note))}" for name, note in self.kept.items())

    @property
    def decided_by(self) -> str:
        """The settings that the last of the notes depends on; empty where none says."""
        return next((note.decided_by for note in reversed(self._notes.values()) if note.decided_by), "")


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


def _told(fields: Mapping[str, Any]) -> Iterable[str]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _told(cast(Mapping[str, Any], value))
        else:
            shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else value
            yield f"{words(name)} {shown}"


@cache
def _adapter(kind: type[Note]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
