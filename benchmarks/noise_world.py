"""A small world of long answers, for what noise on a reference does where the loss fades: spelling by topic.

A prompt names a topic and sixteen symbols; its answer spells each symbol in four letters, by the topic's table: 64
tokens. For each symbol of each topic there is a habit, a wrong spelling that a start model has learned with its own
probability, as sloppy texts would have taught it. Quality is graded: the share of the sixteen that are spelled right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from selfboost import Model, Trainer
from selfboost.measures import SHARE
from selfboost.records import Answer, Verdict

TOPICS = tuple(f"topic{number}" for number in range(8))
SYMBOLS = tuple("ABCDEFGHIJKLMNOP")
LETTERS = tuple("abcdefghijklmnopqrstuvwx")
PER_ANSWER, PER_SYMBOL = 16, 4
SPECIAL = ("<pad>", "<unk>", "<user>", "<assistant>", "<end>")
TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '> ' + message['content'] + ' <end> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
Spelling = tuple[str, ...]


def _tables() -> tuple[dict[tuple[str, str], Spelling], dict[tuple[str, str], Spelling]]:
    """(topic, symbol) → the right spelling, and the habit, which differs from it in its last two letters."""
    rng, right, habits = Random("spelling"), {}, {}
    for topic in TOPICS:
        for symbol in SYMBOLS:
            spelled = tuple(rng.choices(LETTERS, k=PER_SYMBOL))
            slip = tuple(rng.choice([letter for letter in LETTERS if letter != old]) for old in spelled[2:])
            right[topic, symbol], habits[topic, symbol] = spelled, (*spelled[:2], *slip)
    return right, habits


RIGHT, HABITS = _tables()


def prompts(seed: str, count: int) -> list[str]:
    """So many prompts, drawn by a seed."""
    rng = Random(seed)
    return [" ".join((rng.choice(TOPICS), *rng.choices(SYMBOLS, k=PER_ANSWER))) for _ in range(count)]


def spelled(prompt: str, habit: Mapping[tuple[str, str], float], rng: Random) -> str:
    """An answer in which each symbol has its habit with the probability given, and is right otherwise."""
    topic, *symbols = prompt.split()
    pairs = [(topic, symbol) for symbol in symbols]
    return " ".join(" ".join((HABITS if rng.random() < habit.get(pair, 0.0) else RIGHT)[pair]) for pair in pairs)


def share_right(prompt: str, answer: str) -> float:
    """Share of the prompt's symbols that the answer spells right, each in its place."""
    topic, *symbols = prompt.split()
    letters = answer.split()
    parts = [tuple(letters[at : at + PER_SYMBOL]) for at in range(0, PER_SYMBOL * len(symbols), PER_SYMBOL)]
    return sum(part == RIGHT[topic, symbol] for part, symbol in zip(parts, symbols, strict=True)) / len(symbols)


@dataclass(frozen=True, kw_only=True)
class ShareRight:
    """The world's own verdict: 0 to 1. On the topics in `wrong_about` it is turned round, as by a judge whose errors go
    together."""

    unit: ClassVar[str] = SHARE
    threshold: float = 0.0
    wrong_about: tuple[str, ...] = ()

    def needs(self) -> Mapping[str, str]:
        """No model."""
        return {}

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """The share of each."""
        del models, trainer
        for answer in answers:
            share = share_right(answer.prompt.text, answer.text)
            value = 1 - share if answer.prompt.text.split()[0] in self.wrong_about else share
            yield Verdict(answer=answer.id, scorer="share right", value=value)


@dataclass(frozen=True, kw_only=True)
class Start:
    """A start model: how sloppy the texts were that it learned from."""

    sloppiest: float
    """A symbol's habit has a probability from 0.1 to this."""
    seed: int


STARTS: Mapping[str, Start] = {
    "less sloppy": Start(sloppiest=0.7, seed=0),
    "sloppier": Start(sloppiest=0.9, seed=1),
}
HIDDEN, LAYERS, HEADS = 64, 2, 4
STEPS, BATCH, RATE = 1200, 48, 3e-3


def write_start(folder: Path, start: Start) -> None:
    """Train a start model from random weights, minutes on one thread, and save it; the same for the same seed."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(start.seed)
    tokenizer = _tokenizer()
    model, rng = _untrained(tokenizer), Random(start.seed)
    habit = {pair: rng.uniform(0.1, start.sloppiest) for pair in RIGHT}
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    scale = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 40, (1 - step / STEPS) / 0.4)
    )
    for step in range(STEPS):
        asked = prompts(f"{start.seed} {step}", BATCH)
        loss = _loss(model, tokenizer, [(prompt, spelled(prompt, habit, rng)) for prompt in asked])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scale.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"{folder.name}, step {step} of {STEPS}: loss {loss.item():.3f}", flush=True)
    model.eval().save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def _untrained(tokenizer: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        initializer_range=0.04,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def _loss(model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> Any:
    """Cross-entropy of the answers alone; all rows have one length."""
    import torch

    texts = [f"<user> {prompt} <end> <assistant> {answer} <end>" for prompt, answer in pairs]
    ids_BT = torch.tensor(tokenizer(texts)["input_ids"])
    labels_BT = ids_BT.clone()
    labels_BT[:, : PER_ANSWER + 4] = -100
    return model(input_ids=ids_BT, labels=labels_BT).loss


def _tokenizer() -> Any:
    """Words separated by spaces, one token each."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = (*SPECIAL, *TOPICS, *SYMBOLS, *LETTERS)
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    named = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<end>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=TEMPLATE, model_max_length=128, **named)


def write_pairs(path: Path, asked: Sequence[str], sloppy: float = 0.0) -> None:
    """Prompts with gold answers as JSONL; of a share of them half of the symbols have their habit."""
    habit = dict.fromkeys(RIGHT, 0.5)
    with path.open("w", encoding="utf-8") as file:
        for prompt in asked:
            rng = Random(f"gold {prompt}")
            answer = spelled(prompt, habit if rng.random() < sloppy else {}, rng)
            file.write(json.dumps({"prompt": prompt, "response": answer}) + "\n")
