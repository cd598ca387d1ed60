"""A chat template rendered by transformers on its own, without a tokenizer: what another process is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from transformers.utils import chat_template_utils


def render(template: str, turns: Sequence[Mapping[str, str]], settings: Mapping[str, Any]) -> str:
    """A conversation as text; `settings` are what the template may use, special tokens included."""
    rendered, _ = cast(Any, chat_template_utils).render_jinja_template([turns], chat_template=template, **settings)
    return cast(str, rendered[0])
