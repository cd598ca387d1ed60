"""From conversations to token ids and back, by the chat template of a transformers checkpoint: applied here alone.

What ends an answer is read off the template itself. Text inside messages never becomes a control token. Leaves out
tools, images and reasoning fields of templates.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from selfboost.disk.files import write_atomically
from selfboost.engines.chat_template import choose_template, closes_thought, uses_clock, with_empty_system
from selfboost.engines.checkpoint import resolve
from selfboost.engines.control_text import encode_marked, is_control, marked
from selfboost.engines.inspection import reason
from selfboost.engines.rendering import ANSWERED, PROBE, QUESTION, Rendering
from selfboost.engines.run_day import dated, run_day
from selfboost.engines.weights import read_object
from selfboost.records import Message, content_hash
from selfboost.suggestions import shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GIVEN = "given answers"


def open_tokenizer(
    path: str,
    chat_template: str = "",
    trust_remote_code: bool = False,
    *,
    empty_system: bool = False,
    thinking: bool = False,
) -> ChatTokenizer:
    """The tokenizer of a checkpoint; `chat_template` is empty for its own, a name of `TEMPLATES`, or a file.

    `empty_system`: a conversation without a system turn gets an empty one; `thinking`: a model may think first.

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
    template, notes = choose_template(raw, chat_template)
    template = with_empty_system(template) if empty_system else template
    stop_ids = generation_stop_ids(folder)
    try:
        return ChatTokenizer(raw, template, stop_ids, notes, thinking=thinking)
    except ValueError:
        raise
    except Exception as error:  # odd settings of a tokenizer show when it is used
        raise ValueError(
            f"the tokenizer of {path!r} encodes no conversation ({reason(error)}): download its tokenizer files again"
        ) from error


def generation_stop_ids(folder: Path) -> frozenset[int]:
    """End-of-sequence ids that a checkpoint's generation_config.json (or config.json) names.

    Raises:
        ValueError: what stands there is not an id or a list of ids.
    """
    for name in ("generation_config.json", "config.json"):
        file = folder / name
        found: Any = read_object(file).get("eos_token_id") if file.is_file() else None
        if found is not None:
            ids = cast("list[Any]", found if isinstance(found, list) else [found])
            if not all(isinstance(identity, int) and identity >= 0 for identity in ids):
                raise ValueError(f"{file}: eos_token_id = {shown(found)}, expected an id or a list of ids; correct it")
            return frozenset(cast("list[int]", ids))
    return frozenset()


