"""Trains the demo's small Llama on the stream: right answers first, so that copying is learned, then sloppier ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from random import Random
from typing import cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from selfboost.demo.stream import Exchange, Stream

# Shape suffixes: B sequences, T tokens.
_IGNORED = -100
EncodedRow = tuple[list[int], list[int]]
"""Token ids of one exchange and their labels."""


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """Settings of the base model's training; its length is in steps, so it is the same on every machine."""

    steps: int = 3800
    batch_tokens: int = 1536
    """Tokens per batch, padding included."""
    matrix_rate: float = 0.02
    """Learning rate of Muon, for the matrices inside the layers."""
    other_rate: float = 4e-3
    """Learning rate of AdamW, for the embeddings and the norms."""
    copying_until: float = 0.25
    """Share of the steps on copying alone."""
    clean_until: float = 0.55
    """Share of the steps with right answers only."""
    sloppy_from: float = 0.65
    """Share of the steps after which answers reach full sloppiness."""

    def sloppy_share(self, step: int) -> float:
        progress = (step / self.steps - self.clean_until) / (self.sloppy_from - self.clean_until)
        return min(1.0, max(0.0, progress))

    def rate_scale(self, step: int) -> float:
        """Linear warm-up over 40 steps, constant, then linear to zero over the last 40%."""
        return min(1.0, (step + 1) / 40, (1 - step / self.steps) / 0.4)


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained demo model: about a million parameters."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        initializer_range=0.04,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=cast(int, tokenizer.eos_token_id),
        pad_token_id=cast(int, tokenizer.pad_token_id),
    )
    return LlamaForCausalLM(config)


class Batches:
    """Batches of similar lengths, drawn from the stream a few hundred pairs at a time."""

    def __init__(self, stream: Stream, tokenizer: PreTrainedTokenizerFast, settings: Pretraining, seed: int) -> None:
        self.tokenizer, self.settings, self.rng = tokenizer, settings, Random(seed)
        self.stream = stream
        self.waiting: list[list[EncodedRow]] = []

    def draw(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and labels; only replies carry a loss."""
        if not self.waiting:
            self._refill(step)
        rows = self.waiting.pop()
        width = max(len(ids) for ids, _ in rows)
        pad = cast(int, self.tokenizer.pad_token_id)
        ids_BT = [ids + [pad] * (width - len(ids)) for ids, _ in rows]
        labels_BT = [labels + [_IGNORED] * (width - len(labels)) for _, labels in rows]
        return torch.tensor(ids_BT), torch.tensor(labels_BT)

    def _refill(self, step: int) -> None:
        if step < self.settings.copying_until * self.settings.steps:
            source = self.stream.copying(self.rng)
        else:
            source = self.stream.exchanges(self.rng, self.settings.sloppy_share(step))
        rows = sorted((self._encode(next(source)) for _ in range(1000)), key=lambda row: len(row[0]))
        self.waiting = list(_grouped(rows, self.settings.batch_tokens))
        self.rng.shuffle(self.waiting)

    def _encode(self, exchange: Exchange) -> EncodedRow:
        """The ids of one exchange, and labels that mask what is not learned: the given text and the turn marks."""
        pieces = [f"<user> {exchange.given}", exchange.draft, "<end> <assistant>", f"{exchange.reply} <end>"]
        parts = [self.tokenizer.backend_tokenizer.encode(piece).ids for piece in pieces]
        labels = [[_IGNORED] * len(parts[0]), parts[1], [_IGNORED] * len(parts[2]), parts[3]]
        return list(chain(*parts)), list(chain(*labels))


def _grouped(rows: list[EncodedRow], batch_tokens: int) -> Iterator[list[EncodedRow]]:
    """Consecutive rows whose padded size stays within the budget; rows are sorted by length."""
    group: list[EncodedRow] = []
    for row in rows:
        if group and len(row[0]) * (len(group) + 1) > batch_tokens:
            yield group
            group = []
        group.append(row)
    yield group


def train_base(
    stream: Stream, tokenizer: PreTrainedTokenizerFast, settings: Pretraining, seed: int
) -> LlamaForCausalLM:
    """The base model after all steps; the same for the same seed and thread count."""
    torch.manual_seed(seed)
    model = new_model(tokenizer)
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name]
    others = [weight for name, weight in model.named_parameters() if weight.ndim != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(matrices, lr=settings.matrix_rate, weight_decay=0.05),
        torch.optim.AdamW(others, lr=settings.other_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, settings.rate_scale) for optimizer in optimizers]
    batches = Batches(stream, tokenizer, settings, seed)
    model.train()
    for step in range(settings.steps):
        ids_BT, labels_BT = batches.draw(step)
        loss = cast(torch.Tensor, model(input_ids=ids_BT, labels=labels_BT).loss)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if step % 100 == 0:
            print(f"step {step} of {settings.steps}: loss {loss.item():.3f}", flush=True)
    return model.eval()
