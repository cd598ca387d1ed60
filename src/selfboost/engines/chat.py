"""From conversations to token ids and back, by the chat template of a transformers checkpoint: applied here alone.

What ends an answer is read off the template itself. Text inside messages never becomes a control token. Leaves out
tools, images and reasoning fields of templates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from selfboost.engines.checkpoint import resolve
from selfboost.engines.control_text import encode_marked, marked
from selfboost.engines.inspection import reason
from selfboost.engines.weights import read_object
from selfboost.records import Message, content_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize + ':\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{{ '\\n\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)
TEMPLATES: Mapping[str, str] = {"plain": PLAIN, "plain-bos": "{{ bos_token }}" + PLAIN}
"""Named templates: `plain` suits any base model; `plain-bos` those whose tokenizer begins a text with its BOS token."""

_QUESTION = Message(role="user", content="What is 3 and 4 ?")
_PROBE = "The answer is 7 ."


def open_tokenizer(path: str, chat_template: str = "", trust_remote_code: bool = False) -> ChatTokenizer:
    """The tokenizer of a checkpoint; `chat_template` is empty for its own, a name of `TEMPLATES`, or a file.

    Raises:
        ValueError: no such checkpoint, tokenizer or template.
    """
    from transformers import AutoTokenizer

    folder = resolve(path, weights=False)
    read_object(folder / "config.json")  # refused here in our own words
    try:
        loaded = cast(Any, AutoTokenizer).from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:  # a missing, damaged or unknown tokenizer each raise their own type
        raise ValueError(
            f"the tokenizer of {path!r} cannot be loaded ({reason(error)}): download its tokenizer files again"
        ) from error
    raw = cast("PreTrainedTokenizerBase", loaded)
    template, notes = _choose_template(raw, chat_template)
    return ChatTokenizer(raw, template, generation_stop_ids(folder), notes)


def generation_stop_ids(folder: Path) -> frozenset[int]:
    """End-of-sequence ids that a checkpoint's generation_config.json (or config.json) names."""
    for name in ("generation_config.json", "config.json"):
        file = folder / name
        found: Any = read_object(file).get("eos_token_id") if file.is_file() else None
        if found is not None:
            ids = cast("list[Any]", found if isinstance(found, list) else [found])
            if not all(isinstance(identity, int) and identity >= 0 for identity in ids):
                raise ValueError(f"{file}: eos_token_id = {found!r}, expected an id or a list of ids; correct it")
            return frozenset(cast("list[int]", ids))
    return frozenset()


def _choose_template(raw: PreTrainedTokenizerBase, wanted: str) -> tuple[str, tuple[str, ...]]:
    """The template's text, and what must be said of the choice."""
    if not wanted and raw.chat_template is not None:
        return cast(Any, raw).get_chat_template(), ()
    if not wanted:
        begins = cast("list[int]", raw("a")["input_ids"])[:1] == [cast(Any, raw).bos_token_id]
        name = "plain-bos" if begins else "plain"
        return TEMPLATES[name], (f"the tokenizer has no chat template: the default template {name!r} is used",)
    if wanted in TEMPLATES:
        return TEMPLATES[wanted], ()
    if not Path(wanted).is_file():
        raise ValueError(f"chat_template = {wanted!r}: allowed are {', '.join(TEMPLATES)}, a template file, or ''")
    return Path(wanted).read_text(encoding="utf-8"), ()