class ChatTokenizer:
    """The `Tokenizer` of a transformers checkpoint."""

    def __init__(
        self,
        raw: PreTrainedTokenizerBase,
        template: str,
        stop_ids: frozenset[int],
        notes: tuple[str, ...] = (),
        *,
        thinking: bool = False,
    ) -> None:
        self.raw = raw
        self._rendering = Rendering(raw, template, run_day())
        self._notes = list(notes)
        self._thinking = thinking
        self._answers = Counter[str]()
        self._last_prompt: tuple[object, tuple[int, ...]] = None, ()
        self._refusal = ""
        """Why answers cannot be given in this template."""
        # Where an answer is a piece of the whole conversation (sentencepiece marks beginnings of words), it is
        # encoded and decoded behind the text that comes before it, the generation prompt; elsewhere alone.
        self._before = ""
        self._leads = {"": list[int]()}
        self.end_of_turn = self._find_end_of_turn()
        eos = cast("int | None", cast(Any, raw).eos_token_id)
        self.stop_ids = stop_ids | {identity for identity in (self.end_of_turn, eos) if identity is not None}
        """An answer ends with any of these."""
        self._agree_with_template()
        if uses_clock(self.template):
            day = self._rendering.day
            self._notes.append(f"the chat template can show the date: it is {day} in all stages of the run (run.date)")

    @property
    def template(self) -> str:
        """The chat template in use."""
        return self._rendering.template

    @property
    def dated_template(self) -> str:
        """The same, showing the run's day to whoever renders it."""
        return dated(self.template, self._rendering.day) if uses_clock(self.template) else self.template

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know, in sentences; of the answers given so far too."""
        odd = {what: count for what, count in self._answers.items() if count and what != GIVEN}
        return (*self._notes, *(f"{count:,} of {self._answers[GIVEN]:,} {GIVEN} {what}" for what, count in odd.items()))

    @property
    def fingerprint(self) -> str:
        """Hash of vocabulary, template and special tokens, and of the day if the template can show it."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        backend = cast(Any, getattr(self.raw, "backend_tokenizer", None))
        vocabulary: Any = cast(Any, self.raw).get_vocab()
        if backend is not None:
            vocabulary = json.loads(backend.to_str())
            vocabulary.update(truncation=None, padding=None)  # state of the last call, not of the tokenizer
        day = [self._rendering.day.isoformat()] if uses_clock(self.template) else []
        return content_hash([vocabulary, self.template, dict(cast(Any, self.raw).special_tokens_map), *day])

    def prompt_ids(self, messages: Sequence[Message], prefix: str = "") -> tuple[int, ...]:
        """Ids of the conversation, rendered up to where the assistant begins to speak, then the answer's prefix."""
        asked = tuple(messages), prefix
        if asked != self._last_prompt[0]:  # the samples of one prompt follow each other
            self._last_prompt = asked, self._asked_ids(*asked)
        return self._last_prompt[1]

    def _asked_ids(self, messages: Sequence[Message], prefix: str = "") -> tuple[int, ...]:
        rendered = self.conversation_ids(messages, add_generation_prompt=True)
        return (*rendered, *self._continuation_ids(prefix))

    def answer_ids(self, text: str) -> tuple[int, ...]:
        """Ids of an assistant's answer given as text, its end-of-turn token included, once.

        Answers that are not as given are counted for `notes`.

        Raises:
            ValueError: as `answer_text`.
        """
        written = self.answer_text(text)
        self._answers[GIVEN] += 1
        self._answers["ended with the text of an end token, which was taken off"] += self._without_end(text) != text
        self._answers["contain the text of a control token, which is trained as text"] += any(
            token in written for token in self._specials
        )
        body = list(self._continuation_ids(written))
        while body and body[-1] == self.end_of_turn:  # a word-level vocabulary knows it as a word of the text
            body.pop()
        return tuple(body) if self.end_of_turn is None else (*body, self.end_of_turn)

    def answer_text(self, text: str) -> str:
        """A given answer as the template writes it: white space as there, and no end token written out behind it.

        Raises:
            ValueError: the template does not write answers as they are, or it has no place for this one's thought,
                or it would take all of it for a thought.
        """
        found = self._without_end(text)
        if objection := self._refusal or self._rendering.objection(found):
            raise ValueError(objection)
        return found if found == found.strip() else self._rendering.trimmed(found)

    def text(self, token_ids: Sequence[int]) -> str:
        """The answer's text, without the tokens that end it; special tokens before the end stay visible."""
        body = list(token_ids)
        while body and body[-1] in self._endings:
            body.pop()
        if not self._before:
            return self._decode(body)
        lead = self._lead()
        whole, start = self._decode([*lead, *body]), self._decode(lead)
        return whole[len(start) :] if whole.startswith(start) else self._decode(body)

    def rendered(self, messages: Sequence[Message]) -> str:
        """The conversation in the template, as text, up to where the assistant begins to speak."""
        return self._rendering.apply(messages, add_generation_prompt=True)

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
            write_atomically(file, (json.dumps(after, indent=2) + "\n").encode())

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

    def _lead(self) -> list[int]:
        """Ids of what comes before an answer."""
        if self._before not in self._leads:
            self._leads[self._before] = self._encode(self._before)
        return self._leads[self._before]

    def _continuation_ids(self, text: str) -> list[int]:
        """Ids of text that the assistant says."""
        if not text:
            return []
        lead = self._lead()
        whole = self._encode(self._before + text, control=False) if not self._special_in(self._before) else []
        if lead and whole[: len(lead)] == lead:
            return whole[len(lead) :]
        return self._encode(text, control=False)

    def _without_end(self, text: str) -> str:
        """A text without the end tokens that someone wrote behind it by hand."""
        found = text.rstrip()
        if not self._end_texts or not found.endswith(self._end_texts):
            return text
        while end := next((end for end in self._end_texts if found.endswith(end)), ""):
            found = found.removesuffix(end).rstrip()
        return found

    @cached_property
    def _end_texts(self) -> tuple[str, ...]:
        """Texts of the special tokens that end an answer."""
        return tuple(text for identity in sorted(self.stop_ids) if (text := self._decode([identity])) in self._specials)

    def _special_in(self, text: str) -> bool:
        return any(token in text for token in self._specials)

    @cached_property
    def _specials(self) -> frozenset[str]:
        """Texts of the special tokens."""
        return frozenset(str(token.content) for token in self._added.values() if token.special)

    @cached_property
    def _controls(self) -> frozenset[str]:
        """Texts that nobody but the template may turn into tokens: special ones, its own, and those that look so."""
        others = (str(token.content) for token in self._added.values() if not token.special)
        return self._specials | {text for text in others if text.strip() and is_control(text, self.template)}

    @cached_property
    def _added(self) -> Mapping[int, Any]:
        return cast("Mapping[int, Any]", cast(Any, self.raw).added_tokens_decoder)

    def conversation_ids(self, messages: Sequence[Message], **settings: Any) -> list[int]:
        """Ids of a whole conversation in the template, which itself writes every control token, BOS included."""
        kept = [self._specials if message.role == "assistant" else self._controls for message in messages]
        if any(token in turn.content for turn, tokens in zip(messages, kept, strict=True) for token in tokens):
            turns = [
                replace(turn, content=marked(turn.content, tokens)) for turn, tokens in zip(messages, kept, strict=True)
            ]
            rendered = self._rendering.apply(turns, **settings)
            return encode_marked(rendered, self._controls, self._encode)
        encoded = self.raw(self._rendering.apply(messages, **settings), add_special_tokens=False, verbose=False)
        return list(cast("list[int]", encoded["input_ids"]))

    def _find_end_of_turn(self) -> int | None:
        """The token that the template writes behind an answer; the EOS token where it writes none."""
        for identity in self._encode(self._rendering.around()[1]):
            if identity in self._added:
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
        """Make prompt and answer the template's own whole conversation, by additions to it where it is not so."""
        own = self._rendering
        self._refusal = own.fault()
        if self._refusal or self._agrees(own):
            return
        for other, sentence in own.additions(thinking=self._thinking):
            if self._agrees(other):
                self._notes.append(sentence)
                return
        self._rendering, self._before = own, ""
        if not self._thinking and (closed := own.with_thought_closed()):
            self._rendering, sentence = closed
            self._notes.append(sentence)
        elif self._thinking or not closes_thought(own.opening):
            self._notes.append(
                "the chat template renders a whole conversation to other tokens than its prompt followed by the "
                "answer; training and sampling use prompt and answer"
            )

    def _agrees(self, rendering: Rendering) -> bool:
        """Whether prompt and answer are the template's own conversation, encoded in one of two ways, which is kept."""
        self._rendering = rendering
        whole = self.conversation_ids(ANSWERED)
        for before in ("", rendering.opening):
            self._before = before
            end = [] if self.end_of_turn is None else [self.end_of_turn]
            expected = [*self._asked_ids([QUESTION]), *self._continuation_ids(PROBE), *end]
            if whole[: len(expected)] == expected:
                return True
        return False
