"""The engine in this process: any transformers language model on PyTorch, batched, with a growing key-value cache.

A sample depends only on prompt, settings, seed and model; its neighbours in a batch change its logits by rounding
only. No quantised models, several devices or prefix sharing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from selfboost.engines import Footprint, Generation, Loaded, Request
from selfboost.engines.chat import ChatTokenizer
from selfboost.engines.checkpoint import DeviceName, DTypeName, bytes_of, load_causal_model
from selfboost.engines.on_checkpoint import OnCheckpoint, context_for, require_content, require_embeddings
from selfboost.records import Model
from selfboost.setting_types import Several

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from selfboost.engines.decoding import Decoder

BLOCK_BATCHES = 4
"""Batches of a block: rows of later batches take the places of rows that end early."""


@dataclass(frozen=True, kw_only=True)
class Local(OnCheckpoint):
    """PyTorch in this process: any transformers language model."""

    dtype: DTypeName = "auto"
    """Number type of the weights while sampling; `auto`: bfloat16 on a GPU, float32 on a CPU."""
    device: DeviceName = "auto"
    """Where the model runs; `auto`: the GPU if there is one."""
    batch_size: Several = 64
    """Rows decoded at a time."""

    @property
    def block_size(self) -> int:
        """Requests of a block."""
        return self.batch_size * BLOCK_BATCHES

    @contextmanager
    def open(self, model: Model) -> Generator[LocalSampler]:
        """Load the model for sampling and free it at the end."""
        loaded, tokenizer = self._loaded(model)
        sampler = LocalSampler(loaded, tokenizer, self.batch_size)
        on_gpu = loaded.device.type == "cuda"
        del loaded
        try:
            yield sampler
        finally:
            sampler.close()
            _free(on_gpu)

    @contextmanager
    def load(self, model: Model) -> Generator[Loaded]:
        """The transformers model itself, with a tokenizer that has the template in use; freed at the end."""
        weights, tokenizer = self._loaded(model)
        on_gpu = weights.device.type == "cuda"
        tokenizer.raw.chat_template = tokenizer.dated_template
        try:
            context = context_for(weights.config, tokenizer)
            yield Loaded(weights=weights, tokenizer=tokenizer.raw, context_length=context)
        finally:
            del weights
            _free(on_gpu)

    def _loaded(self, model: Model) -> tuple[PreTrainedModel, ChatTokenizer]:
        tokenizer = self.tokenizer(model)
        require_content(model.path, tokenizer)
        loaded = load_causal_model(model.path, self.dtype, self.device, self.trust_remote_code)
        require_embeddings(model.path, tokenizer, _rows_of(loaded))
        return loaded, tokenizer

    def footprint(self) -> Footprint:
        """Weights and cache in `dtype`, a full batch of rows."""
        return Footprint(weight_bytes=bytes_of(self.dtype), rows=self.batch_size)


class LocalSampler:
    """An opened transformers model."""

    def __init__(self, model: PreTrainedModel, tokenizer: ChatTokenizer, batch_size: int) -> None:
        from selfboost.engines.decoding import Decoder, require_independence

        self.tokenizer = tokenizer
        self.context_length = context_for(model.config, tokenizer)
        self._decoder: Decoder | None = Decoder(
            model=model,
            stop_ids=tokenizer.stop_ids,
            text=tokenizer.text,
            context_length=self.context_length,
            batch_size=batch_size,
            never=sorted(set(range(_rows_of(model))) - tokenizer.known_ids),
        )
        if batch_size > 1:
            require_independence(self._decoder)

    def sample(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yield (index of the request, its sample) as the samples finish; the same call gives the same bits."""
        assert self._decoder is not None, "the sampler is closed"
        return self._decoder.decode(requests)

    def close(self) -> None:
        """Free the weights."""
        self._decoder = None


def _free(on_gpu: bool) -> None:
    """Return a GPU's memory that nothing holds any more."""
    if on_gpu:
        import torch

        torch.cuda.empty_cache()


def _rows_of(model: PreTrainedModel) -> int:
    """Rows of a model's embeddings."""
    return int(cast(Any, model).get_input_embeddings().weight.shape[0])
