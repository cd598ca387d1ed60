"""Samples from outside this process end as those of this process do; what vLLM is asked is what its own names mean."""

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace

import pytest
from engine_models import save_llama

from selfboost.engines import Request
from selfboost.engines.context import room_for, why_no_room
from selfboost.engines.fake import SPECIAL
from selfboost.engines.outside import failed, generation_of
from selfboost.engines.running_vllm import same_architecture
from selfboost.engines.vllm import VLLM, drawing, logps_of
from selfboost.records import Model, Sampling
from served import EndingFakeTokenizer

END = SPECIAL["end"]
TOKENIZER = EndingFakeTokenizer()


def request(**settings):
    return Request(prompt_ids=(256, 65), sampling=Sampling(**{"max_tokens": 8, **settings}), seed=2**59)


def ended(text, *more, limit=8, **settings):
    ids = (*text.encode(), *more)
    return generation_of(TOKENIZER, request(**settings), limit, ids, [-float(n) for n in range(len(ids))])


def test_an_answer_ends_at_the_first_token_that_ends_it():
    found = ended("abc", END, 65, END)
    assert (found.token_ids, found.logps, found.finish) == ((*b"abc", END), (0.0, -1.0, -2.0, -3.0), "stop")
    assert (ended("abc", END, limit=4).finish, ended("abcd", END, limit=4).finish) == ("stop", "length")
    assert ended("abcdefghijk").token_ids == tuple(b"abcdefgh")


@pytest.mark.parametrize(("stop", "text"), [(("cd",), "abcd"), (("x", "d", "cd"), "abcd"), (("a",), "a")])
def test_an_answer_ends_where_its_stop_text_is_whole_and_keeps_its_tokens(stop, text):
    found = ended("abcdefg", END, stop=stop)
    assert (found.token_ids, found.finish) == (tuple(text.encode()), "stop")


def test_any_other_end_is_a_failure_with_a_reason():
    assert ended("abc").reason == "the answer was ended after 3 tokens, with token 99, which ends no answer in the " + (
        "model's chat template"
    )
    assert ended("", 300, END).reason == "token 300 was drawn, which stands for no text"
    assert generation_of(TOKENIZER, request(), 8, [65, END], [0.0]).reason.startswith("2 tokens came back with 1 log")
    assert {ended("abc").finish, ended("").finish} == {"failed"}


def test_room():
    assert [room_for(request(), length) for length in (2, 5, 10, 100)] == [0, 3, 8, 8]
    assert room_for(replace(request(), prompt_ids=()), 100) == 0
    assert failed(why_no_room(request(), 2)).reason == "the prompt's 2 tokens leave no room in the context of 2 tokens"


@dataclass
class Flat:
    """vLLM's flat log-probabilities, as its FlatLogprobs has them."""

    start_indices: list[int] = field(default_factory=list)
    end_indices: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


def test_log_probabilities_of_the_sampled_tokens_are_found_beside_others():
    flat = Flat([0, 1, 3], [1, 3, 4], [7, 9, 8, 7], [-0.5, -1.0, -2.0, -3.0])
    assert logps_of([7, 8, 7], flat) == [-0.5, -2.0, -3.0]
    with pytest.raises(ValueError, match="is not in list"):
        logps_of([6], flat)


def test_a_model_of_another_shape_is_not_loaded_in_place(tmp_path):
    folders = [tmp_path / name for name in ("one", "same", "other")]
    for folder, sizes in zip(folders, ({}, {}, {"context": 32}), strict=True):
        save_llama(folder, **sizes)
    one, same, other = map(str, folders)
    assert same_architecture(one, same)
    assert not same_architecture(one, other)


def test_vllm_is_asked_for_nothing_but_what_the_request_says():
    found = drawing(request(temperature=0.0, stop=("x",)), 5, [2, 3])
    assert (found["max_tokens"], found["stop_token_ids"], found["ignore_eos"], found["detokenize"]) == (
        5,
        [2, 3],
        True,
        True,
    )
    assert not drawing(request(), 5, [2])["detokenize"]
    made = VLLM(keep=False, max_model_len=64).arguments()
    assert (made["dtype"], made["max_model_len"], made["enable_sleep_mode"]) == ("bfloat16", 64, False)
    assert (made["logprobs_mode"], made["generation_config"]) == ("raw_logprobs", "vllm")


def test_without_vllm_the_sentence_says_how_to_install_it(tmp_path):
    save_llama(tmp_path)
    model = Model(name="tiny", path=str(tmp_path), fingerprint="")
    with pytest.raises(ValueError, match=r"engine.kind = 'vllm' needs (vllm|1 GPU)"), VLLM().open(model):
        pass
    assert VLLM().release() == {}


def test_checking_a_recipe_imports_neither_vllm_nor_the_sdk():
    code = (
        "import sys, json\n"
        "from selfboost import recipe\n"
        "from selfboost.records import Model\n"
        "for more in (['engine.kind=vllm'], ['engine.kind=server', 'engine.url=http://127.0.0.1:8000/v1']):\n"
        "    read = recipe.read(recipe.find('smoke'), more)\n"
        "    read.engine.look(Model(name='initial', path=read.model.location, fingerprint=''))\n"
        "print(json.dumps(sorted({'vllm', 'openai'} & set(sys.modules))))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert json.loads(found) == []