class ChatTokenizer:
    """The `Tokenizer` of a transformers checkpoint."""

    def __init__(
        self, raw: PreTrainedTokenizerBase, template: str, stop_ids: frozenset[int], notes: tuple[str, ...]
    ) -> None:
        self.raw = raw
        self.template = template
        self._notes = list(notes)
        # Where an answer is a piece of the whole conversation (sentencepiece marks beginnings of words), it is
        # encoded and decoded behind the text that comes before it, the generation prompt; elsewhere alone.
        self._before = ""
        self.end_of_turn = self._find_end_of_turn()
        eos = cast("int | None", cast(Any, raw).eos_token_id)
        self.stop_ids = stop_ids | {identity for identity in (self.end_of_turn, eos) if identity is not None}
        """An answer ends with any of these."""
        self._agree_with_template()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know, in sentences."""
        return tuple(self._notes)

    @property
    def fingerprint(self) -> str:
        """Hash of vocabulary, template and special tokens."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        backend = cast(Any, getattr(self.raw, "backend_tokenizer", None))
        vocabulary: Any = cast(Any, self.raw).get_vocab()
        if backend is not None:
            vocabulary = json.loads(backend.to_str())
            vocabulary.update(truncation=None, padding=None)  # state of the last call, not of the tokenizer
        return content_hash([vocabulary, self.template, dict(cast(Any, self.raw).special_tokens_map)])

    def prompt_ids(self, messages: Sequence[Message], prefix: str = "") -> tuple[int, ...]:
        """Ids of the conversation, rendered up to where the assistant begins to speak, then the answer's prefix."""
        rendered = self.conversation_ids(messages, add_generation_prompt=True)
        return (*rendered, *self._continuation_ids(prefix))

    def answer_ids(self, text: str) -> tuple[int, ...]:
        """Ids of an assistant's answer given as text, its end-of-turn token included, once."""
        body = list(self._continuation_ids(text))
        while body and body[-1] == self.end_of_turn:  # a word-level vocabulary knows it as a word of the text
            body.pop()
        return tuple(body) if self.end_of_turn is None else (*body, self.end_of_turn)

    def text(self, token_ids: Sequence[int]) -> str:
        """The answer's text, without the tokens that end it; special tokens before the end stay visible."""
        body = list(token_ids)
        while body and body[-1] in self._endings:
            body.pop()
        if not self._before:
            return self._decode(body)
        lead = self._encode(self._before)
        whole, start = self._decode([*lead, *body]), self._decode(lead)
        return whole[len(start) :] if whole.startswith(start) else self._decode(body)

    def rendered(self, messages: Sequence[Message]) -> str:
        """The conversation in the template, as text, up to where the assistant begins to speak."""
        return str(self._apply(messages, tokenize=False, add_generation_prompt=True))

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files into a model's folder, with the template in use as its own."""
        own = cast(Any, self.raw).chat_template
        self.raw.chat_template = self.template
        try:
            cast(Any, self.raw).save_pretrained(folder)
        finally:
            self.raw.chat_template = own
        self._save_endings(folder / "generation_config.json")

    def _save_endings(self, file: Path) -> None:
        """What ends an answer here ends it for `generate` too: by the folder's generation settings, if any."""
        if not file.is_file():
            return
        before = read_object(file)
        ids = sorted(self.stop_ids, key=lambda identity: (identity != self.end_of_turn, identity))
        pad = next(
            (value for value in (before.get("pad_token_id"), self._special("pad"), *ids) if value is not None), None
        )
        bos = next((value for value in (before.get("bos_token_id"), self._special("bos")) if value is not None), None)
        wanted = {"eos_token_id": ids[0] if len(ids) == 1 else ids, "pad_token_id": pad, "bos_token_id": bos}
        after = before | {name: value for name, value in wanted.items() if value not in (None, [])}
        stored = before.get("eos_token_id")
        if set(cast("list[int]", stored if isinstance(stored, list) else [stored])) == set(ids):
            after["eos_token_id"] = stored
        if after != before:
            file.write_text(json.dumps(after, indent=2) + "\n", encoding="utf-8")

    def _special(self, name: str) -> int | None:
        return cast("int | None", getattr(self.raw, f"{name}_token_id", None))

    @cached_property
    def known_ids(self) -> frozenset[int]:
        """Ids that stand for a text."""
        return frozenset(cast("dict[str, int]", cast(Any, self.raw).get_vocab()).values())

    @cached_property
    def _endings(self) -> frozenset[int]:
        special = (getattr(self.raw, f"{name}_token_id", None) for name in ("bos", "eos", "pad"))
        return self.stop_ids | {identity for identity in special if identity is not None}

    def _encode(self, text: str, *, control: bool = True) -> list[int]:
        """Ids of a text; with `control` false a special token's text in it is encoded as ordinary text."""
        encoded = self.raw(text, add_special_tokens=False, split_special_tokens=not control, verbose=False)
        return list(cast("list[int]", encoded["input_ids"]))

    def _decode(self, token_ids: list[int]) -> str:
        return cast(str, self.raw.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _continuation_ids(self, text: str) -> list[int]:
        """Ids of text that the assistant says."""
        lead = self._encode(self._before) if self._before else []
        whole = self._encode(self._before + text, control=False) if not self._special_in(self._before) else []
        if lead and whole[: len(lead)] == lead:
            return whole[len(lead) :]
        return self._encode(text, control=False)

    @cached_property
    def _keeps_text_apart(self) -> bool:
        """Whether the text of a special token can be encoded as ordinary text; in a vocabulary of words it cannot."""
        added = cast("Mapping[int, Any]", cast(Any, self.raw).added_tokens_decoder)
        return not any(identity in self._encode(str(token.content), control=False) for identity, token in added.items())

    def _special_in(self, text: str) -> bool:
        return any(token in text for token in self._controls)

    @cached_property
    def _controls(self) -> frozenset[str]:
        """Texts of the added tokens."""
        added = cast("Mapping[int, Any]", cast(Any, self.raw).added_tokens_decoder)
        return frozenset(str(token.content) for token in added.values() if str(token.content).strip())

    def conversation_ids(self, messages: Sequence[Message], **settings: Any) -> list[int]:
        """Ids of a whole conversation in the template, which itself writes every control token, BOS included."""
        if self._keeps_text_apart and any(self._special_in(message.content) for message in messages):
            turns = [replace(turn, content=marked(turn.content, self._controls)) for turn in messages]
            rendered: str = self._apply(turns, tokenize=False, **settings)
            return encode_marked(rendered, self._controls, self._encode)
        found: Any = self._apply(messages, tokenize=True, return_dict=False, **settings)
        return list(found)

    def _apply(self, messages: Sequence[Message], **settings: Any) -> Any:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return cast(Any, self.raw).apply_chat_template(turns, chat_template=self.template, **settings)
        except Exception as error:  # templates raise what they like
            roles = ", ".join(message.role for message in messages)
            raise ValueError(f"the chat template cannot render a conversation of roles ({roles}): {error}") from error

    def _find_end_of_turn(self) -> int | None:
        """The token that the template writes behind an answer; the EOS token where it writes none."""
        probe = Message(role="assistant", content=_PROBE)
        rendered: str = self._apply([_QUESTION, probe], tokenize=False)
        added = cast("Mapping[int, Any]", cast(Any, self.raw).added_tokens_decoder)
        for identity in self._encode(rendered.rpartition(_PROBE)[2]):
            if identity in added:
                return identity
            if self._decode([identity]).strip():
                break
        eos = cast("int | None", cast(Any, self.raw).eos_token_id)
        if eos is None:
            self._notes.append("no EOS token: answers stop only at max_tokens")
        else:
            self._notes.append("the chat template ends no answer: the EOS token is put behind it")
        return eos

    def _agree_with_template(self) -> None:
        """Choose how answers are encoded so that prompt and answer are the template's own whole conversation."""
        probe = Message(role="assistant", content=_PROBE)
        whole = self.conversation_ids([_QUESTION, probe])
        for before in ("", self._generation_prompt()):
            self._before = before
            expected = [*self.prompt_ids([_QUESTION]), *self.answer_ids(_PROBE)]
            if whole[: len(expected)] == expected:
                return
        self._before = ""
        self._notes.append(
            "the chat template renders a whole conversation to other tokens than its prompt followed by the answer; "
            "training and sampling use prompt and answer"
        )

    def _generation_prompt(self) -> str:
        """What the template writes to make the assistant speak."""
        silent: str = self._apply([_QUESTION], tokenize=False, add_generation_prompt=False)
        spoken: str = self._apply([_QUESTION], tokenize=False, add_generation_prompt=True)
        return spoken[len(silent) :] if spoken.startswith(silent) else ""
