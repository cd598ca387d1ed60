"""Scorers: what each value is, that order is kept, and that a failure is a record with a reason."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine_models import TEMPLATE, save_words
from scored_answers import answer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from real_data import real
from selfboost.data.seeds import read_seeds
from selfboost.demo import EMBEDDED_FILES
from selfboost.engines.fake import INITIAL, FakeModel, fake_logps, write_fake
from selfboost.records import Answer, Message, Model, Origin, Prompt
from selfboost.scorers.checks import Checks
from selfboost.scorers.implicit import Implicit
from selfboost.scorers.reward_model import RewardModel
from selfboost.scorers.verdicts import reasoned_verdicts
from selfboost.train.fake import Fake
from selfboost.train.local import Local

CHECK = "selfboost.engines.fake:is_good"


def failed(reason: str = "no room") -> Answer:
    return replace(answer(""), token_ids=(), finish="failed", reason=reason)


def empty() -> Answer:
    return replace(answer(""), token_ids=())


ANSWERS = [answer("a good one"), failed(), answer("a poor one"), empty(), answer("a longer good one", "say more")]
JUDGEABLE = [a for a in ANSWERS if a.token_ids]
REASONS = ["", "the answer failed: no room", "", "the answer is empty", ""]


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Model]:
    """A skilled policy, the initial model, a reward model."""
    made = {
        "policy": FakeModel(name="better", skill=0.9),
        "reward": FakeModel(name="r", skill=0.8, lineage=("reward model",)),
    }
    found = {"reference": Model(name="initial", path="fake", fingerprint="i")}
    for name, fake in made.items():
        (tmp_path / name).mkdir()
        write_fake(tmp_path / name, fake)
        found[name] = Model(name=name, path=str(tmp_path / name), fingerprint=name)
    return found


def test_a_check_gives_one_zero_or_a_reason() -> None:
    given = [answer("good"), answer("poor"), answer("well"), failed("engine died"), answer("good", " "), empty()]
    found = list(Checks(function=CHECK).score(given, {}, Fake()))
    assert [v.answer for v in found] == [a.id for a in given]
    assert [v.value for v in found] == [1.0, 0.0, None, None, None, None]
    unknown = "not checkable"
    assert [v.reason for v in found] == ["", "", unknown, "the answer failed: engine died", unknown, unknown]
    assert {v.scorer for v in found} == {f"checks({CHECK})"}


def test_an_empty_answer_is_judged_by_the_check_and_not_excused() -> None:
    asked = "write a sentence about a yellow lemon ."
    (verdict,) = Checks(function="selfboost.demo.checks:check").score([answer("", asked)], {}, Fake())
    assert verdict.value == 0.0


def test_checks_of_the_demo_world_know_what_they_cannot_judge() -> None:
    seeds, _ = read_seeds(EMBEDDED_FILES / "seed.jsonl")
    asked = seeds[0].messages[0].content
    given = [answer(seeds[0].response, asked), answer("lemon lemon", asked), answer("x", "what ?")]
    found = Checks(function="selfboost.demo.checks:check").score(given, {}, Fake())
    assert [v.value for v in found] == [1.0, 0.0, None]


def test_a_check_that_fails_is_a_reason_and_one_that_returns_a_number_is_an_error(tmp_path: Path, monkeypatch) -> None:
    mark = "@check_function\n"
    text = f"from selfboost import check_function\n{mark}def breaks(p, a): return 1 / 0\n"
    text += f"{mark}def scores(p, a): return 0.7\n"
    (tmp_path / "someones_checks.py").write_text(text + "def unmarked(prompt, answer): return True\nnumber = 3\n")
    (tmp_path / "someones_broken_checks.py").write_text("def check(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (verdict,) = Checks(function="someones_checks:breaks").score([answer("x")], {}, Fake())
    assert (verdict.value, verdict.reason) == (None, "the check failed: ZeroDivisionError: division by zero")
    with pytest.raises(ValueError, match=r"returned 0\.7; allowed: True, False, None"):
        list(Checks(function="someones_checks:scores").score([answer("x")], {}, Fake()))
    for name in ("number", "unmarked", "check_function"):
        with pytest.raises(
            ValueError, match=f"'someones_checks:{name}': is not a check function; only a Python function"
        ):
            Checks(function=f"someones_checks:{name}")
    with pytest.raises(ValueError, match="'someones_broken_checks:check': cannot be loaded"):
        Checks(function="someones_broken_checks:check")


@pytest.mark.parametrize("function", ["check", "selfboost.demo.checks", ":check", "selfboost.demo.checks:"])
def test_a_check_is_named_by_module_and_function(function: str) -> None:
    with pytest.raises(ValueError, match=r"must be 'package\.module:name' of a function"):
        Checks(function=function)


@pytest.mark.parametrize("function", ["selfboost.nothing:check", "selfboost.demo.checks:chek"])
def test_a_check_that_is_not_there_is_named(function: str) -> None:
    with pytest.raises(ValueError, match=f"function = '{function}': cannot be loaded"):
        Checks(function=function)


def test_the_implicit_reward_is_the_log_ratio(models: dict[str, Model]) -> None:
    found = list(Implicit().score(ANSWERS, models, Fake()))
    assert [v.answer for v in found] == [a.id for a in ANSWERS]
    assert [v.reason for v in found] == REASONS
    assert {v.scorer for v in found} == {"implicit(seed_sft/initial)"}
    policy = FakeModel(name="better", skill=0.9)
    expected = [
        sum(fake_logps(policy, a.prompt_ids, a.token_ids)) - sum(fake_logps(INITIAL, a.prompt_ids, a.token_ids))
        for a in JUDGEABLE
    ]
    assert [v.value for v in found if v.value is not None] == pytest.approx(expected)
    assert found[0].value > 0 > found[2].value
    mean = [v.value for v in Implicit(over="mean").score(JUDGEABLE, models, Fake())]
    assert mean == pytest.approx([value / len(a.token_ids) for value, a in zip(expected, JUDGEABLE, strict=True)])


def test_a_model_is_no_likelier_than_itself_and_a_swap_turns_the_sign(models: dict[str, Model]) -> None:
    same = {"policy": models["reference"], "reference": models["reference"]}
    assert [v.value for v in Implicit().score(JUDGEABLE, same, Fake())] == [0.0] * len(JUDGEABLE)
    swapped = {"policy": models["reference"], "reference": models["policy"]}
    values = [v.value for v in Implicit().score(JUDGEABLE, models, Fake())]
    assert [v.value for v in Implicit().score(JUDGEABLE, swapped, Fake())] == pytest.approx([-v for v in values])


def test_scorers_name_the_models_they_need() -> None:
    assert Checks(function=CHECK).needs() == {}
    assert Implicit(policy="previous").needs() == {"policy": "previous", "reference": "initial"}
    assert RewardModel().needs() == {"reward": "seed_reward"}


def test_a_reward_is_the_trainers_scalar(models: dict[str, Model]) -> None:
    found = list(RewardModel().score(ANSWERS, models, Fake()))
    assert [v.reason for v in found] == REASONS
    assert {v.scorer for v in found} == {"reward_model(seed_reward)"}
    assert found[0].value > found[2].value
    alone = [next(iter(RewardModel().score([a], models, Fake()))).value for a in JUDGEABLE]
    assert [v.value for v in found if v.answer in {a.id for a in JUDGEABLE}] == alone


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_no_score(value: float) -> None:
    found = list(reasoned_verdicts([answer("a"), answer("b")], "x", ["", ""], [1.0, value]))
    assert [v.value for v in found] == [1.0, None]
    assert "not finite" in found[1].reason


def test_values_and_answers_must_match() -> None:
    with pytest.raises(AssertionError):
        list(reasoned_verdicts([answer("a")], "x", [""], [1.0, 2.0]))


def test_a_reward_model_of_its_own_sees_its_own_template_to_the_last_token(tmp_path: Path) -> None:
    """Some templates write more behind an answer than its end of turn: the scalar stands after all of it."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = LlamaConfig(**sizes, vocab_size=64, num_labels=1, pad_token_id=0, max_position_embeddings=64)
    model = LlamaForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    save_words(tmp_path, TEMPLATE.replace(" <end> ", " <end> w9 "))
    messages = (
        Message(role="user", content="w1 w2"),
        Message(role="assistant", content="w3"),
        Message(role="user", content="w4"),
    )
    asked = Prompt(messages=messages, origin=Origin(source="seed"), prefix="w5 ")
    given = [
        Answer(prompt=asked, text=text, prompt_ids=(1,), token_ids=(2,), finish="stop")
        for text in ("w6", "w7 w8 w9 w6")
    ]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    expected = []
    for each in given:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        turns.append({"role": "assistant", "content": "w5 " + each.text})
        inputs = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)
        assert tokenizer.decode(inputs["input_ids"][0, -1]) == "w9"
        expected.append(model(**inputs).logits[0, 0].item())
    reward = Model(name="reward", path=str(tmp_path), fingerprint="r")
    found = RewardModel(path=str(tmp_path)).score(given, {"reward": reward}, Local(dtype="float32", device="cpu"))
    assert [v.value for v in found] == pytest.approx(expected, abs=1e-5)


def test_the_implicit_reward_of_real_models_is_transformers_own_log_ratio() -> None:
    paths = [str(real(f"model/{name}")) for name in ("stories260K-hf", "tinystories-bit1M-hf")]
    prompt_ids, token_ids = (1, 403, 407), (261, 400, 391, 264)
    ids = torch.tensor([[*prompt_ids, *token_ids]])
    sums = []
    for path in paths:
        logits = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)(ids).logits
        logps = logits[0, len(prompt_ids) - 1 : -1].log_softmax(-1)
        sums.append(logps[torch.arange(len(token_ids)), torch.tensor(token_ids)].sum().item())
    models = {
        role: Model(name=role, path=path, fingerprint=role)
        for role, path in zip(("policy", "reference"), paths, strict=True)
    }
    given = replace(answer("x"), prompt_ids=prompt_ids, token_ids=token_ids)
    (verdict,) = Implicit().score([given], models, Local(dtype="float32", device="cpu"))
    assert verdict.value == pytest.approx(sums[0] - sums[1], abs=1e-3)
