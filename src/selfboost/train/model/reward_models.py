"""Reward models: sequence classifiers with one output, read after the last token of an answer.

A decoder's scalar is read at the row's real last token here, since transformers' own forward takes the last token that
is not padding, a different one where padding and end of turn share an id. Encoders use their own forward.

Shapes: R rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from selfboost.engines.chat import open_tokenizer
from selfboost.engines.checkpoint import (
    choose_device,
    choose_dtype,
    keep_soft_caps,
    loading,
    require_finite,
    resolve,
)
from selfboost.engines.context import context_of
from selfboost.engines.inspection import inspect_model, reason
from selfboost.train.local_settings import LocalSettings
from selfboost.train.model.hidden import Body, open_body
from selfboost.train.packs.batches import in_order
from selfboost.train.packs.layout import Pack
from selfboost.train.packs.rows import Item, Row

SHORT, LONG = 5, 130
"""Tokens of the two rows that a classifier is tried with when it is opened."""
HEAD_NAME = "score"
"""transformers' name of the linear layer on top of a decoder."""


@dataclass(frozen=True)
class RewardHead:
    """A sequence classifier with one output, opened."""

    model: PreTrainedModel
    body: Body

    def rewards(self, items: Sequence[Item]) -> Tensor:
        """Scalar after each row's last token, shape (R,), in float32 at least."""
        layer: Any = getattr(self.model, HEAD_NAME, None)
        device = self.model.device
        if not isinstance(layer, torch.nn.Linear):
            rewards_R = self._by_own_forward([row for item in items for row in item.rows], device)
        else:
            pack = Pack(tuple(items), device)
            rewards_R = layer(self.body.hidden_TD(pack).index_select(0, pack.last_R))[:, 0]
        return rewards_R.to(torch.promote_types(rewards_R.dtype, torch.float32))

    def _by_own_forward(self, rows: Sequence[Row], device: torch.device) -> Tensor:
        width = max(len(row) for row in rows)
        pad = cast(Any, self.model.config).pad_token_id or 0
        ids = [[*row.prompt_ids, *row.token_ids, *[pad] * (width - len(row))] for row in rows]
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
        inputs = {"input_ids": torch.tensor(ids, device=device), "attention_mask": torch.tensor(mask, device=device)}
        return cast(Any, self.model)(**inputs).logits[:, 0]


def rewards_in_order(head: RewardHead, rows: Iterable[Row], tokens: int) -> Iterator[float]:
    """Scalar of each row, row by row."""

    @torch.no_grad()
    def compute(group: list[Item]) -> list[float]:
        return cast("list[float]", head.rewards(group).tolist())

    return in_order(rows, tokens, compute)


def open_reward_model(path: str, settings: LocalSettings, *, new_head: bool) -> RewardHead:
    """A reward model's checkpoint, or, with `new_head`, a language model's with a random scalar head to be trained.

    Raises:
        ValueError: it cannot be loaded, has more than one output, or its head (or another weight) would be random.
    """
    folder, where = resolve(path), choose_device(settings.device)
    trust = settings.trust_remote_code
    inspect_model(path, folder, "reward model", new_head=new_head, own_code=trust)
    wanted: dict[str, Any] = {"dtype": choose_dtype(settings.dtype, where), "trust_remote_code": trust}
    if new_head:
        wanted |= {"num_labels": 1, "pad_token_id": _padding(folder, trust)}
    with loading():  # what it would report of missing weights is refused below
        try:
            loaded = cast(Any, AutoModelForSequenceClassification).from_pretrained(
                folder, use_safetensors=True, local_files_only=True, output_loading_info=True, **wanted
            )
        except Exception as error:  # each kind of damage raises its own type
            raise ValueError(
                f"the checkpoint {path!r} cannot be loaded as a reward model ({reason(error)}): choose another model "
                "or download it again"
            ) from error
    model, info = cast("tuple[PreTrainedModel, dict[str, Any]]", loaded)
    _refuse_random_weights(path, model, info, new_head)
    keep_soft_caps(model)
    model = cast(PreTrainedModel, cast(Any, model).to(where).eval())
    require_finite(path, model)
    decodes = isinstance(getattr(model, HEAD_NAME, None), torch.nn.Linear)
    if decodes:
        return RewardHead(model, open_body(model, packing=settings.packing, attention=settings.attention))
    head = RewardHead(model, Body(model, packed=False))
    _require_independence(head)
    return head


@torch.no_grad()
def _require_independence(head: RewardHead) -> None:
    """Refuse a classifier whose scalar for a row changes when a longer row stands beside it."""
    longest = min(LONG, context_of(head.model.config) or LONG)
    short, long = (Item("", (Row(tuple(range(5, 8)), (5,) * (length - 3)),)) for length in (SHORT, max(SHORT, longest)))
    alone, beside = float(head.rewards([short])[0]), float(head.rewards([short, long])[0])
    tolerance = 0.1 if head.model.dtype == torch.bfloat16 else 1e-3
    if not abs(alone - beside) <= tolerance * max(1.0, abs(alone)):
        raise ValueError(
            f"{type(head.model).__name__}: beside a longer row a row's reward changes from {alone:.3g} to "
            f"{beside:.3g}, so scores would depend on their neighbours; choose another reward model"
        )


def _refuse_random_weights(path: str, model: PreTrainedModel, info: dict[str, Any], new_head: bool) -> None:
    absent = sorted(str(key) for key in [*info["missing_keys"], *info["mismatched_keys"]])
    if new_head:
        absent = [key for key in absent if not key.startswith(f"{HEAD_NAME}.")]
    if absent:
        raise ValueError(
            f"the checkpoint {path!r} is not a reward model: it lacks {absent[0]}, which would start as random numbers "
            "and give meaningless rewards"
        )
    outputs = cast(int, cast(Any, model.config).num_labels)
    if outputs != 1:
        raise ValueError(f"the checkpoint {path!r} is not a reward model: its head has {outputs} outputs, not one")


def _padding(folder: Path, trust_remote_code: bool) -> int:
    """A padding id that ends no answer if there is one: transformers' forward looks for the last other token."""
    settings: Any = cast(Any, AutoConfig).from_pretrained(
        folder, trust_remote_code=trust_remote_code, local_files_only=True
    )
    tokenizer = open_tokenizer(str(folder), trust_remote_code=trust_remote_code)
    raw = cast(Any, tokenizer.raw)
    candidates = [settings.pad_token_id, raw.pad_token_id, raw.unk_token_id, raw.bos_token_id, raw.eos_token_id]
    known = cast("list[int]", [identity for identity in candidates if identity is not None])
    return next((identity for identity in known if identity not in tokenizer.stop_ids), known[0] if known else 0)
