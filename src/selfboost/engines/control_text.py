"""Text of control tokens inside messages: marked before a template is rendered, encoded as ordinary text afterwards.

The marks distinguish it from the control tokens that the template writes. transformers does the same from 5.20 on.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Protocol

START, END = "\U000f0000", "\U000f0001"
"""Marks around a token's text: private-use characters, which are removed from messages."""


class Encode(Protocol):
    """Encodes a text; with `control` false, all of it as ordinary text."""

    def __call__(self, text: str, *, control: bool = True) -> list[int]: ...


def is_control(token: str, template: str) -> bool:
    """Whether an added token that is not special controls a conversation: the template writes it, or it looks so."""
    return token in template or re.fullmatch(r"<[|\uff5c].*[|\uff5c]>|\[/?[A-Z_]+\]", token) is not None


def marked(text: str, tokens: Collection[str]) -> str:
    """The message with marks around each control token's text."""
    return re.sub(_any_of(tokens), f"{START}\\g<0>{END}", re.sub(f"[{START}{END}]", "", text))


def encode_marked(rendered: str, tokens: Collection[str], encode: Encode) -> list[int]:
    """Ids of a rendered conversation: marked tokens as text, everything else as is.

    A template that splits messages can leave a single mark; it is dropped, and the text is still split there.
    """
    pieces = re.split(f"{START}({_any_of(tokens)}){END}|[{START}{END}]", rendered)
    ids = encode(pieces[0])
    for place, piece in enumerate(pieces[1:], start=1):
        if piece:
            ids += _encode_inside(piece, True, encode) if place % 2 == 0 else _encode_as_text(piece, encode)
    return ids


def _encode_as_text(token: str, encode: Encode) -> list[int]:
    """Ids of a control token's text, none of them the token's own.

    A tokenizer keeps only special tokens apart from text; any other added token is taken apart here.
    """
    ids = _encode_inside(token, False, encode)
    if len(ids) > 1 or len(token) == 1:
        return ids
    return [*_encode_inside(token[0], False, encode), *_encode_inside(token[1:], False, encode)]


def _encode_inside(piece: str, control: bool, encode: Encode) -> list[int]:
    """Ids of a piece that does not start the text; sentencepiece would put a space before it otherwise."""
    newline = encode("\n", control=control)
    behind = encode("\n" + piece, control=control)
    if behind[: len(newline)] == newline:
        return behind[len(newline) :]
    return encode(piece, control=control)


def _any_of(tokens: Collection[str]) -> str:
    """A pattern that matches these texts, longest first."""
    return "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True))
