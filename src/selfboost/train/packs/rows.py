"""What is trained on, as token ids: an item is one example (one row) or one pair (two rows with the same prompt).

Cuts to the longest allowed length: the prompt's end and the completion's start stay, no completion becomes empty, and
both sides of a pair keep the same prompt. Every cut is counted.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

from selfboost.disk.sequences import Lazy
from selfboost.records import Example, Pair


@dataclass(frozen=True)
class Row:
    """A prompt and one completion."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.token_ids)


@dataclass(frozen=True)
class Item:
    """The unit of a loss: an example's row, or a pair's chosen and rejected rows."""

    id: str
    rows: tuple[Row, ...]
    cuts: int = 0
    """How many completions and prompts were cut."""

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The prompt that all its rows begin with."""
        return self.rows[0].prompt_ids

    @property
    def shared_tokens(self) -> int:
        """Its tokens in a pack: its prompt once, and its completions."""
        return len(self.prompt_ids) + self.completion_tokens

    @property
    def longest(self) -> int:
        """Tokens of its longest row."""
        return max(len(row) for row in self.rows)

    @property
    def tokens(self) -> int:
        """Tokens of all its rows."""
        return sum(len(row) for row in self.rows)

    @property
    def completion_tokens(self) -> int:
        """Tokens of all its completions."""
        return sum(len(row.token_ids) for row in self.rows)


class CompactItems(Lazy[Item]):
    """Items with equally many rows; each is made when it is asked for, from four bytes a token."""

    def __init__(self, items: Iterable[Item], rows: int) -> None:
        self._rows = rows
        self._tokens, self._cuts = array("i"), array("b")
        self._ends = array("Q", [0])
        """Where the tokens end of: each item's prompt, then each of its completions."""
        self._ids, self._id_ends = bytearray(), array("Q", [0])
        for item in items:
            for ids in (item.prompt_ids, *(row.token_ids for row in item.rows)):
                self._tokens.extend(ids)
                self._ends.append(len(self._tokens))
            self._ids += item.id.encode()
            self._id_ends.append(len(self._ids))
            self._cuts.append(item.cuts)

    def __len__(self) -> int:
        return len(self._cuts)

    def each(self, places: Sequence[int]) -> Iterator[Item]:
        """The items at these places."""
        return map(self._item, places)

    def _item(self, place: int) -> Item:
        first = place * (self._rows + 1)
        ends = self._ends[first : first + self._rows + 2]
        prompt, *completions = (tuple(self._tokens[a:b]) for a, b in pairwise(ends))
        name = self._ids[self._id_ends[place] : self._id_ends[place + 1]].decode()
        return Item(name, tuple(Row(prompt, ids) for ids in completions), self._cuts[place])


def hash_items(items: Iterable[Item]) -> str:
    """SHA-256 of all items, in order."""
    digest = sha256()
    for item in items:
        digest.update(repr((item.id, [(row.prompt_ids, row.token_ids) for row in item.rows])).encode())
    return digest.hexdigest()


def example_items(examples: Sequence[Example], max_length: int, max_prompt: int = 0) -> Sequence[Item]:
    """Items of one row each, with prompts of at most `max_prompt` tokens (0 = no limit of its own).

    Raises:
        ValueError: there are none, or a prompt or completion is empty; names the record.
    """
    if not examples:
        raise ValueError("there is no example to train on")
    items = (_item(e.id, e.prompt_ids, {"answer": e.answer.token_ids}, max_length, max_prompt) for e in examples)
    return CompactItems(items, rows=1)


def pair_items(pairs: Sequence[Pair], max_length: int, max_prompt: int = 0) -> Sequence[Item]:
    """Items of two rows each, chosen first, with prompts of at most `max_prompt` tokens (0 = no limit of its own).

    Raises:
        ValueError: there are none, or a prompt or completion is empty; names the record.
    """
    if not pairs:
        raise ValueError("there is no pair to train on")
    items = (
        _item(
            p.id, p.prompt_ids, {"chosen": p.chosen.token_ids, "rejected": p.rejected.token_ids}, max_length, max_prompt
        )
        for p in pairs
    )
    return CompactItems(items, rows=2)


def _item(
    name: str, prompt_ids: Sequence[int], completions: dict[str, tuple[int, ...]], max_length: int, max_prompt: int
) -> Item:
    for side, token_ids in completions.items():
        if not token_ids:
            raise ValueError(f"{name}: its {side} completion has no tokens, so there is nothing to learn from")
    if not prompt_ids:
        raise ValueError(f"{name}: its prompt has no tokens; a completion needs at least one before it")
    longest = max(len(token_ids) for token_ids in completions.values())
    # Where both are too long each gets half; where only one is, it alone is cut.
    room = max(max_length - longest, max_length // 2)
    kept = min(len(prompt_ids), room, max_prompt or room)
    prompt = tuple(prompt_ids[len(prompt_ids) - kept :])
    rows = tuple(Row(prompt, token_ids[: max_length - kept]) for token_ids in completions.values())
    cuts = sum(len(row.token_ids) < len(whole) for row, whole in zip(rows, completions.values(), strict=True))
    return Item(name, rows, cuts + (kept < len(prompt_ids)))
