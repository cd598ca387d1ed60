"""Last hidden states of a pack under a transformers model, with or without packing.

Packed, the model's own attention is replaced by one that keeps sequences apart; this is checked once when a model is
opened. Unpacked, each row is run alone in a right-padded batch under the model's own attention.

Shapes: T tokens of a pack, D hidden size; R rows of L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfboost.train.local_settings import AttentionName
from selfboost.train.model.attention import register, windows_of
from selfboost.train.model.gates import replace_gates
from selfboost.train.model.norms import replace_norms
from selfboost.train.model.rotary import replace_rotations
from selfboost.train.packs.layout import Pack
from selfboost.train.packs.rows import Item, Row


@dataclass(frozen=True)
class Body:
    """A language model without its head."""

    model: PreTrainedModel
    packed: bool

    def hidden_TD(self, pack: Pack) -> Tensor:
        """Last hidden state of every token of a pack."""
        return self._packed(pack) if self.packed else self._padded(pack)

    def _packed(self, pack: Pack) -> Tensor:
        return body_of(self.model)(
            input_ids=pack.ids_T[None], position_ids=pack.positions_T[None], use_cache=False, pack=pack
        ).last_hidden_state[0]

    def _padded(self, pack: Pack) -> Tensor:
        # Padding is on the right and attention causal, so no real token ever sees it and no mask is needed.
        hidden_RLD = body_of(self.model)(input_ids=pack.ids_T[pack.places_RL], use_cache=False).last_hidden_state
        return hidden_RLD.flatten(0, 1)[pack.readings_T]


def body_of(model: PreTrainedModel) -> Any:
    """The model without its head."""
    return cast(Any, model).get_decoder() if hasattr(model, "get_decoder") else model.base_model


def open_body(model: PreTrainedModel, *, packing: bool, attention: AttentionName) -> Body:
    """The body of a model, prepared for packs and checked to keep sequences apart.

    Raises:
        ValueError: it cannot be packed: something other than attention passes state between tokens.
    """
    if not packing:
        return Body(model, packed=False)
    if attention == "flex" and model.device.type == "cpu":
        raise ValueError("attention = 'flex' needs a GPU: on a CPU it cannot be trained through; choose 'blocks'")
    first, second = (5, 6, 7), (8, 9)
    items = (
        Item("", (Row(first, (1, 2, 3)), Row(first, (4,)))),
        Item("", (Row(second, (3, 2)), Row(second, (2, 2, 1, 4)))),
    )
    pack = Pack(items, model.device)
    body = Body(model, packed=True)
    with torch.no_grad():
        alone_TD = Body(model, packed=False).hidden_TD(pack)
        try:
            cast(Any, model).set_attn_implementation(register(attention))
            replace_gates(model)
            replace_norms(model)
            replace_rotations(model)
            together_TD = body.hidden_TD(pack)
        except (TypeError, ValueError, KeyError, RuntimeError) as error:
            raise _refusal(model, str(error).partition("\n")[0]) from error
    _check_windows(model, pack)
    tolerance = 0.1 if alone_TD.dtype == torch.bfloat16 else 1e-3
    change_TD = (together_TD - alone_TD)[: pack.tokens]
    difference = float(change_TD.abs().max() / alone_TD.abs().max())
    if not difference <= tolerance and bool(alone_TD.isfinite().all()):
        raise _refusal(model, f"beside others a sequence's hidden states change by {difference:.0%}")
    return body


def _check_windows(model: PreTrainedModel, pack: Pack) -> None:
    """Windows must reach attention as numbers: those that exist only in a model's mask would be lost."""
    config: Any = model.config.get_text_config()
    wanted = sum(window is not None for window in windows_of(config))
    passed = sum(window is not None for window in pack.windows)
    if passed < wanted or getattr(config, "attention_chunk_size", None):
        raise _refusal(model, f"{wanted} of its layers use a sliding window, and {passed} pass it to their attention")


def _refusal(model: PreTrainedModel, why: str) -> ValueError:
    return ValueError(f"{type(model).__name__} cannot be trained on packs: {why}; set trainer.packing = false")
