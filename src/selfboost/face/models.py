"""What Python callers do with models: measure them, and ask them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from selfboost.engines import Request, Sampler
from selfboost.face import Address
from selfboost.measuring import measurement
from selfboost.measuring.request import MeasureRequest, planned
from selfboost.measuring.stored import Measurement, check_replaceable, write
from selfboost.records import Answer, Message, Model, Origin, Prompt, Sampling
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

    `seed` holds prompts for benchmarks without their own; `recipe` gives settings and held-out prompts. Stages are kept
    `into` a folder, to resume from; the result, that of `against` included, in the file `to`, for `compare`.

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
    with TemporaryDirectory(prefix="selfboost-measure-") as folder:
        found = measurement.measure(planned(request, heard.say), Path(into or folder), heard)
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
    engine, opened = model_for(str(model))
    found: list[Answer] = []
    with engine.open(opened) as sampler:
        for start in range(0, len(asked), engine.block_size):
            found += _answers(sampler, opened, asked[start : start + engine.block_size], sampling, seed + start)
    return found


def _answers(
    sampler: Sampler, model: Model, asked: Sequence[Prompt], sampling: Sampling, seed: int
) -> Iterator[Answer]:
    """Answers to one block of prompts."""
    ids = [sampler.tokenizer.prompt_ids(prompt.messages) for prompt in asked]
    wanted = [Request(prompt_ids=each, sampling=sampling, seed=seed + n) for n, each in enumerate(ids)]
    drawn = dict(sampler.sample(wanted))
    for n, prompt in enumerate(asked):
        yield Answer(
            prompt=prompt,
            text=sampler.tokenizer.text(drawn[n].token_ids),
            prompt_ids=ids[n],
            **vars(drawn[n]),
            model=model.fingerprint,
            model_name=model.name,
            sampling=sampling,
            seed=seed + n,
        )
