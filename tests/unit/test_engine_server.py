"""The engine behind servers: the engine's contract over HTTP, and every server that cannot keep it refused at once."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from engine_models import save_llama

from fake_recipes import Heard, write_recipe
from selfboost import recipe
from selfboost.endpoints.fake_server import FakeError, Faults
from selfboost.engines import Request
from selfboost.engines.fake import Fake, FakeModel, write_fake
from selfboost.engines.local import Local
from selfboost.engines.server import Server
from selfboost.loop import boost
from selfboost.records import Message, Model, Sampling
from selfboost.scorers.judge import Judge
from served import EndingFakeTokenizer, FakeServed, llama_cpp_reply, served

SCRIPT = Path(__file__).parents[1] / "served.py"
LAUNCH = f"{shlex.quote(sys.executable)} {shlex.quote(str(SCRIPT))} {{path}} {{port}}"
FAKE = Model(name="initial", path="fake", fingerprint="")


def wanted(count, **settings):
    prompts = [f"name {n} red fruits, however long" * (1 + n % 3) for n in range(count)]
    ids = [EndingFakeTokenizer().prompt_ids([Message(role="user", content=prompt)]) for prompt in prompts]
    sampling = Sampling(**{"max_tokens": 90, **settings})
    return [Request(prompt_ids=each, sampling=sampling, seed=2**59 + n) for n, each in enumerate(ids)]


def sampled(engine, requests, model=FAKE):
    with engine.open(model) as sampler:
        return dict(sampler.sample(requests))


def refused(engine, model=FAKE, requests=()):
    with pytest.raises(ValueError) as raised:
        sampled(engine, requests, model)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture(scope="module")
def fake_url():
    with served(Fake(), "fake") as server:
        yield server.url


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.0}, {"max_tokens": 12}, {"stop": ("red", "good")}])
def test_samples_are_those_of_the_engine_behind_the_server(fake_url, settings):
    requests = wanted(40, **settings)
    assert sampled(FakeServed(url=fake_url), requests) == sampled(Fake(), requests)
    assert sampled(FakeServed(url=fake_url), requests[7:8])[0] == sampled(Fake(), requests)[7]


def test_a_real_models_samples_are_those_of_the_engine_behind_the_server(tmp_path):
    save_llama(tmp_path)
    model = Model(name="tiny", path=str(tmp_path), fingerprint="")
    kinds = [{"temperature": 0.0}, {"temperature": 0.7, "top_p": 0.9}, {"top_k": 8}, {"stop": ("w3",)}]
    requests = [
        Request(prompt_ids=(5 + n, 6, 7), sampling=Sampling(max_tokens=20, **kinds[n % 4]), seed=n) for n in range(12)
    ]
    with served(Local(batch_size=1), str(tmp_path)) as server:
        engine = Server(url=server.url)
        assert engine.fingerprint(model.path) == Local().fingerprint(model.path)
        found = sampled(engine, requests, model)
    mine = sampled(Local(batch_size=1), requests, model)
    assert [found[n] for n in range(12)] == [mine[n] for n in range(12)]
    assert {each.finish for each in found.values()} == {"stop", "length"}


@pytest.mark.parametrize("settings", [{}, {"stop": ("red", "good")}])
def test_ids_beside_log_probabilities_are_read_as_llama_cpp_writes_them(settings):
    requests = [replace(request, seed=request.seed % 1000) for request in wanted(12, **settings)]
    with served(Fake(), "fake", reply=llama_cpp_reply, listed={"owned_by": "llamacpp"}) as server:
        found, mine = sampled(FakeServed(url=server.url), requests), sampled(Fake(), requests)
    for n in range(12):  # the stand-in's log-probabilities are of whole answers: a cut one has others
        assert (found[n].token_ids, found[n].finish) == (mine[n].token_ids, mine[n].finish)
        assert settings or found[n].logps == mine[n].logps
    assert not {"ignore_eos", "stop", "stop_token_ids"} & {name for body in server.requests for name in body}


def test_an_answer_of_which_llama_cpp_lists_not_every_token_is_a_failed_sample():
    def change(body, said):
        data = json.loads(said)
        if body["seed"] == 1:
            del data["choices"][0]["logprobs"]["content"][0]
        return json.dumps(data).encode()

    requests = [replace(request, seed=n) for n, request in enumerate(wanted(3))]
    with served(Fake(), "fake", reply=llama_cpp_reply, listed={"owned_by": "llamacpp"}, change=change) as server:
        found = sampled(FakeServed(url=server.url, retries=0), requests)
    assert [found[n].finish == "failed" for n in range(3)] == [False, True, False]
    assert "tokens; llama.cpp leaves out those that end within a character" in found[1].reason


def test_several_servers_share_the_work_and_blocks_may_be_asked_from_several_threads():
    from concurrent.futures import ThreadPoolExecutor

    with served(Fake(), "fake") as one, served(Fake(), "fake") as other:
        engine = FakeServed(url=(one.url, other.url), concurrent=2)
        with engine.open(FAKE) as sampler, ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda requests: dict(sampler.sample(requests)), [wanted(30), wanted(30)]))
        assert found == [sampled(Fake(), wanted(30))] * 2
        assert min(one.answered, other.answered) > 5


def test_prompts_without_room_fail_without_being_sent(fake_url):
    requests = [Request(prompt_ids=(), sampling=Sampling(), seed=0), *wanted(3)]
    found = sampled(FakeServed(url=fake_url, tokens=50), requests)
    assert [found[n].finish for n in range(4)] == ["failed", "length", "failed", "failed"]
    assert found[0].reason == "the prompt is empty"
    assert "no room in the context of 50 tokens" in found[3].reason


def test_what_fails_for_a_moment_is_sent_again_and_what_fails_alone_is_a_sample_with_a_reason():
    def change(body, said):
        return FakeError(status=400, message="too red") if body["seed"] == 2**59 + 3 else said

    with served(Fake(), "fake", change=change, faults=Faults(too_many=0.1, broken=0.1)) as server:
        found = sampled(FakeServed(url=server.url, retries=9), wanted(20))
    good = sampled(Fake(), wanted(20))
    assert found.pop(3).reason == "status 400: 'too red'"
    assert good.pop(3)
    assert found == good


def test_a_server_that_is_down_stops_everything_with_one_sentence():
    assert "cannot be reached" in refused(FakeServed(url="http://127.0.0.1:9/v1", retries=0))
    with served(Fake(), "fake", change=lambda body, said: FakeError(status=500)) as server:
        assert "a first request of token ids failed (status 500: 'no')" in refused(
            FakeServed(url=server.url, retries=0)
        )

    def broken(body, said):
        return said if body["max_tokens"] == 2 else FakeError(status=400)

    with served(Fake(), "fake", change=broken) as server:
        said = refused(FakeServed(url=server.url, retries=0), requests=wanted(30))
    assert "8 requests in a row failed, the last one: status 400: 'no'" in said


def without(*names):
    def change(body, said):
        data = json.loads(said)
        for name in names:
            data["choices"][0].pop(name)
        return json.dumps(data).encode()

    return change


@pytest.mark.parametrize("names", [("token_ids",), ("logprobs",), ("token_ids", "logprobs")])
def test_a_server_without_token_ids_or_log_probabilities_is_refused_before_any_work(names):
    with served(Fake(), "fake", change=without(*names)) as server:
        assert "returns no token ids with log-probabilities" in refused(FakeServed(url=server.url), requests=wanted(9))
    assert server.answered == 2  # its list of models and the first request


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"token_ids": [3, -1]}, "no list of whole numbers"),
        ({"token_ids": [65, 66]}, "with 1 log-probabilities"),
        ({"token_ids": [300], "finish_reason": "stop"}, "token 300 was drawn, which stands for no text"),
        ({"token_ids": [65]}, "ended after 1 tokens, with token 65, which ends no answer"),
        ({"token_ids": [], "logprobs": {"token_logprobs": []}}, "ended after 0 tokens, without a token"),
        ({"logprobs": {"token_logprobs": [0.5]}}, "no list of numbers up to 0"),
    ],
)
def test_odd_replies_are_failed_samples(wrong, sentence):
    def change(body, said):
        if body["seed"] != 2**59 + 1:
            return said
        data = json.loads(said)
        data["choices"][0].update({"logprobs": {"token_logprobs": [-1.0]}, **wrong})
        return json.dumps(data).encode()

    with served(Fake(), "fake", change=change) as server:
        found = sampled(FakeServed(url=server.url, retries=0), wanted(3))
    assert found[1].finish == "failed"
    assert sentence in found[1].reason
    assert (found[0], found[2]) == tuple(sampled(Fake(), wanted(3))[n] for n in (0, 2))


def test_temperatures_that_vllm_changes_or_refuses_are_refused_where_the_recipe_is_read(tmp_path, fake_url):
    for temperature in (2.5, 0.005):
        assert "vLLM draws with 0 or 0.01 to 2.0" in refused(
            FakeServed(url=fake_url), requests=wanted(1, temperature=temperature)
        )
    path = write_recipe(tmp_path, "sampling_ranking", engine={"kind": "server", "url": fake_url})
    assert recipe.read(path).engine == Server(url=fake_url)
    with pytest.raises(ValueError, match=r"^method.sampling: temperature = 2.5: vLLM draws"):
        recipe.read(path, ["method.sampling.temperature=2.5"])


def test_another_model_behind_a_url_is_refused_with_a_hint(tmp_path):
    write_fake(tmp_path, FakeModel(name="trained", skill=0.9))
    trained = replace(FAKE, path=str(tmp_path))
    with served(Fake(), "fake") as server:
        said = refused(FakeServed(url=server.url), trained)
    assert f"serves 'fake', not {str(tmp_path)!r}" in said
    assert "launch" in said
    with served(Fake(), str(tmp_path), listed={"id": "alias"}) as server:  # by its root
        assert sampled(FakeServed(url=server.url), wanted(5), trained) == sampled(Fake(), wanted(5), trained)


def test_weights_are_reloaded_in_place_where_the_server_can(tmp_path):
    write_fake(tmp_path, FakeModel(name="trained", skill=0.9))
    trained = replace(FAKE, path=str(tmp_path))
    with served(Fake(), "fake", development=True) as server:
        engine = FakeServed(url=server.url, reload=True)
        for model in (FAKE, trained, FAKE):
            assert sampled(engine, wanted(5), model) == sampled(Fake(), wanted(5), model)
    with served(Fake(), "fake") as server:
        assert "has no model 'any', or no /collective_rpc" in refused(FakeServed(url=server.url, reload=True), trained)


def test_a_command_starts_a_server_for_each_model_and_ends_it(tmp_path):
    write_fake(tmp_path, FakeModel(name="trained", skill=0.9))
    trained = replace(FAKE, path=str(tmp_path))
    engine = FakeServed(launch=LAUNCH, start_seconds=60)
    for model in (FAKE, trained):
        with engine.open(model) as sampler:
            assert dict(sampler.sample(wanted(5))) == sampled(Fake(), wanted(5), model)
            assert len(children()) == 1
            ((group, _),) = children().items()
        assert not alive(group)


def children():
    """Process id → command of this process's children that are servers."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True
    )
    rows = (line.split(None, 1) for line in listed.stdout.splitlines())
    return {int(pid): words for pid, words in rows if "watcher.py" in words}


