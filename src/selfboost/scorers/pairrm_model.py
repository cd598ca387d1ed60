"""PairRM's architecture: a DeBERTa that reads a prompt and two answers side by side and says how much better one is.

Reimplemented from arXiv 2306.02561, section 3.2; the names of the weights are the published ones. The tokenizer's own
file is used as it is: transformers 5 normalises differently from the published DeBERTa tokenizers. Leaves
out training, and llm-blender's own layout of a checkpoint.

Shapes: R rows of L tokens, D hidden size, N tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import DebertaV2Config, DebertaV2Model, DebertaV2PreTrainedModel

from selfboost.engines.checkpoint import DeviceName, DTypeName, resolve
from selfboost.engines.weights import read_object
from selfboost.scorers.padded_batches import in_padded_batches, right_padded
from selfboost.scorers.published_weights import inspect_published, open_published

MARKS: Mapping[str, str] = {
    "source_prefix_id": "<|source|>",
    "cand1_prefix_id": "<|candidate1|>",
    "cand2_prefix_id": "<|candidate2|>",
}
"""The marks before the prompt and each answer, by the configuration's name for their ids."""


@dataclass(frozen=True)
class Comparison:
    """A prompt and two answers as token ids, and the positions of the three marks."""

    ids: tuple[int, ...]
    places: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.ids)


class DebertaV2PairRM(DebertaV2PreTrainedModel):
    """A DeBERTa with PairRM's head."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        settings = config.to_dict()
        width: int = settings["hidden_size"]
        dropout: float = settings.get("drop_out", 0.0)
        self.pretrained_model = DebertaV2Model(config)
        self.head_layer = torch.nn.Sequential(
            torch.nn.Dropout(dropout),
            torch.nn.Linear(2 * width, width),
            torch.nn.Tanh(),
            torch.nn.Dropout(dropout),
            torch.nn.Linear(width, settings.get("n_tasks", 1)),
        )
        self.post_init()

    def forward(self, ids_RL: Tensor, mask_RL: Tensor, places_R3: Tensor) -> Tensor:
        """Log-odds that the first answer is the better one, shape (R,), read at the three marks."""
        hidden_RLD = cast(
            Tensor, cast(Any, self.pretrained_model)(input_ids=ids_RL, attention_mask=mask_RL).last_hidden_state
        )
        marks_R3D = hidden_RLD.gather(1, places_R3[:, :, None].expand(-1, -1, hidden_RLD.shape[-1]))
        source_RD, first_RD, second_RD = marks_R3D.unbind(1)
        first_RN, second_RN = (
            self.head_layer(torch.cat([source_RD, answer_RD], dim=-1)) for answer_RD in (first_RD, second_RD)
        )
        return (first_RN - second_RN).mean(-1)


@dataclass(frozen=True)
class ComparisonReader:
    """Turns a prompt and two answers into the model's input: `[CLS] mark text [SEP]` for each of the three."""

    tokenizer: Tokenizer
    source_tokens: int
    answer_tokens: int

    def read(self, source: str, first: str, second: str) -> Comparison:
        """Each text truncated at its end; the answers share evenly what the prompt leaves."""
        marks = list(MARKS.values())
        parts = [self._encode(marks[0], source, self.source_tokens)]
        room = (self.source_tokens + 2 * self.answer_tokens - len(parts[0])) // 2
        parts += [self._encode(mark, text, room) for mark, text in zip(marks[1:], (first, second), strict=True)]
        second_at = len(parts[0])
        places = (1, second_at + 1, second_at + len(parts[1]) + 1)
        return Comparison(tuple(token for part in parts for token in part), places)

    def _encode(self, mark: str, text: str, longest: int) -> list[int]:
        for token in self._control_texts():
            text = text.replace(token, " ")  # as published for [SEP]; user text must not pass for a mark
        self.tokenizer.enable_truncation(longest)
        return self.tokenizer.encode(mark + text).ids

    def _control_texts(self) -> list[str]:
        return [token.content for token in self.tokenizer.get_added_tokens_decoder().values()]

    def require_marks(self, path: str, settings: Mapping[str, Any]) -> None:
        """Check that the tokenizer begins a text with one token and the mark, with the model's own id.

        Raises:
            ValueError: it does not.
        """
        for name, mark in MARKS.items():
            ids, wanted = self._encode(mark, "a", 8), settings.get(name)
            if len(ids) < 3 or ids[1] != wanted or self.tokenizer.token_to_id(mark) != wanted:
                raise ValueError(
                    f"the tokenizer of {path!r} does not fit PairRM: {mark + 'a'!r} becomes {ids}, where the second id "
                    f"must be the configuration's {name} = {wanted}"
                )


def open_pairrm(path: str, dtype: DTypeName, device: DeviceName) -> DebertaV2PairRM:
    """The model of a PairRM checkpoint.

    Raises:
        ValueError: it is not a PairRM checkpoint, or is in llm-blender's own layout.
    """
    _refuse_own_layout(path)
    return open_published(DebertaV2PairRM, "PairRM", path, dtype, device)


def inspect_pairrm(path: str) -> DebertaV2Config:
    """The configuration of a PairRM checkpoint, whose weights are looked at and not loaded.

    Raises:
        ValueError: as `open_pairrm`.
    """
    _refuse_own_layout(path)
    return cast(DebertaV2Config, inspect_published(DebertaV2PairRM, "PairRM", path))


def _refuse_own_layout(path: str) -> None:
    if "ranker_type" in read_object(resolve(path) / "config.json"):
        raise ValueError(
            f"the checkpoint {path!r} is in llm-blender's own layout, which has no configuration of the encoder and no "
            "tokenizer: use 'llm-blender/PairRM-hf', the same weights with both"
        )


def open_reader(path: str, config: DebertaV2Config, source_tokens: int, answer_tokens: int) -> ComparisonReader:
    """The reader of a checkpoint with this configuration.

    Raises:
        ValueError: it has no tokenizer.json, or one that does not fit the model.
    """
    file: Path = resolve(path) / "tokenizer.json"
    if not file.is_file():
        raise ValueError(f"the checkpoint {path!r} has no tokenizer.json, which PairRM's tokenizer is read from")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare exceptions
        raise ValueError(f"the tokenizer of {path!r} cannot be loaded: {error}") from error
    tokenizer.no_padding()  # the file may hold the padding of its last use
    reader = ComparisonReader(tokenizer, source_tokens, answer_tokens)
    reader.require_marks(path, config.to_dict())
    return reader


def logits_in_order(model: DebertaV2PairRM, blocks: Iterable[Sequence[Comparison]], tokens: int) -> Iterator[float]:
    """Logit of each comparison of each block, computed in batches of bounded tokens."""
    padding: int = cast(Any, model.config).pad_token_id or 0

    @torch.no_grad()
    def compute(batch: list[Comparison]) -> list[float]:
        ids_RL, mask_RL = right_padded([row.ids for row in batch], padding, model.device)
        places_R3 = torch.tensor([row.places for row in batch], device=model.device)
        return cast("list[float]", model(ids_RL, mask_RL, places_R3).tolist())

    return in_padded_batches(blocks, tokens, compute)
