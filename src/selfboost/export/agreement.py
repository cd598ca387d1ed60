"""Whether llama.cpp answers from a file as the engine here does from the model that the file was made of.

A few prompts of the run, as token ids, are answered greedily by both. The verdict is about log-probabilities: greedy
answers may part where two tokens are nearly as likely, and what follows cannot be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from selfboost import store
from selfboost.endpoints import Endpoint
from selfboost.endpoints.completing import Completed, complete
from selfboost.endpoints.launching import started
from selfboost.endpoints.serving import chat_ids, served_models
from selfboost.engines import Engine, Generation, Request
from selfboost.engines.fake import Fake
from selfboost.engines.server import llama_cpp_body
from selfboost.records import Answer, Model, Sampling
from selfboost.results.models import RunModel
from selfboost.train import Sequenced, Trainer
from selfboost.train.fake import Fake as FakeTrainer
from selfboost.train.local import Local
from selfboost.views.conversation import model_for

PROMPTS, TOKENS = 8, 64
"""Prompts that are answered, and the longest answer to each."""
MOST_APART = 0.05
"""Nats per token by which log-probabilities may differ on average: as between a run's sampler and its trainer."""
START_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Greedy samples of a GGUF file in llama.cpp beside those of its model in the engine here."""

    prompts: int
    """Prompts that both have answered."""
    left_out: int
    """Prompts whose answer llama.cpp did not list whole."""
    tokens: int
    """Tokens of the model's answers."""
    equal: int
    """How many of them llama.cpp has drawn as well, up to the first that differs in each answer."""
    apart: float
    """Mean |difference| of log-probabilities over the tokens that llama.cpp drew, in nats."""
    most_apart: float
    """The largest."""
    ends: int
    """Answers that are equal as far as one of them goes, but end elsewhere."""
    chats: int
    """Prompts that llama.cpp, given as a conversation, turns into the run's own token ids."""

    @property
    def objection(self) -> str:
        """Why the file is not the model; empty if it is."""
        if not self.apart <= MOST_APART:
            return f"log-probabilities differ by {self.apart:.3g} nats per token, more than {MOST_APART}"
        return f"{self.ends} of {self.prompts} answers end elsewhere" if self.ends else ""

    @property
    def sentence(self) -> str:
        """The figures."""
        asked = self.prompts + self.left_out
        left_out = f" ({self.left_out} more were left out: llama.cpp did not list all of their tokens)"
        chats = "" if self.chats == asked else "; sent as a conversation, the others are other prompts than in the run"
        return (
            f"Verified on {self.prompts} prompts of the run{left_out if self.left_out else ''}: {self.equal:,} of "
            f"{self.tokens:,} greedy tokens ({self.equal / max(self.tokens, 1):.1%}) are the model's own, "
            f"log-probabilities differ by {self.apart:.2g} nats per token on average, {self.most_apart:.2g} at most. "
            f"llama.cpp's chat template and tokenizer give the run's token ids for {self.chats} of {asked}{chats}."
        )


def agreement_of(model: RunModel, file: Path, server: Sequence[str], setting: str) -> Agreement:
    """Compare greedy samples of a file, served by a command, with those of the model that it was made of.

    Raises:
        ValueError: they are not the same model's, the server fails, or the run has no prompts.
    """
    answers = list(islice(_distinct(model), PROMPTS))
    if not answers:
        raise ValueError(f"{model.root}: has no stage of samples yet, so there are no prompts to compare samples on")
    engine, here = model_for(f"{model.root}@{model.entry.iteration}")
    greedy = Sampling(temperature=0.0, max_tokens=TOKENS)
    wanted = [Request(prompt_ids=answer.prompt_ids, sampling=greedy, seed=0) for answer in answers]
    ours, chats = _ours(engine, here, wanted, answers)
    # The model is freed before the server starts: both may want all of a small machine's memory.
    endpoint = partial(Endpoint, model="any", key_variable="", concurrent=PROMPTS)
    with started(server, {"gguf": str(file)}, lambda url: endpoint(url=url), START_SECONDS, setting) as up:
        at = endpoint(url=up.url, model=served_models(endpoint(url=up.url))[0].name)
        limits = [max(len(each.token_ids), 1) if each.finish == "length" else TOKENS for each in ours]
        bodies = [llama_cpp_body(request, limit) for request, limit in zip(wanted, limits, strict=True)]
        theirs = dict(complete([at], bodies))
        same = sum(chat_ids(at, answer.prompt.messages) == ids for answer, ids in zip(answers, chats, strict=True))
    found = _compared(engine, here, wanted, ours, [theirs[n] for n in range(len(wanted))], same)
    if found.objection:
        raise ValueError(f"{file.name}: does not answer as the model does, and is not kept: {found.objection}")
    return found


def _distinct(model: RunModel) -> Iterator[Answer]:
    """An answer to each prompt that the run sampled: to the held-out ones of the model's iteration, or to any."""
    place = f"iteration-{model.entry.iteration}/held_out"
    cards = [card for card in store.cards(model.root) if card.verb == "sample"]
    seen = set[str]()
    for card in sorted(cards, key=lambda card: not card.name.startswith(place)):
        for answer in store.stored_rows(model.root, card, Answer):
            if answer.prompt.id not in seen:
                seen.add(answer.prompt.id)
                yield answer


def _ours(
    engine: Engine, model: Model, wanted: Sequence[Request], answers: Sequence[Answer]
) -> tuple[list[Generation], list[tuple[int, ...]]]:
    """The model's own greedy answers, and the token ids of the prompts' conversations."""
    with engine.open(model) as sampler:
        found = dict(sampler.sample(wanted))
        chats = [sampler.tokenizer.prompt_ids(answer.prompt.messages) for answer in answers]
    return [found[n] for n in range(len(wanted))], chats


def _compared(
    engine: Engine,
    model: Model,
    wanted: Sequence[Request],
    ours: Sequence[Generation],
    theirs: Sequence[Completed],
    chats: int,
) -> Agreement:
    """The figures.

    Raises:
        ValueError: no prompt has both answers.
    """
    both = [n for n in range(len(wanted)) if not theirs[n].reason and theirs[n].token_ids and ours[n].token_ids]
    if not both:
        reason = next((each.reason for each in (*theirs, *ours) if each.reason), "answers without tokens")
        raise ValueError(f"no greedy sample could be compared: {reason}")
    trainer: Trainer = FakeTrainer() if isinstance(engine, Fake) else Local()
    rows = [Sequenced(prompt_ids=wanted[n].prompt_ids, token_ids=theirs[n].token_ids) for n in both]
    apart = [
        abs(mine - other)
        for n, logps in zip(both, trainer.logps(model, rows), strict=True)
        for mine, other in zip(logps, theirs[n].logps, strict=True)
    ]
    pairs = [(ours[n].token_ids, theirs[n].token_ids) for n in both]
    equal = [_first_difference(mine, other) for mine, other in pairs]
    return Agreement(
        prompts=len(both),
        left_out=len(wanted) - len(both),
        tokens=sum(len(mine) for mine, _ in pairs),
        equal=sum(equal),
        apart=sum(apart) / len(apart),
        most_apart=max(apart),
        ends=sum(n == min(map(len, pair)) < max(map(len, pair)) for n, pair in zip(equal, pairs, strict=True)),
        chats=chats,
    )


def _first_difference(one: Sequence[int], other: Sequence[int]) -> int:
    """How many items are equal before the first that differs."""
    places = enumerate(zip(one, other, strict=False))
    return next((n for n, (mine, theirs) in places if mine != theirs), min(len(one), len(other)))
