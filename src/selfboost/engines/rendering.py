"""Conversations rendered to text by a chat template, on the run's day; what must be added to a template, and why.

A given answer is to stand where a sampled one would. Where a template's prompt ends elsewhere, it gets an addition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from selfboost.engines.chat_template import (
    closes_thought,
    closing_of_thought,
    has_thought,
    uses_clock,
    with_generation_text,
    without_thinking,
)
from selfboost.engines.inspection import reason
from selfboost.engines.run_day import codes, pinned
from selfboost.limits import has_alarm, limited
from selfboost.limits.processes import call
from selfboost.records import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTION = Message(role="user", content="What is 3 and 4 ?")
PROBE = "The answer is 7 ."
ANSWERED = (QUESTION, Message(role="assistant", content=PROBE))
"""A conversation that shows what a template does."""
TEMPLATE_SECONDS = 10.0
"""Longest time that a template may take on one conversation: a stranger's template may loop."""
MOST_ADDED, MOST_TIMES = 1_000_000, 10
"""A template may write this many characters, and each character of a conversation this many times."""
_OFF = "(engine.thinking = false), since given answers hold no thoughts"
_CURE = "set engine.chat_template to one that does (a Jinja file, or a name such as 'plain')"


@dataclass(frozen=True)
class Rendering:
    """A tokenizer's chat template at work."""

    raw: PreTrainedTokenizerBase
    template: str
    day: date
    """What the template's clock shows."""

    def apply(self, messages: Sequence[Message], **settings: Any) -> str:
        """The text that transformers makes of a conversation.

        Raises:
            ValueError: the template refuses the conversation, or takes too long or too much memory for it.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        most = MOST_ADDED + MOST_TIMES * sum(len(message.content) for message in messages)
        try:
            rendered = self._rendered(turns, settings)
            if len(rendered) > most:
                raise ValueError(f"it writes {len(rendered):,} characters, more than {most:,}")
        except Exception as error:  # templates raise what they like
            roles = ", ".join(message.role for message in messages)
            raise ValueError(
                f"the chat template cannot render a conversation of roles ({roles}): {reason(error)}"
            ) from error
        return rendered

    def _rendered(self, turns: list[dict[str, str]], settings: Mapping[str, Any]) -> str:
        why = f"it took more than {TEMPLATE_SECONDS:g} s; does it loop?"
        template, day = self._with_day
        if has_alarm():
            with limited(TEMPLATE_SECONDS, why):
                found = cast(Any, self.raw).apply_chat_template(
                    turns, chat_template=template, tokenize=False, **day, **settings
                )
            return cast(str, found)
        from selfboost.engines import jinja  # imported here: it imports transformers

        used = {**cast("Mapping[str, Any]", cast(Any, self.raw).special_tokens_map), **day, **settings}
        return call(jinja.render, template, turns, used, seconds=TEMPLATE_SECONDS, sentence=why)

    @cached_property
    def _with_day(self) -> tuple[str, Mapping[str, Any]]:
        """The template with the run's day, and what that needs."""
        if not uses_clock(self.template):
            return self.template, {}
        return pinned(self.template), {"run_day_codes": dict(codes(self.day))}

    def using(self, template: str) -> Rendering:
        """The same with another template."""
        return replace(self, template=template)

    def around(self, answer: str = PROBE) -> tuple[str, str]:
        """What stands before and behind an answer in a whole conversation; both empty if it is not there as given."""
        whole: str = self.apply([QUESTION, Message(role="assistant", content=answer)])
        before, found, after = whole.rpartition(answer)
        return (before, after) if found else ("", "")

    def trimmed(self, answer: str) -> str:
        """An answer with as much white space around it as the template leaves."""
        before, after = self.around()
        whole: str = self.apply([QUESTION, Message(role="assistant", content=answer)])
        found = whole.removeprefix(before).removesuffix(after)
        return found if found.strip() == answer.strip() else answer

    @cached_property
    def prompt(self) -> str:
        """A question and what makes the assistant speak."""
        return self.apply([QUESTION], add_generation_prompt=True)

    @cached_property
    def opening(self) -> str:
        """What makes the assistant speak: the generation prompt."""
        silent: str = self.apply([QUESTION], add_generation_prompt=False)
        return self.prompt[len(silent) :] if self.prompt.startswith(silent) else ""

    def fault(self) -> str:
        """Why conversations are lost in this template; empty if they are not."""
        if QUESTION.content not in self.prompt:
            return f"the chat template does not write a user's message as it is given; {_CURE}"
        if self.around() == ("", ""):
            return f"the chat template does not write an assistant's answer as it is given; {_CURE}"
        return ""

    def objection(self, answer: str) -> str:
        """Why a given answer would stand where a model's own would not; empty if it would not, or if there is none."""
        if not answer.strip():
            return ""
        quoted = f"{answer[:40]!r}{'…' if len(answer) > 40 else ''}"
        if closes_thought(self.opening) and has_thought(answer):
            return (
                f"the given answer {quoted} holds a thought, but prompts end with an empty one; take thoughts out of "
                "the data, or set engine.thinking = true"
            )
        if closing_of_thought(self.opening) and not has_thought(answer):
            return (
                f"prompts end with an open thought, so the given answer {quoted} would be trained as one; set "
                "engine.thinking = false, or give answers with thoughts"
            )
        return ""

    def additions(self, *, thinking: bool) -> Iterator[tuple[Rendering, str]]:
        """With additions that may end a prompt where an answer begins, and what each means."""
        if not thinking:
            sentence = f"the chat template lets the model think first: this is switched off {_OFF}"
            yield from ((self.using(template), sentence) for template in without_thinking(self.template))
        before, _ = self.around()
        missing = before[len(self.prompt) :] if before.startswith(self.prompt) else ""
        if missing and not (thinking and closes_thought(missing)):
            yield (
                self.using(with_generation_text(self.template, missing)),
                f"the chat template writes {missing!r} before a given answer but not at the end of a prompt: prompts "
                "end with it too, so that sampled and given answers begin at the same place",
            )

    def with_thought_closed(self) -> tuple[Rendering, str] | None:
        """With the thought closed that the generation prompt opens, and what that means; None if it opens none."""
        closing = closing_of_thought(self.opening)
        sentence = f"the chat template opens a thought: prompts end with an empty one {_OFF}"
        return (self.using(with_generation_text(self.template, closing)), sentence) if closing else None
