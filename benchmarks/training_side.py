"""One measurement of the training benchmark in a process of its own: one side, model, method and precision.

Prints one line of JSON. `prepare` writes the model and the pairs, in the order in which they are trained on, into the
folder that all measurements read; `ours` and `trl` train on them. Started by `python -m benchmarks.training`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmarks.training_task import (
    BATCH_SIZE,
    DPO_BETA,
    END,
    LEARNING_RATE,
    MAX_NORM,
    PAD,
    SEED,
    SHAPES,
    SIMPO_BETA,
    SIMPO_GAMMA,
    VOCABULARY,
    Shape,
    TokenPair,
    random_pairs,
    useful_flops,
    word,
)

if TYPE_CHECKING:
    from selfboost.losses import Loss
    from selfboost.records import Pair

MEBIBYTE = 2**20
METHODS = ("simpo", "dpo", "noise", "affine-noise")
"""The last two: DPO with trainable noise on the reference, not for TRL, which has none."""


@dataclass
class Meter:
    """Clocks read at the end of every optimiser step, memory read when the model is loaded and at the last step."""

    loaded_bytes: int = 0
    peak_bytes: int = 0
    processor_s: list[float] = field(default_factory=list[float])
    system_s: list[float] = field(default_factory=list[float])
    wall_s: list[float] = field(default_factory=list[float])

    def step_done(self) -> None:
        """An optimiser step is over, clipping and update included."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.processor_s.append(time.process_time())
        self.system_s.append(usage.ru_stime)
        self.wall_s.append(time.perf_counter())
        self.peak_bytes = usage.ru_maxrss * 1024

    def watch_loading(self) -> None:
        """Note the resident memory when transformers has loaded the first model: the same moment on both sides."""
        from transformers import AutoModelForCausalLM

        load = AutoModelForCausalLM.from_pretrained

        def load_and_note(*arguments: Any, **settings: Any) -> Any:
            model = load(*arguments, **settings)
            self.loaded_bytes = self.loaded_bytes or resident_bytes()
            return model

        AutoModelForCausalLM.from_pretrained = load_and_note


def differences(ends: list[float]) -> list[float]:
    """Seconds of each step but the first, which warms up."""
    return [after - before for before, after in pairwise(ends)]


def resident_bytes() -> int:
    """Memory of this process that is resident now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def prepare(folder: Path, name: str, steps: list[int]) -> dict[str, Any]:
    """Write a random Llama, its tokenizer, and the pairs with our trainer's order of them for each number of steps."""
    from selfboost.train.packs.batches import step_batches

    parameters = save_llama(folder, name)
    save_tokenizer(folder)
    pairs = random_pairs(max(steps) * BATCH_SIZE)
    orders = {
        count: [position for batch in step_batches(count * BATCH_SIZE, BATCH_SIZE, 1.0, SEED) for position in batch]
        for count in steps
    }
    stored = {"pairs": [asdict(pair) for pair in pairs], "orders": orders}
    (folder / "pairs.json").write_text(json.dumps(stored), encoding="utf-8")
    return {"parameters": parameters}


def llama_config(shape: Shape, **settings: Any) -> Any:
    """A Llama of these sizes."""
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        vocab_size=VOCABULARY,
        **settings,
    )


