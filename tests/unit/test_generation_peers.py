"""The generation benchmark: bad options are sentences, bars take the right clock, and every row is filled."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are found where they are."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--openvino-python", "/no/such/python"], r"^--openvino-python /no/such/python: cannot be started \(No such"),
        (["--llamacpp-python", sys.executable], r"cannot import llama_cpp and gguf \(.*'llama_cpp'\); name a Python"),
        (["--only", "17M"], r"^--only 17M: no row is named so; rows: 15M, nucleus of about 120 tokens, float32; "),
    ],
)
def test_bad_options_are_one_sentence(monkeypatch: pytest.MonkeyPatch, options: list[str], sentence: str) -> None:
    from benchmarks import generation

    monkeypatch.setattr(sys, "argv", ["generation", *options])
    with pytest.raises(SystemExit, match=sentence) as error:
        generation.main()
    assert "\n" not in str(error.value)


def test_tokens_count_up_to_the_first_that_differs() -> None:
    from benchmarks.generation import same_tokens

    assert same_tokens([[1, 2, 3], [4, 9, 6], [7, 8, 9]], [[1, 2, 3], [4, 5, 6], [0, 8, 9]]) == 3 + 1 + 0


def test_verdicts_take_processor_time_on_one_thread_and_the_clock_on_two() -> None:
    from benchmarks.generation import verdicts

    def row(side: str, threads: int, processor: float, wall: float, speed: float) -> dict[str, Any]:
        ratios = {"processor_s": [processor], "wall_s": [wall]}
        about = {"name": "15M float32", "model": "15M", "dtype": "float32", "side": side, "threads": threads}
        return about | {"ratios": ratios, "tokens_per_wall_s": speed}

    rows = [row("ours", 1, 1, 1, 100), row("openvino", 1, 0.95, 0.5, 0), row("ours", 2, 1, 1, 140)]
    rows.append(row("openvino", 2, 0.95, 0.5, 0))
    assert [line.rpartition(", ")[2] for line in verdicts(rows)] == [
        "bar 0.9: met",
        "bar 0.9: missed",
        "bar 1.5: missed",
    ]


def test_our_sampler_and_transformers_make_the_same_greedy_tokens_and_fill_every_row() -> None:
    import torch
    from benchmarks.generation_peers import generate, ours
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, eos_token_id=2, **sizes)).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(50.0)
    prompts, ways = [[5, 6, 7, 8], [9, 10, 11, 12]], (ours(model), generate(model))
    mine, theirs = (way(prompts, 6, True) for way in ways)
    assert mine == theirs
    assert {len(row) for way in ways for row in way(prompts, 6, False)} == {6}
