"""What the engines of transformers checkpoints share: tokenizer, chat template, fingerprint, a look before loading."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from selfboost.engines import Looked
from selfboost.engines.chat import ChatTokenizer, open_tokenizer
from selfboost.engines.checkpoint import fingerprint, resolve
from selfboost.engines.context import context_note, context_of
from selfboost.engines.inspection import inspect_model
from selfboost.records import Message, Model
from selfboost.setting_types import NEW, RemoteCode, Text

PROBES = ("What is 3 and 4 ?", "Name a colour , please .")
"""Two questions that a chat template must tell apart."""


@dataclass(frozen=True, kw_only=True)
class OnCheckpoint:
    """An engine whose models are folders of transformers or hub names."""

    chat_template: Text = ""
    """Chat template: empty for the tokenizer's own, a named one (`plain`, `plain-bos`), or a Jinja file."""
    empty_system: bool = field(default=False, metadata=NEW)
    """Put an empty system turn before a conversation that has none, as alignment-handbook's pipelines do."""
    thinking: bool = field(default=False, metadata=NEW)
    """Let a model whose template allows it think before it answers; given answers then need thoughts of their own."""
    trust_remote_code: RemoteCode = False
    """Whether Python files of a checkpoint may run; needs `--trust remote-code` too."""

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
        own = cast(Any, tokenizer.raw).chat_template is not None
        return Looked(tokenizer=tokenizer, context_length=context_for(config, tokenizer), notes=notes, own_template=own)

    def fingerprint(self, path: str) -> str:
        """Hash of a checkpoint's content."""
        return fingerprint(path)


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


def context_for(config: Any, tokenizer: ChatTokenizer) -> int:
    """Most tokens of prompt and answer together: what the model reads, else the tokenizer's limit."""
    return context_of(config) or int(cast(Any, tokenizer.raw).model_max_length)
