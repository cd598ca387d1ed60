"""Rewards by a server that replies as vLLM's pooling does: ours, compared first, and a reason for each that is none."""

import json
import math
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from engine_models import save_words
from scored_answers import answer
from transformers import LlamaConfig, LlamaForSequenceClassification

from rewards_served import pooled, rewards_served, sum_of
from selfboost import recipe
from selfboost.endpoints.fake_server import HOSTILE, FakeError
from selfboost.endpoints.pooling import pooling_body
from selfboost.engines.kept_models import models_kept_open
from selfboost.records import Model
from selfboost.scorers import work_of
from selfboost.scorers.reward_model import RewardModel
from selfboost.scorers.reward_server import COMPARED, RewardServer
from selfboost.train import Sequenced
from selfboost.train.local import Local

ANSWERS = [answer(f"w{n} w{n + 1} w{2 * n}"[: 3 + n], f"w{n}", n) for n in range(1, 13)]
PROGRAM = [sys.executable, str(Path(__file__).parents[1] / "rewards_served.py")]
LAUNCH = f"{shlex.join(PROGRAM)} {{path}} {{port}}"


@pytest.fixture(scope="module")
def reward(tmp_path_factory):
    """A random reward model, and transformers' own forward of it on a row."""
    folder = tmp_path_factory.mktemp("reward")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = LlamaConfig(**sizes, vocab_size=64, num_labels=1, pad_token_id=0, max_position_embeddings=64)
    model = LlamaForSequenceClassification(config).eval()
    with torch.no_grad():
        model.score.weight.mul_(100)
    model.save_pretrained(folder)
    save_words(folder)

    @torch.no_grad()
    def forward(ids):
        return model(torch.tensor([ids])).logits[0, 0].item()

    return Model(name="reward", path=str(folder), fingerprint="r"), forward


def scored(scorer, model, answers=ANSWERS, trainer=None):
    return list(scorer.score(answers, {"reward": model}, trainer or Local(dtype="float32", device="cpu")))


def refused(scorer, model, **more):
    with pytest.raises(ValueError) as caught:
        scored(scorer, model, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@dataclass
class Sums:
    """A trainer whose rewards need no model."""

    times: int = 0

    def rewards(self, model, sequences):
        self.times += 1
        return iter([sum_of((*row.prompt_ids, *row.token_ids)) for row in sequences])


def test_rewards_are_those_of_our_own_computation_compared_once_in_a_stage(reward):
    model, forward = reward
    broken = replace(ANSWERS[0], token_ids=(), finish="failed", reason="no room")
    given = [*ANSWERS[:5], broken, *ANSWERS[5:]]
    expected = scored(RewardModel(path=model.path), model, given)
    assert max(abs(v.value) for v in expected if v.value is not None) > 1
    with rewards_served(model.path, forward) as server, models_kept_open():
        scorer = RewardServer(path=model.path, url=server.url)
        found = [scored(scorer, model, given) for _ in range(2)]
        assert len(server.requests) == COMPARED + 2 * len(ANSWERS)
        assert all(body["task"] == "classify" and body["use_activation"] is False for body in server.requests)
        assert {body["model"] for body in server.requests} == {"name"}
    for verdicts in found:
        assert [(v.answer, v.reason) for v in verdicts] == [(v.answer, v.reason) for v in expected]
        values = [(v.value, e.value) for v, e in zip(verdicts, expected, strict=True) if v.value is not None]
        assert [one for one, _ in values] == pytest.approx([other for _, other in values], abs=1e-4)
        assert {v.scorer for v in verdicts} == {f"reward_server({model.path})"}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda x: 1 / (1 + math.exp(-x)), "there and .* by our own computation, and scorer.bound = 0.05 allows"),
        (lambda x: 1.2 * x + 0.3, "start it for this model with pooling as its runner"),
        (lambda x: math.nan, "the reward nan there"),
    ],
    ids=["activation", "another model", "no number"],
)
def test_a_server_that_disagrees_is_refused(reward, wrong, says):
    model, forward = reward
    with rewards_served(model.path, lambda ids: wrong(forward(ids))) as server:
        with pytest.raises(ValueError, match=says):
            scored(RewardServer(path=model.path, url=server.url), model)
        assert len(server.requests) == COMPARED, "nothing else was asked"
    with rewards_served(model.path, lambda ids: forward(ids) + 0.01) as server:
        scored(RewardServer(path=model.path, url=server.url), model)


