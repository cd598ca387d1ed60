"""Batched decoding of a transformers language model: rows are prefilled, advance together and leave when they end.

Free places are filled from the queue. The order depends only on the requests: the same call gives the same bits. No
speculative decoding, no prefix sharing.

Shapes: B rows, L tokens cached (padding on the left), V vocabulary.
"""

from __future__ import annotations

import inspect
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from selfboost.engines import Generation, Request
from selfboost.engines.context import room_for, why_no_room
from selfboost.engines.drawing import Draws, draw
from selfboost.engines.key_values import can_join, join_rows, keep_rows, new_cache
from selfboost.records import Finish, Sampling

PREFILL_TOKENS = 16384
"""Most tokens, padding included, prefilled at once; bounds the memory of long prompts."""


@dataclass(kw_only=True)
class DecodingRow:
    """A request being answered."""

    index: int
    request: Request
    limit: int
    """Most answer tokens: its own setting, or what the context leaves."""
    token_ids: list[int] = field(default_factory=list[int])
    logps: list[float] = field(default_factory=list[float])

    @property
    def length(self) -> int:
        """Tokens of prompt and answer."""
        return len(self.request.prompt_ids) + len(self.token_ids)

    def generation(self, finish: Finish, reason: str = "") -> Generation:
        """The finished generation."""
        return Generation(token_ids=tuple(self.token_ids), logps=tuple(self.logps), finish=finish, reason=reason)


