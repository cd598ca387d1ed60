"""Learning rates and steps on small real models: held-out log-likelihood of gold answers after one training.

`python -m benchmarks.rates --model stories260K --seed instruction --loss dpo --rates 1e-4 3e-4 [--steps 20]`
prints, for each rate and number of steps, the paired change in nats per token with its 95 % interval. Pairs are gold
over the model's own answer at temperature 1, as SPIN makes them. Longer rows than `--longest` tokens are left out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

from benchmarks.first_hour import MODELS, SEEDS, rows_of

from selfboost.demo import EMBEDDED, EMBEDDED_MODEL
from selfboost.engines import Request
from selfboost.engines.local import Local as Engine
from selfboost.losses.dpo import DPO
from selfboost.losses.simpo import SimPO
from selfboost.records import Answer, Example, Model, Origin, Pair, Sampling, user_prompt
from selfboost.statistics import Interval, paired_gain
from selfboost.train import Sequenced, Training
from selfboost.train.local import Local as Trainer

ENGINE, TRAINER = Engine(dtype="float32", batch_size=64), Trainer(dtype="float32")
LOSSES = {"dpo": DPO(), "simpo": SimPO()}


def examples_of(model: Model, seed: str, longest: int, count: int) -> list[Example]:
    """Random examples that are short enough."""
    tokenizer, found = ENGINE.tokenizer(model), list[Example]()
    rows = list(rows_of(seed))
    Random(0).shuffle(rows)
    for row in rows:
        prompt = user_prompt(row["prompt"], Origin(source="seed"))
        try:
            ids = tokenizer.prompt_ids(prompt.messages), tokenizer.answer_ids(row["response"])
        except ValueError:  # an answer that holds what ends one
            continue
        if sum(map(len, ids)) <= longest and len(found) < count:
            answer = Answer(prompt=prompt, text=row["response"], prompt_ids=ids[0], token_ids=ids[1])
            found.append(Example(prompt=prompt, prompt_ids=ids[0], answer=answer))
    return found


def pairs_of(model: Model, examples: Sequence[Example], most: int) -> list[Pair]:
    """Gold over the model's own answers of at most `most` tokens."""
    sampling = Sampling(temperature=1.0, max_tokens=most)
    requests = [Request(prompt_ids=e.prompt_ids, sampling=sampling, seed=i) for i, e in enumerate(examples)]
    pairs: list[Pair] = []
    with ENGINE.open(model) as sampler:
        for at, drawn in sorted(sampler.sample(requests), key=lambda found: found[0]):
            e = examples[at]
            if not drawn.token_ids:
                continue
            own = Answer(prompt=e.prompt, text="", prompt_ids=e.prompt_ids, token_ids=drawn.token_ids)
            pairs.append(Pair(iteration=1, prompt=e.prompt, prompt_ids=e.prompt_ids, chosen=e.answer, rejected=own))
    return pairs


def per_token(model: Model, examples: Sequence[Example]) -> list[float]:
    """Mean log-probability of each gold answer's tokens."""
    rows = [Sequenced(prompt_ids=e.prompt_ids, token_ids=e.answer.token_ids) for e in examples]
    return [sum(logps) / len(logps) for logps in TRAINER.logps(model, rows)]


def unheard(_done: int, _total: int, _tokens: int) -> None:
    """Progress, which is not shown."""


def change(
    model: Model, data: Sequence[Example] | Sequence[Pair], loss: str, training: Training, held_out: Sequence[Example]
) -> Interval:
    """Of the held-out gold answers' log-probability, by one training."""
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder)
        if loss == "sft":
            examples = [each for each in data if isinstance(each, Example)]
            TRAINER.finetune(model, examples, training, into=into, seed=0, progress=unheard)
        else:
            pairs = [each for each in data if isinstance(each, Pair)]
            settings = model, model, pairs, LOSSES[loss], training
            TRAINER.prefer(*settings, into=into, seed=0, progress=unheard)
        trained = Model(name="trained", path=folder, fingerprint=folder)
        return paired_gain(per_token(trained, held_out), per_token(model, held_out))


def main() -> None:
    """Print a row for each number of steps and rate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", choices=MODELS, default="stories260K")
    parser.add_argument("--seed", choices=[*SEEDS, EMBEDDED], default="instruction")
    parser.add_argument("--loss", choices=["sft", *LOSSES], default="sft")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2])
    parser.add_argument("--steps", type=int, nargs="+", default=[20])
    parser.add_argument("--longest", type=int, default=300)
    parser.add_argument("--most", type=int, default=48, help="longest own answer, in tokens")
    given = parser.parse_args()
    path = str(EMBEDDED_MODEL) if given.model == EMBEDDED else MODELS[given.model]
    model = Model(name="initial", path=path, fingerprint=path)
    held_out, train = (found := examples_of(model, given.seed, given.longest, 188))[:60], found[60:]
    data = train if given.loss == "sft" else pairs_of(model, train, given.most)
    for steps in given.steps:
        for rate in given.rates:
            training = Training(learning_rate=rate, batch_size=16, epochs=16 * steps / len(data), max_length=512)
            gain = change(model, data, given.loss, training, held_out)
            print(f"{given.loss} {rate:g}, {steps} steps: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")


if __name__ == "__main__":
    main()
