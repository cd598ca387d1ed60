"""Reads a server's chat completion into a `Reply`. Nothing in it is trusted: neither its form nor its length."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from selfboost.endpoints import Question, Reply
from selfboost.templates import about_tokens

MOST_CHARACTERS = 200_000
"""Characters of a reply that are kept."""
MOST_COUNTED = 10**9
"""Tokens of one reply beyond which a server's count is not believed."""


class NoReplyError(ValueError):
    """What came back is no chat completion."""


def read_reply(question: Question, body: bytes) -> Reply:
    """The reply to a question in the body of a response.

    Raises:
        NoReplyError: it is no chat completion; says why.
    """
    data, choice = first_choice(body)
    message = at(choice, "message")
    if not isinstance(message, Mapping):
        raise NoReplyError(f"the reply has no message: {_start(body)}")
    text, finish, reason = _text(cast("Mapping[str, Any]", message)), at(choice, "finish_reason"), ""
    if finish == "content_filter":
        reason = "the server's content filter stopped the reply"
    cut = finish == "length" or len(text) > MOST_CHARACTERS
    ended: Literal["stop", "length", "failed"] = "failed" if reason else "length" if cut else "stop"
    read, written = (_count(at(data, "usage", name)) for name in ("prompt_tokens", "completion_tokens"))
    if read is None or written is None:  # a budget must hold with servers that count nothing, too
        read, written = sum(round(about_tokens(each.content)) for each in question.messages), round(about_tokens(text))
    return Reply(
        text=_whole(text[:MOST_CHARACTERS]),
        finish=ended,
        reason=reason,
        label_logprobs=_label_logprobs(question.labels, at(choice, "logprobs", "content")),
        read=read,
        written=written,
        system=_whole(str(at(data, "system_fingerprint") or "")[:100]),
    )


def first_choice(body: bytes) -> tuple[Any, Any]:
    """A response's JSON and the first of its choices.

    Raises:
        NoReplyError: it is no JSON, or has none.
    """
    try:
        data: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise NoReplyError(f"the reply is not JSON: {_start(body)}") from None
    choices = at(data, "choices")
    if not isinstance(choices, list) or not choices:
        raise NoReplyError(f"the reply has no choices: {_start(body)}")
    return data, cast("list[Any]", choices)[0]


def at(data: Any, *names: str) -> Any:
    """What lies under these names; None where something else does."""
    for name in names:
        data = cast("Mapping[str, Any]", data).get(name) if isinstance(data, Mapping) else None
    return data


def _text(message: Mapping[str, Any]) -> str:
    """The text of a message, which may come in parts; a refusal's words where there is none."""
    content = message.get("content")
    if isinstance(content, list):
        parts = (at(part, "text") for part in cast("list[Any]", content))
        content = "".join(part for part in parts if isinstance(part, str))
    found = content or message.get("refusal")
    return found if isinstance(found, str) else ""


def _whole(text: str) -> str:
    """The text without halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_COUNTED else None


def _label_logprobs(labels: Sequence[str], content: Any) -> dict[str, float]:
    """Label → log-probability of the first token's being it, with or without spaces around."""
    if not labels or not isinstance(content, list) or not content:
        return {}
    first = cast("list[Any]", content)[0]
    likely = at(first, "top_logprobs")
    tokens = dict(_tokens([first, *cast("list[Any]", likely if isinstance(likely, list) else [])]))
    sums: defaultdict[str, float] = defaultdict(float)
    for token, logp in tokens.items():
        if token.strip() in labels:
            sums[token.strip()] += math.exp(logp)
    return {label: math.log(p) for label, p in sums.items() if p > 0}


def _tokens(entries: Sequence[Any]) -> Iterator[tuple[str, float]]:
    for entry in entries:
        token, logp = at(entry, "token"), at(entry, "logprob")
        if isinstance(token, str) and isinstance(logp, int | float) and -math.inf < logp <= 0:
            yield token, float(logp)


def _start(body: bytes) -> str:
    """The beginning of a body, as an error quotes it."""
    return repr(body[:80].decode("utf-8", "replace") + ("…" if len(body) > 80 else ""))