@dataclass(kw_only=True)
class Batch:
    """Rows that advance together."""

    rows: list[DecodingRow]
    draws: Draws
    cache: Cache
    mask_BL: Tensor
    """1 at tokens, 0 at padding, for everything cached."""

    def keep(self, places: Sequence[int]) -> None:
        """Keep only these rows, and drop padding that none of them needs."""
        index_B = torch.tensor(places, device=self.mask_BL.device)
        self.rows = [self.rows[place] for place in places]
        self.draws = self.draws.rows(index_B)
        needed = max(row.length - 1 for row in self.rows)  # the newest token of a row is not cached yet
        dropped = keep_rows(self.cache, index_B, self.mask_BL.shape[1] - needed)
        self.mask_BL = self.mask_BL[index_B, dropped:]

    def join(self, other: Batch) -> None:
        """Append the other batch's rows."""
        length = max(self.mask_BL.shape[1], other.mask_BL.shape[1])
        masks = [torch.nn.functional.pad(mask, (length - mask.shape[1], 0)) for mask in (self.mask_BL, other.mask_BL)]
        join_rows(self.cache, other.cache)
        self.mask_BL = torch.cat(masks)
        self.rows = self.rows + other.rows
        self.draws = self.draws.followed_by(other.draws)


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A model and the facts that decoding needs."""

    model: PreTrainedModel
    stop_ids: frozenset[int]
    text: Callable[[Sequence[int]], str]
    """Decodes an answer's tokens, to look for stop texts."""
    context_length: int
    batch_size: int
    never: Sequence[int] = ()
    """Tokens that are not drawn, since no text stands for them."""

    def decode(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yield (index of the request, its generation) as rows end."""
        rows = [
            DecodingRow(index=index, request=request, limit=room_for(request, self.context_length))
            for index, request in enumerate(requests)
        ]
        for row in rows:
            if row.limit < 1:
                yield row.index, row.generation("failed", why_no_room(row.request, self.context_length))
        # The longest prompts first: later rows fit into the existing length, and running out of memory shows early.
        waiting = sorted((row for row in rows if row.limit > 0), key=lambda row: -row.length)
        queue, batch, joinable = deque(waiting), None, can_join(self.model)
        while queue or batch:
            if batch is None:
                batch = self._prefill(queue, self.batch_size)
            elif queue and joinable and len(batch.rows) <= self.batch_size * 3 // 4:
                batch.join(self._prefill(queue, self.batch_size - len(batch.rows)))
            else:
                self._advance(batch)
            finishes = [self._finish(row) for row in batch.rows]
            for row, finish in zip(batch.rows, finishes, strict=True):
                if finish is not None:
                    yield row.index, row.generation(*finish)
            left = [place for place, finish in enumerate(finishes) if finish is None]
            if not left:
                batch = None
            elif len(left) < len(finishes):
                batch.keep(left)

    @torch.no_grad()
    def _prefill(self, queue: deque[DecodingRow], places: int) -> Batch:
        """Start a batch with the queue's first rows and their first tokens."""
        longest = queue[0].length
        rows = [queue.popleft() for _ in range(max(1, min(places, len(queue), PREFILL_TOKENS // longest)))]
        device = self.model.device
        padding = [longest - row.length for row in rows]
        ids_BL = torch.tensor([[0] * pad + [*row.request.prompt_ids] for pad, row in zip(padding, rows, strict=True)])
        mask_BL = (torch.arange(longest) >= torch.tensor(padding)[:, None]).long().to(device)
        draws = Draws.of([row.request for row in rows], device)
        batch = Batch(rows=rows, draws=draws, cache=new_cache(self.model), mask_BL=mask_BL)
        position_BL = (mask_BL.cumsum(-1) - 1).clamp(min=0)
        self._extend(batch, self._logits(batch, ids_BL.to(device), position_BL))
        return batch

    @torch.no_grad()
    def _advance(self, batch: Batch) -> None:
        """Decode one more token of every row."""
        device = self.model.device
        newest_B1 = torch.tensor([row.token_ids[-1:] for row in batch.rows], device=device)
        position_B1 = torch.tensor([[row.length - 1] for row in batch.rows], device=device)
        batch.mask_BL = torch.nn.functional.pad(batch.mask_BL, (0, 1), value=1)
        self._extend(batch, self._logits(batch, newest_B1, position_B1))

    def _logits(self, batch: Batch, ids_BL: Tensor, position_BL: Tensor) -> Tensor:
        """Logits of every row's next token; the model receives only arguments that its forward knows."""
        settings = {"position_ids": position_BL, "logits_to_keep": 1}
        known: dict[str, Any] = {name: value for name, value in settings.items() if name in self._parameters}
        known[self._cache_parameter] = batch.cache
        output = cast(Any, self.model)(input_ids=ids_BL, attention_mask=batch.mask_BL, use_cache=True, **known)
        return output.logits[:, -1]

    @cached_property
    def _parameters(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.model.forward).parameters)

    @property
    def vocabulary(self) -> int:
        """Rows of the embeddings."""
        return int(cast(Any, self.model).get_input_embeddings().weight.shape[0])

    @cached_property
    def _never_U(self) -> Tensor | None:
        return torch.tensor(self.never, device=self.model.device) if self.never else None

    @property
    def _cache_parameter(self) -> str:
        """What the model's forward calls its cache: transformers 5.24 renamed it."""
        return "cache" if "cache" in self._parameters else "past_key_values"

    def _extend(self, batch: Batch, logits_BV: Tensor) -> None:
        """Draw every row's next token and record it."""
        step_B = torch.tensor([len(row.token_ids) for row in batch.rows], device=logits_BV.device)
        token_B, logp_B = draw(logits_BV, batch.draws, step_B, self._never_U)
        tokens, logps = cast(list[int], token_B.tolist()), cast(list[float], logp_B.tolist())
        for row, token, logp in zip(batch.rows, tokens, logps, strict=True):
            row.token_ids.append(token)
            row.logps.append(logp)

    def _finish(self, row: DecodingRow) -> tuple[Finish, str] | None:
        """How a row has ended; None while it continues."""
        if not math.isfinite(row.logps[-1]):
            row.token_ids.pop()
            row.logps.pop()
            return "failed", f"the model's logits are not finite at answer token {len(row.token_ids) + 1}"
        if row.token_ids[-1] in self.stop_ids or self._says_stop(row):
            return "stop", ""
        return ("length", "") if len(row.token_ids) >= row.limit else None

    def _says_stop(self, row: DecodingRow) -> bool:
        """Whether a stop text has appeared: looked for in the last tokens first, then confirmed in the whole text."""
        stops = [stop for stop in row.request.sampling.stop if stop]
        if not stops:
            return False
        recent = self.text(row.token_ids[-(max(len(stop.encode()) for stop in stops) + 8) :])
        if not any(stop in recent for stop in stops):
            return False
        whole = self.text(row.token_ids)
        return any(stop in whole for stop in stops)


SHORT, LONG, STEPS = 5, 48, 3
"""Tokens of the two prompts that a model is tried with when it is opened, and of each answer."""


def require_independence(decoder: Decoder) -> None:
    """Refuse a model whose next token changes when a longer row stands beside it.

    Raises:
        ValueError: it does.
    """
    long = min(LONG, decoder.context_length - STEPS)
    ids = [identity for identity in range(decoder.vocabulary) if identity not in decoder.never][1:10]
    if long <= SHORT or not ids:
        return
    sampling = Sampling(temperature=0.0, max_tokens=STEPS)
    prompts = [tuple(ids[at % len(ids)] for at in range(length)) for length in (SHORT, long)]
    short, longer = (Request(prompt_ids=prompt, sampling=sampling, seed=0) for prompt in prompts)
    free = replace(decoder, stop_ids=frozenset())
    alone, beside = dict(free.decode([short]))[0], dict(free.decode([short, longer]))[0]
    tolerance = 0.3 if decoder.model.dtype == torch.bfloat16 else 1e-2
    for mine, theirs, one, other in zip(alone.logps, beside.logps, alone.token_ids, beside.token_ids, strict=False):
        if not abs(mine - theirs) <= tolerance:
            raise ValueError(
                f"{type(decoder.model).__name__}: beside a longer row the log-probability of a row's next token "
                f"changes by {abs(mine - theirs):.2g}, so samples would depend on their neighbours; set "
                "engine.batch_size = 1"
            )
        if one != other:  # a near tie: from here on they are different texts
            return
