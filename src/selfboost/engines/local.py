"""The engine in this process: any transformers language model on PyTorch, batched, with a growing key-value cache.

A sample depends only on prompt, settings, seed and model; its neighbours in a batch change its logits by rounding
only. No quantised models, several devices or prefix sharing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from selfboost.engines import Footprint, Generation, Loaded, Looked, Request
from selfboost.engines.chat import ChatTokenizer, open_tokenizer
from selfboost.engines.checkpoint import DeviceName, DTypeName, bytes_of, fingerprint, load_causal_model, resolve
from selfboost.engines.context import context_note, context_of
from selfboost.engines.inspection import inspect_model
from selfboost.records import Message, Model
from selfboost.setting_types import NEW, RemoteCode, Several, Text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from selfboost.engines.decoding import Decoder

PROBES = ("What is 3 and 4 ?", "Name a colour , please .")
"""Two questions that a chat template must tell apart."""
BLOCK_BATCHES = 4
"""Batches of a block: rows of later batches take the places of rows that end early."""


@dataclass(frozen=True, kw_only=True)
class Local:
    """PyTorch in this process: any transformers language model."""

    dtype: DTypeName = "auto"
    """Number type of the weights while sampling; `auto`: bfloat16 on a GPU, float32 on a CPU."""
    device: DeviceName = "auto"
    """Where the model runs; `auto`: the GPU if there is one."""
    batch_size: Several = 64
    """Rows decoded at a time."""
    chat_template: Text = ""
    """Chat template: empty for the tokenizer's own, a named one (`plain`, `plain-bos`), or a Jinja file."""
    empty_system: bool = field(default=False, metadata=NEW)
    """Put an empty system turn before a conversation that has none, as alignment-handbook's pipelines do."""
    thinking: bool = field(default=False, metadata=NEW)
    """Let a model whose template allows it think before it answers; given answers then need thoughts of their own."""
    trust_remote_code: RemoteCode = False
    """Whether Python files of a checkpoint may run; needs `--trust remote-code` too."""

    @property
    def block_size(self) -> int:
        """Requests of a block."""
        return self.batch_size * BLOCK_BATCHES

    def tokenizer(self, model: Model) -> ChatTokenizer:
        """The model's tokenizer alone, without loading weights."""
        return open_tokenizer(
            model.path,
            self.chat_template,
            self.trust_remote_code,
            empty_system=self.empty_system,
            thinking=self.thinking,
        )

    def look(self, model: Model) -> Looked:
        """The model's tokenizer and context, its files checked as far as that goes without loading them."""
        config = inspect_model(model.path, resolve(model.path), "language model", own_code=self.trust_remote_code)
        tokenizer = self.tokenizer(model)
        require_content(model.path, tokenizer)
        if config is None:  # of the checkpoint's own code
            return Looked(tokenizer=tokenizer)
        require_embeddings(model.path, tokenizer, config.get_text_config().vocab_size)
        notes = tuple(note for note in (context_note(config),) if note)
        return Looked(tokenizer=tokenizer, context_length=_context(config, tokenizer), notes=notes)

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
            context = _context(weights.config, tokenizer)
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

    def fingerprint(self, path: str) -> str:
        """Hash of a checkpoint's content."""
        return fingerprint(path)

    def footprint(self) -> Footprint:
        """Weights and cache in `dtype`, a full batch of rows."""
        return Footprint(weight_bytes=bytes_of(self.dtype), rows=self.batch_size)


class LocalSampler:
    """An opened transformers model."""

    def __init__(self, model: PreTrainedModel, tokenizer: ChatTokenizer, batch_size: int) -> None:
        from selfboost.engines.decoding import Decoder, require_independence

        self.tokenizer = tokenizer
        self.context_length = _context(model.config, tokenizer)
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


def require_content(path: str, tokenizer: ChatTokenizer) -> None:
    """Refuse a chat template that does not show the model what the messages say.

    Raises:
        ValueError: two conversations that differ look the same in it.
    """
    one, other = (tokenizer.rendered([Message(role="user", content=text)]) for text in PROBES)
    if one == other:
        raise ValueError(
            f"the chat template of {path!r} ignores what messages say: two different questions look the same; "
            "set engine.chat_template"
        )


def require_embeddings(path: str, tokenizer: ChatTokenizer, rows: int) -> None:
    """Refuse a tokenizer that writes ids which a model does not read.

    Raises:
        ValueError: there are such ids.
    """
    beyond = sorted(identity for identity in tokenizer.known_ids | tokenizer.stop_ids if identity >= rows)
    if beyond:
        more = f" and {len(beyond) - 1} more" if len(beyond) > 1 else ""
        raise ValueError(
            f"the tokenizer of {path!r} has ids ({beyond[0]}{more}) that the model's {rows} embeddings lack: resize "
            "them (resize_token_embeddings) or give the tokenizer that the model was trained with"
        )


def _rows_of(model: PreTrainedModel) -> int:
    """Rows of a model's embeddings."""
    return int(cast(Any, model).get_input_embeddings().weight.shape[0])


def _context(config: Any, tokenizer: ChatTokenizer) -> int:
    """Most tokens of prompt and answer together: what the model reads, else the tokenizer's limit."""
    return context_of(config) or int(cast(Any, tokenizer.raw).model_max_length)
