"""How many tokens a model reads, and which architectures compute a row by the length of its neighbours.

Rotary variants that switch their frequencies at a length (dynamic NTK, LongRoPE) look at the longest row of a batch.
Up to the length of their pretraining they do not switch: a row may have no more tokens, here as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from selfboost.engines import Request

LENGTH_DEPENDENT: Mapping[str, str] = {
    "big_bird": "its attention changes with the length of a batch",
    "fnet": "it mixes all places of a batch's rows, padding included",
    "funnel": "it pools places of a batch's rows, padding included",
    "mra": "its attention changes with the length of a batch",
    "nystromformer": "it averages over places of a batch's rows, padding included",
    "reformer": "it hashes by chance and by the length of a batch",
    "yoso": "it hashes by chance",
}
"""Model types whose values for a row depend on the rows beside it → why."""
OFFSET = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "longformer", "mpnet", "esm")
"""Model types that count positions from behind their padding id."""
SWITCHING = ("dynamic", "longrope", "su")
"""Kinds of rotary embedding that change with the longest row (`su`: LongRoPE's old name)."""


def context_of(config: Any) -> int | None:
    """Most tokens of a row, by a transformers configuration; None where it has no limit of its own."""
    text = config.get_text_config()
    limits = [getattr(text, "max_position_embeddings", None), *_switches_at(text)]
    known = [int(limit) for limit in limits if limit]
    if getattr(text, "model_type", None) in OFFSET and known:
        known[0] -= int(getattr(text, "pad_token_id", None) or 0) + 1
    return min(known, default=None)


def context_note(config: Any) -> str:
    """What must be said of a context that is shorter than the configuration's; empty where it is not."""
    stated, used = getattr(config.get_text_config(), "max_position_embeddings", None), context_of(config)
    if not stated or not used or not list(_switches_at(config.get_text_config())) or used >= stated:
        return ""
    return (
        f"rows have at most {used} tokens of the model's {stated}: beyond {used} its rotary embedding changes with the "
        "longest row of a batch"
    )


def changes_with_length(config: Any) -> bool:
    """Whether the rotary embedding of a transformers configuration looks at the longest row of a batch."""
    return any(True for _ in _switches_at(config.get_text_config()))


def room_for(request: Request, context_length: int) -> int:
    """Most tokens of the answer; 0 or less: there is no room."""
    prompt = len(request.prompt_ids)
    return min(request.sampling.max_tokens, context_length - prompt) if prompt else 0


def why_no_room(request: Request, context_length: int) -> str:
    """Why a prompt leaves no room for an answer."""
    tokens = len(request.prompt_ids)
    full = f"the prompt's {tokens} tokens leave no room in the context of {context_length} tokens"
    return full if tokens else "the prompt is empty"


def _switches_at(text: Any) -> Iterator[int | None]:
    """Lengths at which rotary frequencies change."""
    for settings in _rotary(text):
        kind = str(settings.get("rope_type") or settings.get("type") or "default")
        if any(name in kind for name in SWITCHING):
            yield settings.get("original_max_position_embeddings") or getattr(
                text, "original_max_position_embeddings", None
            )


def _rotary(text: Any) -> list[Mapping[str, Any]]:
    """The rotary settings of a configuration: one mapping, or one for each kind of layer."""
    found: object = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    if not isinstance(found, Mapping):
        return []
    settings = cast("Mapping[str, Any]", found)
    parts = [cast("Mapping[str, Any]", part) for part in settings.values() if isinstance(part, Mapping)]
    return [settings, *parts]
