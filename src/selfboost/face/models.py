"""What Python callers do with models: measure them, and ask them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from selfboost.engines import Request
from selfboost.face import Address
from selfboost.measuring import measurement
from selfboost.measuring.request import MeasureRequest, planned
from selfboost.measuring.stored import Measurement, check_replaceable, write
from selfboost.records import Answer, Message, Origin, Prompt, Sampling
from selfboost.stages import Listener, Silent
from selfboost.views.conversation import model_for


def measure(
    model: Address,
    benchmark: str,
    *,
    recipe: Address = "",
    settings: Sequence[str] = (),
    tasks: Sequence[Address] = (),
    seed: Address = "",
    against: Address = "",
    into: Address | None = None,
    to: Address | None = None,
    trust: str | Sequence[str] = (),
    listener: Listener | None = None,
) -> Measurement:
    """Measure a model (a folder, a hub name, or a run's address) by any benchmark.

    `tasks` are for benchmarks that have some, `seed` holds prompts for those without their own, and `recipe` gives
    settings and held-out prompts. `against` is measured too. Stages are kept `into` a folder, to resume from; the
    result is stored in the file `to`, for `compare`.

    Raises:
        ValueError: the model, the benchmark or its data cannot be used.
    """
    heard = listener or Silent()
    request = MeasureRequest(
        model=str(model),
        benchmark=benchmark,
        recipe=str(recipe),
        settings=tuple(settings),
        tasks=tuple(map(str, tasks)),
        seed=str(seed),
        against=str(against),
        trust=(trust,) if isinstance(trust, str) else tuple(trust),
    )
    if to is not None:
        check_replaceable(Path(to))
    with ExitStack() as opened:
        plan = planned(request, heard.say)
        root = into or opened.enter_context(TemporaryDirectory(prefix="selfboost-measure-"))
        found = measurement.measure(plan, Path(root), heard)
    if to is not None:
        write(Path(to), found)
    return found


def ask(
    model: Address,
    prompts: Sequence[str | Sequence[Message]],
    *,
    temperature: float = 0.7,
    max_tokens: int = 512,
    seed: int = 0,
) -> list[Answer]:
    """Answers of a model (a folder, a hub name, or a run's address) to prompts: texts, or whole conversations.

    A run's model is opened with the settings of the run's engine. The same seed gives the same answers.

    Raises:
        ValueError: the model cannot be opened, or the chat template does not accept a conversation.
    """
    turns = [[Message(role="user", content=each)] if isinstance(each, str) else each for each in prompts]
    asked = [Prompt(messages=tuple(each), origin=Origin(source="asked")) for each in turns]
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    engine, opening = model_for(str(model))
    found: list[Answer] = []
    with engine.open(opening) as sampler:
        tokenizer = sampler.tokenizer
        wanted = [
            Request(prompt_ids=tokenizer.prompt_ids(prompt.messages), sampling=sampling, seed=seed + n)
            for n, prompt in enumerate(asked)
        ]
        for start in range(0, len(wanted), engine.block_size):
            block = wanted[start : start + engine.block_size]
            drawn = dict(sampler.sample(block))
            found += [
                Answer(
                    prompt=asked[start + n],
                    text=tokenizer.text(drawn[n].token_ids),
                    prompt_ids=request.prompt_ids,
                    token_ids=drawn[n].token_ids,
                    logps=drawn[n].logps,
                    finish=drawn[n].finish,
                    reason=drawn[n].reason,
                    model=opening.fingerprint,
                    model_name=opening.name,
                    sampling=sampling,
                    seed=request.seed,
                )
                for n, request in enumerate(block)
            ]
    return found
