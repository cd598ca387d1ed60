"""The fake engine: deterministic, honest about its limits, and as good as its skill."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfboost.engines import Request
from selfboost.engines.fake import SPECIAL, Fake, FakeModel, FakeTokenizer, fake_logps, is_good, read_fake, write_fake
from selfboost.records import Message, Model, Sampling

TOKENIZER = FakeTokenizer()
INITIAL = Model(name="initial", path="fake", fingerprint="x")


def prompt(text, prefix=""):
    return TOKENIZER.prompt_ids([Message(role="user", content=text)], prefix)


def sampled(requests, path="fake", **settings):
    with Fake(**settings).open(Model(name="m", path=str(path), fingerprint="x")) as sampler:
        return dict(sampler.sample(requests))


def wanted(text, count, prefix="", **settings):
    sampling = Sampling(**{"max_tokens": 400, **settings})
    return [Request(prompt_ids=prompt(text, prefix), sampling=sampling, seed=seed) for seed in range(count)]


def texts(found):
    return [TOKENIZER.text(found[index].token_ids) for index in sorted(found)]


@given(text=st.text(), prefix=st.text())
def test_text_survives(text, prefix):
    assert TOKENIZER.text(TOKENIZER.answer_ids(text)) == text
    assert TOKENIZER.answer_ids(text).count(SPECIAL["end"]) == 1
    assert prompt(text, prefix)[: len(prompt(text))] == prompt(text)


def test_nothing_heavy_is_imported():
    code = (
        "import sys, selfboost.engines.fake, selfboost.engines.local\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'scipy', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_the_same_request_has_the_same_answer_alone_and_among_others():
    requests = wanted("name three red fruits", 20)
    together = sampled(requests)
    assert together == sampled(requests)
    for index, request in enumerate(requests):
        assert sampled([request])[0] == together[index]
    assert len(set(texts(together))) > 15


def test_greedy_ignores_the_seed():
    assert len(set(texts(sampled(wanted("name three red fruits", 5, temperature=0.0))))) == 1


def test_good_answers_are_as_many_as_the_skill_and_the_luck_is_shared(tmp_path):
    requests = wanted("name three red fruits", 1000)
    good = {}
    for skill in (0.2, 0.5, 0.8):
        folder = tmp_path / str(skill)
        folder.mkdir()
        write_fake(folder, FakeModel(name="pupil", skill=skill, lineage=("finetune",)))
        answers = texts(sampled(requests, folder))
        assert all(answer.startswith("pupil answers: ") for answer in answers)
        good[skill] = [is_good("name three red fruits", answer) for answer in answers]
        assert abs(sum(good[skill]) / 1000 - skill) < 0.05
    assert all(better or not worse for worse, better in zip(good[0.2], good[0.8], strict=True))


def test_some_answers_hit_the_limit():
    found = sampled(wanted("name three red fruits", 300))
    cut = [generation for generation in found.values() if generation.finish == "length"]
    assert 1 <= len(cut) <= 30
    assert all(len(generation.token_ids) == 400 for generation in cut)
    ended = [generation for generation in found.values() if generation.finish == "stop"]
    assert all(generation.token_ids[-1] == SPECIAL["end"] for generation in ended)


TAGGED = "Use apple, moon, river. Answer as <question>your question</question> <solution>its solution</solution>"


def test_tags_of_the_prompt_come_back_with_content_and_a_few_are_broken():
    answers = texts(sampled(wanted(TAGGED, 200)))
    pattern = re.compile(r"<question>(.+)</question>\s*<solution>(.+)</solution>", re.DOTALL)
    parsed = [match[1] for answer in answers if (match := pattern.fullmatch(answer))]
    assert 180 <= len(parsed) < 200
    assert len(set(parsed)) > 150
    assert not any("<" in question for question in parsed)


def test_a_tag_that_the_prefix_opened_is_not_opened_again():
    answers = texts(sampled(wanted(TAGGED, 20, prefix="Design:\n<question>")))
    assert all(not answer.startswith("<question>") and "<solution>" in answer for answer in answers)


def test_logps_are_those_of_the_model_and_favour_what_it_favours(tmp_path):
    requests = wanted("name three red fruits", 50)
    strong, weak = FakeModel(name="strong", skill=0.9), read_fake("fake")
    for index, generation in sampled(requests).items():
        ids = generation.token_ids
        assert generation.logps == fake_logps(weak, requests[index].prompt_ids, ids)
        assert len(generation.logps) == len(ids)
        assert all(logp < 0 for logp in generation.logps)
        gain = sum(fake_logps(strong, requests[index].prompt_ids, ids)) - sum(generation.logps)
        assert (gain > 0) == is_good("asked", TOKENIZER.text(ids))


def test_prompts_that_do_not_fit_fail():
    found = sampled(wanted("x" * 100, 1), context_length=50)
    assert found[0].finish == "failed"
    assert "no room" in found[0].reason
    assert len(sampled(wanted("x" * 100, 1), context_length=110)[0].token_ids) == 110 - len(prompt("x" * 100))


def test_a_stop_text_ends_the_answer():
    found = sampled(wanted("name three red fruits", 30, stop=("answers",)))
    assert set(texts(found)) == {"initial answers"}
    assert {generation.finish for generation in found.values()} == {"stop"}


def test_checkpoints(tmp_path):
    engine = Fake()
    model = FakeModel(name="a", skill=0.25, lineage=("one", "two"))
    write_fake(tmp_path, model)
    assert read_fake(str(tmp_path)) == model
    assert engine.fingerprint(str(tmp_path)) == model.fingerprint != engine.fingerprint("fake")
    assert engine.tokenizer(INITIAL).notes == ()
    (tmp_path / "fake.json").write_text("{}")
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"is not a fake model: must be 'fake'"):
            engine.fingerprint(str(path))
    with pytest.raises(ValueError, match="role 'tool'"):
        TOKENIZER.prompt_ids([Message(role="tool", content="x")])


def test_is_good():
    assert is_good("q", "a answers: good x") is True
    assert is_good("q", "a answers: poor good") is False
    assert is_good("q", "goodness") is None
    assert is_good(" ", "good") is None
