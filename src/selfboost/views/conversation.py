"""`selfboost chat`: one model, or two side by side, line by line; what they have said is part of what they read next.

Each model remembers its own answers. Reads a terminal or a pipe. Leaves out messages of several lines.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, TextIO, cast

from selfboost.engines import Engine, Request, Sampler
from selfboost.engines.local import Local
from selfboost.recipe import read_section
from selfboost.records import Message, Model, Sampling
from selfboost.results import recipe_table
from selfboost.results.models import is_run, model_at, parted
from selfboost.settings import ModelSource
from selfboost.views.streams import console
from selfboost.views.visible import visible

HERE = ("local", "fake")
"""Engines of a run that are used; models of others are opened by the local engine."""
HELP = "/reset forgets what was said, /quit or Ctrl-D ends."


@dataclass(kw_only=True)
class Speaker:
    """A model in a conversation."""

    name: str
    sampler: Sampler
    said: list[Message] = field(default_factory=list[Message])
    """What it has read and answered."""

    def answer(self, text: str, sampling: Sampling, seed: int) -> tuple[str, str]:
        """The answer to a message, and a remark on it; without an answer the message is forgotten.

        Raises:
            ValueError: the chat template does not accept the conversation.
        """
        turns = [*self.said, Message(role="user", content=text)]
        request = Request(prompt_ids=self.sampler.tokenizer.prompt_ids(turns), sampling=sampling, seed=seed)
        [(_, made)] = self.sampler.sample([request])
        if made.finish == "failed":
            return "", f"no answer: {made.reason}"
        answer = self.sampler.tokenizer.text(made.token_ids)
        self.said = [*turns, Message(role="assistant", content=answer)]
        return answer, f"cut at {sampling.max_tokens:,} tokens" if made.finish == "length" else ""


def chat(addresses: Sequence[str], sampling: Sampling) -> None:
    """Talk to models, by folder, hub name or a run's address, until the input ends.

    Raises:
        ValueError: a model cannot be opened, or there is no input.
    """
    if cast("TextIO | None", sys.stdin) is None:
        raise ValueError("standard input is closed: there is nobody to talk to")
    with ExitStack() as until:
        speakers = [_opened(address, until) for address in addresses]
        if sys.stdin.isatty():
            console(error=True).print(visible(f"{' beside '.join(addresses)}. {HELP}"), style="dim", soft_wrap=True)
        for turn, text in enumerate(_lines()):
            if text == "/reset":
                for speaker in speakers:
                    speaker.said = []
            elif text.startswith("/"):
                console(error=True).print(visible(f"{text}: no such command. {HELP}"), soft_wrap=True)
            elif text:
                _answer_all(speakers, text, replace(sampling, samples=1), turn)


def _answer_all(speakers: Sequence[Speaker], text: str, sampling: Sampling, seed: int) -> None:
    out = console()
    for speaker in speakers:
        try:
            answer, remark = speaker.answer(text, sampling, seed)
        except ValueError as error:
            answer, remark = "", str(error)
        if len(speakers) > 1:
            out.print(visible(f"{speaker.name}:"), style="bold", soft_wrap=True)
        if answer or not remark:
            out.print(visible(answer), soft_wrap=True)
        if remark:
            out.print(visible(f"({remark})"), style="dim", soft_wrap=True)
    sys.stdout.flush()


def _lines() -> Iterator[str]:
    """What the user says, without /quit and what follows it."""
    while True:
        try:
            line = input("> ") if sys.stdin.isatty() else sys.stdin.readline()
        except EOFError:
            return
        if line.strip() == "/quit" or not (line or sys.stdin.isatty()):
            return
        yield line.strip()


def _opened(address: str, until: ExitStack) -> Speaker:
    """The model at an address, open until the stack is closed."""
    engine, model = model_for(address)
    return Speaker(name=address, sampler=until.enter_context(engine.open(model)))


def model_for(address: str) -> tuple[Engine, Model]:
    """The model at an address, and the engine that opens it here.

    Raises:
        ValueError: there is no such model or run, or the run's recipe is damaged.
    """
    path = ModelSource(path=model_at(address)).location
    engine = engine_for(address)
    return engine, Model(name=address, path=path, fingerprint=engine.fingerprint(path))


def engine_for(address: str) -> Engine:
    """The engine that opens a model here: the run's with its settings, or the local one with its defaults.

    Raises:
        ValueError: the run's recipe is damaged, or asks for code of a checkpoint that is not trusted.
    """
    root, _ = parted(address)
    table: Mapping[str, Any] = recipe_table(root) if is_run(root) else {}
    section = cast("Mapping[str, Any]", table.get("engine", {}))
    return read_section("engine", table, root) if section.get("kind") in HERE else Local()