def alive(group):
    listed = subprocess.run(["ps", "-o", "pid=,stat=", "-g", str(group)], capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if "Z" not in line]


def test_a_server_that_does_not_come_up_or_dies_is_named_with_the_end_of_its_log():
    python = shlex.quote(sys.executable)
    code = "import sys; print('loading'); sys.exit('CUDA out of memory')"
    said = refused(FakeServed(launch=f"{python} -c {shlex.quote(code)} {{path}} {{port}}"))
    assert "ended with code 1; its log: loading | CUDA out of memory" in said
    sleeping = f"{python} -c 'import time; time.sleep(60)' {{path}} {{port}}"
    assert "was not up after 1 s" in refused(FakeServed(launch=sleeping, start_seconds=1))
    assert "there is no program 'vlmm'" in refused(FakeServed(launch="vlmm serve {path} --port {port}"))
    engine = FakeServed(launch=LAUNCH, start_seconds=60, retries=0)
    with engine.open(FAKE) as sampler:
        (group,) = children()
        os.killpg(group, signal.SIGKILL)
        with pytest.raises(ValueError, match=r"launch started ended with code -9; its log: load"):
            dict(sampler.sample(wanted(5)))


def test_a_server_ends_when_the_run_is_killed(tmp_path):
    code = f"""
import sys, time
sys.path.insert(0, {str(SCRIPT.parent)!r})
from served import FakeServed
from selfboost.records import Model
with FakeServed(launch={LAUNCH!r}).open(Model(name="m", path="fake", fingerprint="")):
    print("up", flush=True)
    time.sleep(60)
"""
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "up\n"
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(run.pid)], capture_output=True, text=True).stdout
    (group,) = map(int, listed.split())
    run.kill()
    run.wait()
    deadline = time.monotonic() + 20
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(group)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["synpo", "spin"])
def test_a_run_with_a_server_stores_what_a_run_with_its_engine_stores(tmp_path, method):
    stored = {}
    for name, engine in {"fake": {"kind": "fake"}, "server": {"kind": "served:FakeServed", "launch": LAUNCH}}.items():
        path = write_recipe(tmp_path / name, method, engine=engine, run={"iterations": 1})
        trusted = ["served", f"command:{sys.executable}"]
        boost(recipe.read(path, trust=trusted), tmp_path / name / "run", Heard())
        stages = sorted((tmp_path / name / "run" / "stages").rglob("records.jsonl"))
        stored[name] = {str(file.relative_to(tmp_path / name)): file.read_bytes() for file in stages}
    assert len(stored["fake"]) > 5
    assert stored["server"] == stored["fake"]


