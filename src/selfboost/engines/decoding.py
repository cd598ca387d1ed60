"""Batched decoding of a transformers language model: rows are prefilled, advance together and leave when they end.

Free places are filled from the queue. The order depends only on the requests: the same call gives the same bits. No
speculative decoding; only whole prompts are shared.

Shapes: B rows, V vocabulary, U tokens never drawn.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfboost.engines import Generation, Request
from selfboost.engines.context import room_for, why_no_room
from selfboost.engines.drawing import Draws, Workspace, draw
from selfboost.engines.llama_step import LlamaStep, open_llama
from selfboost.engines.llama_weights import LlamaWeights
from selfboost.engines.padded import PaddedStep
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
    stops: tuple[str, ...]
    """Texts that end the answer."""
    token_ids: list[int] = field(default_factory=list[int])
    logps: list[float] = field(default_factory=list[float])

    def generation(self, finish: Finish, reason: str = "") -> Generation:
        """The finished generation."""
        return Generation(token_ids=tuple(self.token_ids), logps=tuple(self.logps), finish=finish, reason=reason)


class Step(Protocol):
    """A model and what it has cached of a running batch's rows."""

    joins: bool
    """Whether rows can join others."""

    def add(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Append rows with these prompts; the logits of the next token of each."""
        ...

    def advance(self, token_n: Tensor) -> Tensor:
        """Extend every row by a token; the logits of the next one of each."""
        ...

    def keep(self, order: Sequence[int]) -> None:
        """Let row i be what row order[i] was, and forget the others."""
        ...


class Batch:
    """Rows that advance together."""

    def __init__(self, step: Step, device: torch.device, never_U: Tensor | None) -> None:
        self.step = step
        self.rows: list[DecodingRow] = []
        self._never_U = never_U
        self._workspace = Workspace()
        self._draws = Draws.of([], device)
        self._made_B = self._newest_B = torch.zeros(0, dtype=torch.int64, device=device)

    def add(self, rows: Sequence[DecodingRow]) -> None:
        """Append rows and draw their first tokens."""
        draws = Draws.of([row.request for row in rows], self._newest_B.device)
        made_B = self._made_B.new_zeros(len(rows))
        newest_B = self._draw(rows, self.step.add([row.request.prompt_ids for row in rows]), draws, made_B)
        self.rows = [*self.rows, *rows]
        self._draws = self._draws.followed_by(draws)
        self._made_B, self._newest_B = torch.cat([self._made_B, made_B + 1]), torch.cat([self._newest_B, newest_B])

    def advance(self) -> None:
        """Draw one more token of every row."""
        self._newest_B = self._draw(self.rows, self.step.advance(self._newest_B), self._draws, self._made_B)
        self._made_B = self._made_B + 1

    def keep(self, left: Sequence[int]) -> None:
        """Keep only these rows: the last ones take the places of those that leave, the others stay where they are."""
        staying = set(left)
        moved = [place for place in left if place >= len(left)]
        order = [place if place in staying else moved.pop() for place in range(len(left))]
        self.step.keep(order)
        order_B = torch.tensor(order, dtype=torch.int64, device=self._newest_B.device)
        self.rows = [self.rows[place] for place in order]
        self._draws = self._draws.rows(order_B)
        self._made_B, self._newest_B = self._made_B[order_B], self._newest_B[order_B]

    def _draw(self, rows: Sequence[DecodingRow], logits_BV: Tensor, draws: Draws, made_B: Tensor) -> Tensor:
        """Draw the rows' next tokens and record them."""
        token_B, logp_B = draw(logits_BV, draws, made_B, self._never_U, self._workspace)
        tokens, logps = cast(list[int], token_B.tolist()), cast(list[float], logp_B.tolist())
        for row, token, logp in zip(rows, tokens, logps, strict=True):
            row.token_ids.append(token)
            row.logps.append(logp)
        return token_B


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

    def decode(self, requests: Sequence[Request], *, stopping: bool = True) -> Iterator[tuple[int, Generation]]:
        """Yield (index of the request, its generation) as rows end; without `stopping`, end tokens end none."""
        rows = [self._row(index, request) for index, request in enumerate(requests)]
        for row in rows:
            if row.limit < 1:
                yield row.index, row.generation("failed", why_no_room(row.request, self.context_length))
        # The longest prompts first: later rows fit into the existing length, and running out of memory shows early.
        waiting = sorted((row for row in rows if row.limit > 0), key=lambda row: -len(row.request.prompt_ids))
        queue, batch = deque(waiting), Batch(self._step(waiting), self.model.device, self._never_U)
        stop_ids = self.stop_ids if stopping else frozenset[int]()
        while queue or batch.rows:
            if queue and self._takes_more(batch):
                batch.add(self._next(queue, self.batch_size - len(batch.rows)))
            else:
                batch.advance()
            finishes = [self._finish(row, stop_ids) for row in batch.rows]
            for row, finish in zip(batch.rows, finishes, strict=True):
                if finish is not None:
                    yield row.index, row.generation(*finish)
            left = [place for place, finish in enumerate(finishes) if finish is None]
            if len(left) < len(finishes):
                batch.keep(left)

    @cached_property
    def why_not_ours(self) -> str:
        """Why the model's steps go through transformers' forward; empty where they go through our own."""
        return self._ours if isinstance(self._ours, str) else ""

    @cached_property
    def _ours(self) -> LlamaWeights | str:
        return open_llama(self.model)

    def _step(self, rows: Sequence[DecodingRow]) -> Step:
        if isinstance(self._ours, str):
            return PaddedStep(self.model)
        return LlamaStep(self._ours, max((len(row.request.prompt_ids) + row.limit for row in rows), default=0))

    def _row(self, index: int, request: Request) -> DecodingRow:
        stops = tuple(stop for stop in request.sampling.stop if stop)
        return DecodingRow(index=index, request=request, limit=room_for(request, self.context_length), stops=stops)

    def _takes_more(self, batch: Batch) -> bool:
        return not batch.rows or (batch.step.joins and len(batch.rows) <= self.batch_size * 3 // 4)

    def _next(self, queue: deque[DecodingRow], places: int) -> list[DecodingRow]:
        """The queue's first rows, as many as are prefilled at once."""
        longest = len(queue[0].request.prompt_ids)
        return [queue.popleft() for _ in range(max(1, min(places, len(queue), PREFILL_TOKENS // longest)))]

    @property
    def vocabulary(self) -> int:
        """Rows of the embeddings."""
        return int(cast(Any, self.model).get_input_embeddings().weight.shape[0])

    @cached_property
    def _never_U(self) -> Tensor | None:
        return torch.tensor(self.never, device=self.model.device) if self.never else None

    def _finish(self, row: DecodingRow, stop_ids: frozenset[int]) -> tuple[Finish, str] | None:
        """How a row has ended; None while it continues."""
        if not math.isfinite(row.logps[-1]):
            row.token_ids.pop()
            row.logps.pop()
            return "failed", f"the model's logits are not finite at answer token {len(row.token_ids) + 1}"
        if row.token_ids[-1] in stop_ids or (row.stops and self._says_stop(row)):
            return "stop", ""
        return ("length", "") if len(row.token_ids) >= row.limit else None

    def _says_stop(self, row: DecodingRow) -> bool:
        """Whether a stop text has appeared: looked for in the last tokens first, then confirmed in the whole text."""
        recent = self.text(row.token_ids[-(max(len(stop.encode()) for stop in row.stops) + 8) :])
        if not any(stop in recent for stop in row.stops):
            return False
        whole = self.text(row.token_ids)
        return any(stop in whole for stop in row.stops)


SHORT, LONG, STEPS = 5, 48, 3
"""Tokens of the two prompts that a model is tried with when it is opened, and of each answer."""


def require_independence(decoder: Decoder) -> None:
    """Refuse a model whose next token changes when a longer row stands beside it.

    Raises:
        ValueError: it does.
    """
    long = min(LONG, decoder.context_length - STEPS)
    never = frozenset(decoder.never)
    ids = list(islice((identity for identity in range(decoder.vocabulary) if identity not in never), 1, 10))
    if long <= SHORT or not ids:
        return
    sampling = Sampling(temperature=0.0, max_tokens=STEPS)
    prompts = [tuple(ids[at % len(ids)] for at in range(length)) for length in (SHORT, long)]
    short, longer = (Request(prompt_ids=prompt, sampling=sampling, seed=0) for prompt in prompts)
    alone, beside = (dict(decoder.decode(rows, stopping=False))[0] for rows in ([short], [short, longer]))
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
