"""Rebuilds everything the demo ships: `python -m selfboost.demo.build --into DIR`. One thread, about ten minutes."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from transformers import GenerationConfig

from selfboost.demo.paragraphs import paragraph
from selfboost.demo.pretrain import Pretraining, train_base
from selfboost.demo.splits import draw_splits, write_lines, write_pairs
from selfboost.demo.stream import Stream
from selfboost.demo.tokens import build_tokenizer

PARAGRAPHS = 6000


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command line."""

    into: Path
    seed: int
    steps: int
    threads: int


def parse_arguments() -> Arguments:
    parser = argparse.ArgumentParser(prog="python -m selfboost.demo.build", description=__doc__)
    parser.add_argument("--into", type=Path, required=True, help="folder to write the demo's assets to")
    parser.add_argument("--seed", type=int, default=0, help="seed of the model and of its training stream")
    parser.add_argument("--steps", type=int, default=Pretraining.steps, help="training steps of the base model")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; results depend on it")
    return Arguments(**vars(parser.parse_args()))


def write_texts(into: Path) -> frozenset[str]:
    """Write the prompt lists and the paragraphs, always the same; return the prompts that training must not see."""
    splits, rng = draw_splits(0), Random(1)
    write_pairs(into / "seed.jsonl", splits.seed)
    write_pairs(into / "validation.jsonl", splits.validation)
    write_pairs(into / "held_out.jsonl", splits.held_out)
    write_lines(into / "paragraphs.jsonl", ({"text": paragraph(rng, splits.reserved)} for _ in range(PARAGRAPHS)))
    return splits.reserved


def write_model(into: Path, reserved: frozenset[str], arguments: Arguments) -> None:
    """Train the base model and save it in the format that `transformers` loads."""
    tokenizer = build_tokenizer()
    torch.set_num_threads(arguments.threads)
    settings = Pretraining(steps=arguments.steps)
    model = train_base(Stream(reserved=reserved), tokenizer, settings, arguments.seed)
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=eos, pad_token_id=pad, do_sample=True, temperature=0.7)
    tokenizer.save_pretrained(str(into))
    model.save_pretrained(str(into))


def main() -> None:
    arguments = parse_arguments()
    (arguments.into / "model").mkdir(parents=True, exist_ok=True)
    reserved = write_texts(arguments.into)
    write_model(arguments.into / "model", reserved, arguments)


if __name__ == "__main__":
    main()