def test_of_several_servers_each_must_agree(reward):
    model, forward = reward
    with rewards_served(model.path, forward) as one, rewards_served(model.path, lambda ids: -forward(ids)) as other:
        said = refused(RewardServer(path=model.path, url=(one.url, other.url)), model)
        assert said.startswith(other.url)


def test_a_row_without_a_reward_is_a_verdict_with_a_reason(reward):
    model = reward[0]
    wrong = {ANSWERS[9].token_ids: pooled(1.0, 2.0), ANSWERS[10].token_ids: FakeError(status=400, message="too long")}
    wrong[ANSWERS[11].token_ids] = HOSTILE["not JSON"]

    def change(body, said):
        return next((reply for ids, reply in wrong.items() if tuple(body["input"][-len(ids) :]) == ids), said)

    with rewards_served(model.path, sum_of, change=change) as server:
        found = scored(RewardServer(url=server.url, retries=0), model, trainer=Sums())
    assert [v.value is None for v in found] == [False] * 9 + [True] * 3
    assert found[9].reason == "the reply has 2 numbers for a row, and a reward model gives one"
    assert "status 400: 'too long'" in found[10].reason
    assert found[11].reason


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_server_that_gives_no_rewards_is_refused_before_it_is_used(hostile, reward):
    model = reward[0]
    with rewards_served(model.path, sum_of, change=lambda body, said: hostile) as server:
        said = refused(RewardServer(url=server.url, retries=0), model, trainer=Sums())
    assert server.url in said


def test_a_server_is_started_and_ended_and_another_model_behind_a_url_is_refused(reward):
    model, trainer = reward[0], Sums()
    with models_kept_open():
        scorer = RewardServer(launch=LAUNCH, start_seconds=60)
        found = [scored(scorer, model, trainer=trainer) for _ in range(2)]
    assert trainer.times == 1
    expected = [sum_of((*a.prompt_ids, *a.token_ids)) for a in ANSWERS]
    for verdicts in found:
        assert [v.value for v in verdicts] == pytest.approx(expected)
    with rewards_served("/elsewhere", sum_of) as server:
        said = refused(RewardServer(url=server.url), model, trainer=trainer)
    assert f"serves '/elsewhere', not '{model.path}'; models that a run trains need launch" in said


def test_settings_that_cannot_be_are_refused():
    for settings in ({}, {"url": "http://127.0.0.1:9/v1", "launch": LAUNCH}, {"launch": "vllm serve"}):
        with pytest.raises(ValueError, match="launch"):
            RewardServer(**settings)
    asked = ["scorer.kind=reward_server", 'scorer.launch="vllm serve {path} --port {port} --runner pooling"']
    with pytest.raises(ValueError, match=r"scorer.launch.*--trust command:vllm"):
        recipe.read(recipe.find("synpo-llama3-8b"), asked)


def test_a_plan_prices_a_server_that_the_run_starts_on_its_gpus():
    there = work_of(RewardServer(url="http://127.0.0.1:9/v1"), 100, 50)
    here = work_of(RewardServer(launch=LAUNCH), 100, 50)
    assert (there.read, there.requests, here.read, here.requests) == (150, 1, 150, 0)


def test_a_row_is_sent_as_it_is():
    row = Sequenced(prompt_ids=(1, 2), token_ids=(3,))
    assert json.loads(json.dumps(pooling_body((*row.prompt_ids, *row.token_ids)))) == {
        "input": [1, 2, 3],
        "task": "classify",
        "use_activation": False,
        "add_special_tokens": False,
    }
