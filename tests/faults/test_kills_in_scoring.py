"""A scoring stage that ends at any of its blocks and is resumed gives the bits of one that never ended."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from train_and_die import tiny_recipe
from transformers import LlamaConfig, LlamaForSequenceClassification

from selfboost import store
from selfboost.demo import EMBEDDED_MODEL
from selfboost.records import Answer, Origin, Verdict, user_prompt
from selfboost.run import Run
from selfboost.scorers.blocks import block_ends
from selfboost.scorers.likelihood import Likelihood
from selfboost.scorers.reward_model import RewardModel
from selfboost.stages import Silent
from selfboost.train.packs.batches import WINDOW

pytestmark = pytest.mark.skipif(
    not (EMBEDDED_MODEL / "tokenizer.json").exists(), reason="the embedded tokenizer is not here"
)


class Ended(BaseException):
    """The moment after a block is stored."""


def reward_model(folder: Path, longest: int = 2048) -> Path:
    """A random reward model of two layers with the embedded model's tokenizer."""
    folder.mkdir()
    for file in EMBEDDED_MODEL.glob("*"):
        if file.name.startswith(("tokenizer", "chat_template")):
            (folder / file.name).write_bytes(file.read_bytes())
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"max_position_embeddings": longest}
    config = LlamaConfig(vocab_size=2048, num_labels=1, pad_token_id=0, **sizes)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


def many_answers(run: Run) -> list[Answer]:
    """Answers of many lengths, three to each prompt, some of which no model can judge."""
    made: list[Answer] = []
    for number in range((2 * WINDOW + 200) // 3):
        prompt = user_prompt("What is " + "so very " * (number % 7) + f"{number}?", Origin(source="seed"))
        for index in range(3):
            answer = run.given(prompt, "It is " + "very " * ((number * 7 + index * 5) % 23) + f"{index}.")
            fails = (number + index) % 11 == 0
            made.append(replace(answer, index=index, finish="failed" if fails else "stop"))
    return made


def ending_after(blocks: int, append: Callable[..., None]) -> Callable[..., None]:
    """Stores so many blocks, then ends."""
    stored = 0

    def store_block(stage: store.Stage, records: Iterable[object]) -> None:
        nonlocal stored
        append(stage, records)
        stored += 1
        if stored == blocks:
            raise Ended

    return store_block


@pytest.mark.parametrize("longest", [pytest.param(2048, marks=pytest.mark.slow), 40])
def test_ended_after_every_block(longest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where answers are too long for the model, fewer rows than a block's answers are computed together."""
    torch.set_num_threads(1)
    chosen = tiny_recipe(tmp_path, {}, {"micro_batch_tokens": 200})
    scorer = RewardModel(path=str(reward_model(tmp_path / "reward", longest)))
    answers = many_answers(Run(chosen, tmp_path / "whole", Silent()))
    expected = Run(chosen, tmp_path / "whole", Silent()).score("scores", answers, scorer)
    assert any("tokens, the reward model reads" in verdict.reason for verdict in expected) == (longest < 2048)
    ends = block_ends(answers, whole_prompts=False)
    assert len(ends) == 2 < len(answers) / WINDOW
    for blocks in range(1, len(ends) + 1):
        root = tmp_path / f"ended-{blocks}"
        with monkeypatch.context() as context:
            context.setattr(store.Stage, "append", ending_after(blocks, store.Stage.append))
            with pytest.raises(Ended):
                Run(chosen, root, Silent()).score("scores", answers, scorer)
        (rows,) = root.rglob("*.partial-*/records.jsonl")
        assert rows.read_bytes().count(b"\n") == ends[blocks - 1]
        assert bits(Run(chosen, root, Silent()).score("scores", answers, scorer)) == bits(expected)


def test_ended_inside_a_block_as_it_was_written(tmp_path: Path) -> None:
    """A write that was cut off leaves part of a block: it is computed again with all of the block beside it."""
    torch.set_num_threads(1)
    chosen = tiny_recipe(tmp_path, {}, {"micro_batch_tokens": 200})
    scorer = Likelihood(policy="initial")
    run = Run(chosen, tmp_path / "run", Silent())
    answers = many_answers(run)[: WINDOW // 2]
    expected = run.score("scores", answers, scorer)
    (rows,) = tmp_path.rglob("records.jsonl")
    kept = rows.read_bytes()[: len(rows.read_bytes()) // 3]
    card = store.read_card(rows.parent)
    assert card is not None
    stage = store.Stage(tmp_path / "run", card.name, card.verb, card.parts)
    rows.parent.rename(tmp_path / "aside")
    (stage.begin() / store.ROWS).write_bytes(kept)
    assert bits(Run(chosen, tmp_path / "run", Silent()).score("scores", answers, scorer)) == bits(expected)


def bits(verdicts: Sequence[Verdict]) -> list[tuple[str, str | None]]:
    return [(verdict.answer, None if verdict.value is None else verdict.value.hex()) for verdict in verdicts]


@pytest.mark.parametrize("whole_prompts", [True, False])
def test_blocks_restart_where_they_end(whole_prompts: bool) -> None:
    prompts = [user_prompt(f"say {number}", Origin(source="seed")) for number in range(WINDOW)]
    answers = [
        Answer(prompt=prompt, text="x", prompt_ids=(1,), token_ids=(2,) * (number % 5 > 0), index=index)
        for number, prompt in enumerate(prompts)
        for index in range(1 + number % 4)
    ]
    ends = block_ends(answers, whole_prompts=whole_prompts)
    assert ends[-1] == len(answers)
    assert len(ends) > 1
    for end in ends[:-1]:
        assert block_ends(answers[end:], whole_prompts=whole_prompts) == [e - end for e in ends if e > end]
        if whole_prompts:
            assert answers[end].prompt.id != answers[end - 1].prompt.id
