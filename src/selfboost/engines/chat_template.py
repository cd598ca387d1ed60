"""Chat templates as texts: which one a tokenizer uses, and additions to it, written in Jinja so that exports keep them.

An addition says what the template itself leaves out, so that a given answer stands where a sampled one would. Leaves
out the rendering, which is `chat`'s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from selfboost.engines.inspection import reason

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

EMPTY_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}"
    "{% set messages = [{'role': 'system', 'content': ''}] + messages %}"
    "{% endif %}{{ '' }}"
)
"""Puts an empty system turn before a conversation that has none. The last part keeps the template's first newline."""
THINKING_SWITCHES = ("enable_thinking", "thinking")
"""Variables by which templates let a model think first or not."""
CURE = "set engine.chat_template to another (a Jinja file, or a name such as 'plain')"
_THOUGHT = re.compile(r"<([\w:|]*(?:think|thought|reason)\w*)>\s*\Z", re.IGNORECASE)
"""The opening tag of a thought at the end of a text."""
_CLOSED_THOUGHT = re.compile(r"</[\w:|]*(?:think|thought|reason)\w*>\s*\Z", re.IGNORECASE)
_CLOSING = re.compile(r"</[\w:|]*(?:think|thought|reason)\w*>", re.IGNORECASE)
_CLOCK = re.compile(r"\bstrftime_now\b")
_CHANCE = re.compile(r"\blipsum\b|\|\s*random\b")


def choose_template(raw: PreTrainedTokenizerBase, wanted: str) -> tuple[str, tuple[str, ...]]:
    """The template's text for a setting, and what must be said of the choice.

    Raises:
        ValueError: there is no such template, or it draws at random.
    """
    text, notes = _chosen(raw, wanted)
    if drawn := _CHANCE.search(text):
        raise ValueError(
            f"the chat template draws at random ({drawn[0]}), so the same conversation would get other tokens each "
            "time; set engine.chat_template to a template that does not"
        )
    return text, notes


def _chosen(raw: PreTrainedTokenizerBase, wanted: str) -> tuple[str, tuple[str, ...]]:
    if not wanted and raw.chat_template is not None:
        return _own(raw), ()
    if not wanted:
        begins = cast("list[int]", raw("a")["input_ids"])[:1] == [cast(Any, raw).bos_token_id]
        name = "plain-bos" if begins else "plain"
        return TEMPLATES[name], (f"the tokenizer has no chat template: the default template {name!r} is used",)
    if wanted in TEMPLATES:
        return TEMPLATES[wanted], ()
    if not Path(wanted).is_file():
        raise ValueError(f"chat_template = {wanted!r}: allowed are {', '.join(TEMPLATES)}, a template file, or ''")
    return Path(wanted).read_text(encoding="utf-8"), ()


def _own(raw: PreTrainedTokenizerBase) -> str:
    try:
        found: object = cast(Any, raw).get_chat_template()
    except Exception as error:  # several templates without a default one, or none that is a text
        raise ValueError(f"the tokenizer's chat templates give none to use ({reason(error)}); {CURE}") from error
    if not isinstance(found, str):
        raise ValueError(f"the tokenizer's chat template is a {type(found).__name__}, expected text; {CURE}")
    return found


def uses_clock(template: str) -> bool:
    """Whether a template may show the date."""
    return _CLOCK.search(template) is not None


def with_empty_system(template: str) -> str:
    """The template with an empty system turn in conversations that have none; it is added once."""
    return template if EMPTY_SYSTEM in template else EMPTY_SYSTEM + template


def without_thinking(template: str) -> Sequence[str]:
    """The template with its thinking switched off, one for each switch that it has."""
    return [
        f"{{% set {switch} = false %}}{{{{ '' }}}}{template}"
        for switch in THINKING_SWITCHES
        if re.search(rf"\b{switch}\b", template)
    ]


def with_generation_text(template: str, text: str) -> str:
    """The template with more text at the end of its generation prompt."""
    whole = template.removesuffix("\n")  # as Jinja does at the end of a template
    literal = json.dumps(text, ensure_ascii=False)
    return f"{whole}{{% if add_generation_prompt %}}{{{{ {literal} }}}}{{% endif %}}"


def closing_of_thought(generation_prompt: str) -> str:
    """What closes the thought that a generation prompt opens, leaving it empty; empty if it opens none."""
    opened = _THOUGHT.search(generation_prompt)
    if opened is None or opened[1].startswith("/"):
        return ""
    return f"{'' if opened[0].endswith(chr(10)) else chr(10)}\n</{opened[1]}>\n\n"


def has_thought(answer: str) -> bool:
    """Whether an answer holds a thought that is closed."""
    return _CLOSING.search(answer) is not None


def closes_thought(generation_prompt: str) -> bool:
    """Whether a generation prompt ends with a closed thought, so that the answer itself comes next."""
    return _CLOSED_THOUGHT.search(generation_prompt) is not None