@pytest.mark.slow
def test_stale_weights_are_caught_by_the_log_probabilities_of_the_iteration(tmp_path):
    """A server that says it serves the trained model and answers with the initial one."""
    script = tmp_path / "stale.py"
    script.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        "from served import served\nfrom selfboost.engines.fake import Fake\n"
        "with served(Fake(), 'fake', listed={'id': sys.argv[1], 'root': sys.argv[1]}, port=int(sys.argv[2])):\n"
        "    time.sleep(600)\n"
    )
    launch = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} {{path}} {{port}}"
    path = write_recipe(
        tmp_path,
        "spin",
        engine={"kind": "served:FakeServed", "launch": launch},
        run={"iterations": 1, "agreement": 0.001},
    )
    chosen = recipe.read(path, trust=["served", f"command:{sys.executable}"])
    with pytest.raises(ValueError, match="log-probabilities of sampler and trainer differ by"):
        boost(chosen, tmp_path / "run", Heard())


def test_the_judge_asks_the_same_servers(fake_url):
    from selfboost.records import Answer, Origin, user_prompt
    from selfboost.train.fake import Fake as Trainer

    prompts = [user_prompt(f"question {n}?", Origin(source="seed")) for n in range(9)]
    answers = [
        Answer(prompt=each, text=f"a good {n}", prompt_ids=(1,), token_ids=(n,)) for n, each in enumerate(prompts)
    ]
    models = {"judge": FAKE}
    behind, here = (
        list(Judge(path="fake", engine=engine).score(answers, models, Trainer()))
        for engine in (FakeServed(url=fake_url), Fake())
    )
    assert [each.value for each in behind] == [each.value for each in here]
    assert None not in [each.value for each in here]
