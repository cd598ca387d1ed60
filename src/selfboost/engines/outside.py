"""What engines outside this process share: which settings they draw with, and how a sample of theirs has ended.

Their samples are held to the rules of the engine in this process: an answer ends with a token that ends answers in
the model's chat template, with a stop text, or at its limit; any other end is a failure with a reason.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from selfboost.engines import Generation, Request, Tokenizer
from selfboost.engines.on_checkpoint import OnCheckpoint
from selfboost.records import Sampling
from selfboost.setting_types import SPEED_ONLY, Several

COLDEST, WARMEST = 0.01, 2.0
"""Temperatures above 0 that vLLM draws with: it raises lower ones without a word and refuses higher ones."""


class EndingTokenizer(Tokenizer, Protocol):
    """A tokenizer that knows which ids end an answer and which stand for a text."""

    @property
    def stop_ids(self) -> frozenset[int]: ...

    @property
    def known_ids(self) -> frozenset[int]: ...


@dataclass(frozen=True, kw_only=True)
class OutsideEngine(OnCheckpoint):
    """An engine whose models run outside this process and batch continuously."""

    block_size: Several = field(default=512, metadata=SPEED_ONLY)
    """Requests of a block: what is handed over, and stored, at once."""

    @property
    def blocks_at_once(self) -> int:
        """Blocks that are sampled at a time: while the last answers of one are written, the next has begun."""
        return 2

    def require(self, sampling: Sampling) -> None:
        """Refuse settings that vLLM would change or refuse."""
        require_sampling(sampling)


def require_sampling(sampling: Sampling) -> None:
    """Refuse settings that vLLM would change or refuse.

    Raises:
        ValueError: a temperature is out of its range.
    """
    if sampling.temperature and not COLDEST <= sampling.temperature <= WARMEST:
        raise ValueError(
            f"temperature = {sampling.temperature}: vLLM draws with 0 or {COLDEST} to {WARMEST}; change it, or set "
            "engine.kind = 'local'"
        )


def failed(reason: str) -> Generation:
    """A sample that is none, and why."""
    return Generation(token_ids=(), logps=(), finish="failed", reason=reason)


def generation_of(
    tokenizer: EndingTokenizer, request: Request, limit: int, token_ids: Sequence[int], logps: Sequence[float]
) -> Generation:
    """A sample from what came back, cut where the answer ends."""
    if len(token_ids) != len(logps):
        return failed(f"{len(token_ids)} tokens came back with {len(logps)} log-probabilities")
    ended = _end(tokenizer, request.sampling.stop, token_ids[:limit])
    ids = tuple(token_ids[: ended or limit])
    known, ending = tokenizer.known_ids, tokenizer.stop_ids
    unknown = next((identity for identity in ids if identity not in known and identity not in ending), None)
    if unknown is not None:
        return failed(f"token {unknown} was drawn, which stands for no text")
    if not ended and len(ids) < limit:
        last = f"with token {ids[-1]}, which ends no answer in the model's chat template" if ids else "without a token"
        return failed(f"the answer was ended after {len(ids)} tokens, {last}")
    return Generation(token_ids=ids, logps=tuple(logps[: len(ids)]), finish="stop" if ended else "length")


def _end(tokenizer: EndingTokenizer, stops: Sequence[str], token_ids: Sequence[int]) -> int:
    """How many tokens the answer has, by the first that ends it; 0 where none does."""
    by_id = next((place for place, each in enumerate(token_ids, start=1) if each in tokenizer.stop_ids), 0)

    def says_stop(length: int) -> bool:
        text = tokenizer.text(token_ids[:length])
        return any(stop in text for stop in stops)

    longest = by_id or len(token_ids)
    if not stops or not says_stop(longest):
        return by_id
    return bisect_left(range(longest), True, key=says_stop)