def save_llama(folder: Path, name: str) -> int:
    """Write a random Llama; the number of its parameters."""
    import torch
    from transformers import LlamaForCausalLM

    shape = SHAPES[name]
    torch.manual_seed(SEED)
    config = llama_config(
        shape,
        max_position_embeddings=512,
        tie_word_embeddings=shape.tied,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(str(folder))
    return model.num_parameters()


def save_tokenizer(folder: Path) -> None:
    """Write a tokenizer whose words are token ids."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({word(number): number for number in range(VOCABULARY)}, unk_token=word(PAD)))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=word(END), pad_token=word(PAD))
    fast.save_pretrained(str(folder))


def read_pairs(case: argparse.Namespace) -> tuple[list[TokenPair], list[int]]:
    """The pairs for so many steps, and their positions in the order in which they are trained on."""
    stored = json.loads((case.folder / "pairs.json").read_text(encoding="utf-8"))
    order = stored["orders"][str(case.steps[0])]
    return [TokenPair(**pair) for pair in stored["pairs"][: len(order)]], order


def train_ours(case: argparse.Namespace, meter: Meter) -> list[float]:
    """Train with this package; the losses of the steps."""
    return [row["loss"] for row in our_history(case, meter.step_done)]


def our_history(case: argparse.Namespace, step_done: Callable[[], None]) -> Sequence[Mapping[str, float]]:
    """Train with this package; what it logged of the steps."""
    from selfboost.records import Model
    from selfboost.train import Training
    from selfboost.train.local import Local

    model = Model(name="start", path=str(case.folder), fingerprint="start")
    into = case.folder / "ours"
    into.mkdir(exist_ok=True)
    local = Local(dtype=case.precision, device=case.device, checkpoint_seconds=0)
    loss = our_loss(case.method)
    result = local.prefer(
        model,
        model if loss.needs_reference else None,
        our_pairs(case),
        loss,
        Training(
            learning_rate=LEARNING_RATE,
            batch_size=BATCH_SIZE,
            schedule="constant",
            warmup=0.0,
            max_gradient_norm=MAX_NORM,
        ),
        into=into,
        seed=SEED,
        progress=lambda *_: step_done(),
    )
    return result.history


def our_loss(method: str) -> Loss:
    """The loss of a case's method, with the settings that TRL's side has too."""
    from selfboost.losses.dpo import DPO
    from selfboost.losses.noise_preference import NoisePreference
    from selfboost.losses.noise_settings import Noise
    from selfboost.losses.simpo import SimPO

    losses: dict[str, Loss] = {
        "simpo": SimPO(beta=SIMPO_BETA, gamma=SIMPO_GAMMA),
        "dpo": DPO(beta=DPO_BETA),
        "noise": NoisePreference(beta=DPO_BETA, noise=Noise()),
        "affine-noise": NoisePreference(beta=DPO_BETA, noise=Noise(module="affine", largest_variance=10.0)),
    }
    return losses[method]


def our_pairs(case: argparse.Namespace) -> list[Pair]:
    """The case's pairs as records."""
    from selfboost.records import Answer, Origin, Pair, user_prompt

    def record(number: int, pair: TokenPair) -> Pair:
        prompt, ids = user_prompt(f"request {number}", Origin(source="seed")), tuple(pair.prompt)
        chosen, rejected = (
            Answer(prompt=prompt, text=f"answer {index}", prompt_ids=ids, token_ids=tuple(token_ids), index=index)
            for index, token_ids in enumerate((pair.chosen, pair.rejected))
        )
        return Pair(iteration=1, prompt=prompt, prompt_ids=ids, chosen=chosen, rejected=rejected)

    return [record(number, pair) for number, pair in enumerate(read_pairs(case)[0])]


def train_trl(case: argparse.Namespace, meter: Meter) -> list[float]:
    """Train with TRL; the losses of the steps."""
    from benchmarks.training_peer import train

    pairs, order = read_pairs(case)
    return train(case, [pairs[position] for position in order], meter.step_done)


def gemm_rate(precision: str, clock: Callable[[], float]) -> float:
    """Best rate of square matrix products in this process, in floating-point operations per second."""
    import torch

    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    best = 0.0
    for size in (1024, 2048):
        left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
        for _ in range(5):  # the first warms up
            start = clock()
            left @ right
            best = max(best, 2 * size**3 / (clock() - start))
    return best


def measure(case: argparse.Namespace) -> dict[str, Any]:
    """Train, and say how long the steps took, what memory they needed and how the machine was used."""
    import torch

    torch.set_num_threads(case.threads)
    meter = Meter()
    meter.watch_loading()
    losses = {"ours": train_ours, "trl": train_trl}[case.side](case, meter)
    assert meter.loaded_bytes, "the model was not loaded by AutoModelForCausalLM.from_pretrained"
    pairs, order = read_pairs(case)
    batches = [order[at : at + BATCH_SIZE] for at in range(BATCH_SIZE, len(order), BATCH_SIZE)]
    return {
        "losses": losses,
        "tokens": [sum(pairs[at].tokens for at in batch) for batch in batches],
        "flops": [useful_flops(SHAPES[case.model], (pairs[at] for at in batch)) for batch in batches],
        "processor_s": differences(meter.processor_s),
        "system_s": differences(meter.system_s),
        "wall_s": differences(meter.wall_s),
        "loaded_mib": meter.loaded_bytes / MEBIBYTE,
        "peak_mib": meter.peak_bytes / MEBIBYTE,
        "gemm_flops_per_s": gemm_rate(case.precision, time.process_time if case.threads == 1 else time.perf_counter),
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=("prepare", "ours", "trl"))
    parser.add_argument("--folder", type=Path, required=True, help="folder with the model and the pairs")
    parser.add_argument("--model", choices=tuple(SHAPES), required=True)
    parser.add_argument("--method", choices=METHODS, default="simpo")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, nargs="+", required=True, help="optimiser steps; prepare: all that occur")
    parser.add_argument("--weights", choices=("float32", "bfloat16"), default="float32", help="trl: weights loaded as")
    parser.add_argument("--reference", choices=("stored", "online"), default="stored", help="trl: the reference of DPO")
    parser.add_argument("--micro-batch", type=int, default=BATCH_SIZE, help="trl: pairs of a forward pass")
    return parser.parse_args()


def main() -> None:
    """Measure and print; what libraries print goes to the error stream, so that the result stands alone."""
    case = parse()
    output, sys.stdout = sys.stdout, cast(Any, sys.stderr)
    found = prepare(case.folder, case.model, case.steps) if case.side == "prepare" else measure(case)
    print(json.dumps(found), file=output)


if __name__ == "__main__":
    main()
