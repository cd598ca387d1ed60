"""The fake trainer: deterministic, bounded, moved by the quality of its data in the right direction."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from train_records import silent

from selfboost.engines.fake import FakeTokenizer, read_fake
from selfboost.losses.bradley_terry import BradleyTerry
from selfboost.losses.dpo import DPO
from selfboost.losses.simpo import SimPO
from selfboost.records import Answer, Example, Model, Origin, Pair, user_prompt
from selfboost.train import Sequenced, Training
from selfboost.train.fake import Fake

INITIAL = Model(name="initial", path="fake", fingerprint="initial")
TRAINING = Training(batch_size=4)
GOOD, POOR, GOLD = "a good answer", "a poor answer", "forty-two"


def pair(number, chosen, rejected):
    prompt = user_prompt(f"question {number}", Origin(source="seed"))
    tokenizer = FakeTokenizer()
    ids = tokenizer.prompt_ids(prompt.messages)
    sides = [
        Answer(prompt=prompt, text=text, prompt_ids=ids, token_ids=tokenizer.answer_ids(text), index=index)
        for index, text in enumerate((chosen, rejected))
    ]
    return Pair(iteration=1, prompt=prompt, prompt_ids=ids, chosen=sides[0], rejected=sides[1])


def pairs(*texts, count=10):
    return [pair(number, *texts) for number in range(count)]


def prefer(data, into, start=INITIAL, loss=None, training=TRAINING, seed=0):
    into.mkdir(exist_ok=True)
    loss = loss or SimPO()
    result = Fake().prefer(start, INITIAL, data, loss, training, into=into, seed=seed, progress=silent)
    return read_fake(str(into)), result


def finetune(text, into, start=INITIAL, progress=silent):
    into.mkdir(exist_ok=True)
    data = [Example(prompt=p.prompt, prompt_ids=p.prompt_ids, answer=p.chosen) for p in pairs(text, text)]
    result = Fake().finetune(start, data, TRAINING, into=into, seed=0, progress=progress)
    return read_fake(str(into)), result


def test_good_data_raise_the_skill_and_bad_data_lower_it(tmp_path):
    skill = read_fake("fake").skill
    better, _ = prefer(pairs(GOOD, POOR), tmp_path / "better")
    worse, _ = prefer(pairs(POOR, GOOD), tmp_path / "worse")
    same, _ = prefer(pairs(GOOD, GOOD), tmp_path / "same")
    assert worse.skill < skill == same.skill < better.skill
    taught, _ = finetune(GOLD, tmp_path / "gold")
    spoilt, _ = finetune(POOR, tmp_path / "poor")
    assert spoilt.skill < skill < taught.skill


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([GOOD, POOR, GOLD]), min_size=2, max_size=12))
def test_skill_stays_within_bounds(tmp_path_factory, texts):
    start = INITIAL
    for chosen, rejected in pairwise(texts):
        into = tmp_path_factory.mktemp("fake")
        after, _ = prefer(pairs(chosen, rejected), into, start)
        assert 0 < after.skill < 1
        start = Model(name="next", path=str(into), fingerprint=after.fingerprint)
    assert len(read_fake(start.path).lineage) == len(texts) - 1


def test_what_determines_a_training_determines_the_model(tmp_path):
    first, result = prefer(pairs(GOOD, POOR), tmp_path / "a")
    again, repeated = prefer(pairs(GOOD, POOR), tmp_path / "b")
    assert (first, result) == (again, repeated)
    for number, change in enumerate(({"seed": 1}, {"loss": DPO()}, {"training": Training(batch_size=4, epochs=2)})):
        changed, _ = prefer(pairs(GOOD, POOR), tmp_path / f"changed {number}", **change)
        assert changed.fingerprint != first.fingerprint
    assert prefer(pairs(GOOD, POOR, count=9), tmp_path / "fewer")[0].fingerprint != first.fingerprint


def test_it_reports_as_a_real_training_does(tmp_path):
    calls = []
    _, result = finetune(GOOD, tmp_path / "a", progress=lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(1, 3), (2, 3), (3, 3)]
    assert result.steps == 3 == len(result.history)
    assert calls[-1][2] == result.tokens
    _, result = prefer(pairs(GOOD, POOR), tmp_path / "b")
    assert {"loss", "margin", "accuracy", "chosen_logp", "rejected_logp"} <= set(result.history[0])


def test_likelihood_ratios_and_rewards_know_good_from_poor(tmp_path):
    taught, _ = finetune(GOLD, tmp_path / "sft")
    judge, _ = prefer(pairs(GOOD, POOR), tmp_path / "reward", loss=BradleyTerry())
    data = pairs(GOOD, POOR)

    def sequences(side):
        return [Sequenced(prompt_ids=p.prompt_ids, token_ids=getattr(p, side).token_ids) for p in data]

    def log_ratios(side):
        models = (Model(name="x", path=str(tmp_path / "sft"), fingerprint=taught.fingerprint), INITIAL)
        policy, reference = (Fake().logps(m, sequences(side)) for m in models)
        return [sum(a) - sum(b) for a, b in zip(policy, reference, strict=True)]

    def rewards(side):
        judging = Model(name="r", path=str(tmp_path / "reward"), fingerprint=judge.fingerprint)
        return list(Fake().rewards(judging, sequences(side)))

    assert min(log_ratios("chosen")) > 0 > max(log_ratios("rejected"))
    assert min(rewards("chosen")) > max(rewards("rejected"))
    assert rewards("chosen") == rewards("chosen")


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="'fake' is not a reward model"):
        Fake().rewards(INITIAL, [])
    with pytest.raises(ValueError, match="DPO needs a reference model"):
        Fake().prefer(INITIAL, None, pairs(GOOD, POOR), DPO(), TRAINING, into=tmp_path, seed=0, progress=silent)
    with pytest.raises(ValueError, match="no pair to train on"):
        prefer([], tmp_path)
    assert list(tmp_path.iterdir()) == []
