"""The demo's tokenizer and model: what a chat becomes, and that nothing is lost on the way to token ids and back."""

import json
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import selfboost.demo
from selfboost.demo import templates
from selfboost.demo.splits import draw_splits
from selfboost.demo.stream import Stream
from selfboost.demo.tokens import build_tokenizer

MODEL = Path(selfboost.demo.__file__).parent / "assets" / "model"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL)


def test_texts_survive_encode_and_decode(tokenizer: Any) -> None:
    splits = draw_splits(0)
    texts = [text for pair in splits.seed + splits.validation for text in pair]
    exchanges = Stream(reserved=splits.reserved).exchanges(Random(0), share=1.0)
    texts += [text for _, e in zip(range(500), exchanges, strict=False) for text in (e.given, e.draft, e.reply)]
    texts += [json.loads(line)["text"] for line in (MODEL.parent / "paragraphs.jsonl").read_text().splitlines()[:500]]
    for text in texts:
        ids = tokenizer.encode(text)
        assert tokenizer.unk_token_id not in ids, text
        assert len(ids) == len(text.split())
        assert tokenizer.decode(ids) == text
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_the_tags_are_single_tokens_that_decoding_keeps(tokenizer: Any) -> None:
    for tag in [word for word in templates.GENERATOR_TARGET.split() if word.startswith("<")]:
        assert tokenizer.decode(tokenizer.encode(tag), skip_special_tokens=True) == tag
        assert len(tokenizer.encode(tag)) == 1


def test_a_prompt_is_the_start_of_its_whole_chat(tokenizer: Any) -> None:
    asked = [{"role": "user", "content": "count the birds : owl fox"}]
    whole = [*asked, {"role": "assistant", "content": "1 birds"}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    chat = tokenizer.apply_chat_template(whole, return_dict=False)
    assert chat[: len(prompt)] == prompt
    assert tokenizer.decode(chat[len(prompt) :]) == "1 birds <end>"
    assert chat[-1] == tokenizer.eos_token_id
    assert tokenizer.bos_token_id is None


def test_the_shipped_tokenizer_is_the_one_the_scripts_build(tokenizer: Any) -> None:
    assert build_tokenizer().get_vocab() == tokenizer.get_vocab()
    assert build_tokenizer().chat_template == tokenizer.chat_template


def test_the_model_loads_and_is_small() -> None:
    model = cast(Any, AutoModelForCausalLM.from_pretrained(MODEL))
    assert model.config.vocab_size == len(build_tokenizer())
    assert model.num_parameters() < 2_000_000
    assert (MODEL / "model.safetensors").stat().st_size < 6_000_000
