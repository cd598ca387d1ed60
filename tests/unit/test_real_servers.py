"""Real servers on this CPU behind the engine `server`: llama.cpp's draws as our engine does, transformers' is refused.

Slow: pip makes an environment of its own under SELFBOOST_TOOLS (else the temporary folder) with llama.cpp's server,
built, and its file format (120 MB), and a folder of what transformers' server needs beside our own libraries (3 MB).
The model is a real Llama of 260,032 weights.
"""

import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from llama_cpp_tools import SERVER_SCRIPT, TOOLS, server_python
from real_data import real
from selfboost.engines import Engine, Generation, Request
from selfboost.engines.local import Local
from selfboost.engines.server import Server
from selfboost.records import Model, Sampling
from selfboost.train import Sequenced
from selfboost.train.local import Local as Trainer

SERVING = ("fastapi", "annotated-doc", "opentelemetry-api", "importlib_metadata", "zipp")
"""What transformers' own server imports beside what our tests have."""
TEXTS = ("Once upon a time", "Lily saw a big red dog and", "The", "Tom and his mom went to the park. They")
SETTINGS: tuple[dict[str, Any], ...] = (
    {"temperature": 1.0},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.3, "top_k": 5},
    {"temperature": 2.0, "min_p": 0.01},
)
SAMPLES, RARE, CHANCE = 1000, 10, 0.001
"""Samples of a distribution; values seen less often in both together are one value; the tests' level."""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of an environment with llama.cpp's server."""
    return server_python()


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(name="stories", path=str(real("model/stories260K-hf")), fingerprint="")


def llama_cpp(python: Path, attention: str = "exact") -> Server:
    """The engine that starts llama.cpp's server."""
    words = shlex.join([str(python), str(SERVER_SCRIPT)])
    return Server(launch=f"{words} {{path}} {{port}} {attention}", start_seconds=120)


def requests(model: Model, count: int, texts: Sequence[str] = TEXTS, **settings: Any) -> list[Request]:
    raw = Local().tokenizer(model).raw
    ids = [tuple(raw(text)["input_ids"]) for text in texts]
    sampling = Sampling(**settings)
    return [Request(prompt_ids=ids[n % len(ids)], sampling=sampling, seed=2**40 + n) for n in range(count)]


def sampled(engine: Engine, model: Model, wanted: Sequence[Request]) -> list[Generation]:
    """Samples in the order of the requests; prints how fast they came."""
    with engine.open(model) as sampler:
        start = time.perf_counter()
        found = dict(sampler.sample(wanted))
        seconds = time.perf_counter() - start
    tokens = sum(len(each.token_ids) for each in found.values())
    print(f"{type(engine).__name__}: {tokens} tokens, {tokens / seconds:.0f} a second")
    return [found[n] for n in range(len(wanted))]


def differences(model: Model, wanted: Sequence[Request], found: Sequence[Generation]) -> np.ndarray:
    """|log-probability of the sampler − the trainer's| of each token, in nats."""
    pairs = zip(wanted, found, strict=True)
    rows = [Sequenced(prompt_ids=request.prompt_ids, token_ids=each.token_ids) for request, each in pairs]
    trainers = np.concatenate(list(Trainer().logps(model, rows)))
    return np.abs(trainers - np.concatenate([each.logps for each in found]))


@pytest.mark.parametrize(("attention", "most", "mean"), [("exact", 1e-4, 1e-5), ("default", 0.2, 0.005)])
def test_log_probabilities_are_the_trainers(
    python: Path, model: Model, attention: str, most: float, mean: float
) -> None:
    wanted = [each for settings in SETTINGS for each in requests(model, 16, max_tokens=200, **settings)]
    found = sampled(llama_cpp(python, attention), model, wanted)
    assert not [each.reason for each in found if each.finish == "failed"]
    apart = differences(model, wanted, found)
    print(f"{attention}: {apart.size} tokens differ by {apart.max():.1e} nats at most, {apart.mean():.1e} on average")
    assert apart.max() < most
    assert apart.mean() < mean


def test_greedy_tokens_are_those_of_the_engine_in_this_process(python: Path, model: Model) -> None:
    wanted = requests(model, 4, temperature=0.0, max_tokens=400)
    found, mine = sampled(llama_cpp(python), model, wanted), sampled(Local(), model, wanted)
    for theirs, ours in zip(found, mine, strict=True):
        assert (theirs.token_ids, theirs.finish) == (ours.token_ids, ours.finish)
        assert theirs.logps == pytest.approx(ours.logps, abs=1e-4)


def test_answers_of_which_llama_cpp_lists_not_every_token_fail(python: Path, model: Model) -> None:
    """At temperature 2 this model draws single bytes that are no character."""
    wanted = requests(model, 200, temperature=2.0, max_tokens=200)
    found = sampled(llama_cpp(python), model, wanted)
    reasons = [each.reason for each in found if each.finish == "failed"]
    print(f"{len(reasons)} of {len(found)} answers failed")
    assert 0 < len(reasons) < 20
    assert all("of 200 tokens; llama.cpp leaves out those that end within a character" in each for each in reasons)


def same_chance(one: Sequence[Any], other: Sequence[Any]) -> float:
    """p of the chi-square test that both are drawn from one distribution."""
    counts, others = Counter(one), Counter(other)
    values = [value for value in counts | others if counts[value] + others[value] >= RARE]
    table = [[each[value] for value in values] for each in (counts, others)]
    for row, drawn in zip(table, (one, other), strict=True):
        row.append(len(drawn) - sum(row))
    kept = np.array(table)
    return float(stats.chi2_contingency(kept[:, kept.sum(axis=0) > 0]).pvalue)


def test_samples_are_distributed_as_those_of_the_engine_in_this_process(python: Path, model: Model) -> None:
    """First tokens and lengths of short answers to one prompt; the same test tells a temperature of 0.7 apart."""
    short: dict[str, Any] = {"max_tokens": 24, "stop": (".",)}
    wanted = requests(model, SAMPLES, TEXTS[2:3], temperature=1.0, **short)
    cold = requests(model, SAMPLES, TEXTS[2:3], temperature=0.7, **short)
    mine = sampled(Local(), model, wanted)
    with llama_cpp(python).open(model) as sampler:
        drawn = [list(dict(sampler.sample(each)).values()) for each in (wanted, cold)]
    firsts, lengths = ([each.token_ids[0] for each in mine], [len(each.token_ids) for each in mine])
    same, colder = (
        (
            same_chance(firsts, [each.token_ids[0] for each in found]),
            same_chance(lengths, [len(each.token_ids) for each in found]),
        )
        for found in drawn
    )
    print(f"p of first tokens and lengths: {same}; against temperature 0.7: {colder}")
    assert min(same) > CHANCE
    assert max(colder) < CHANCE


def test_transformers_own_server_is_refused_since_it_takes_and_gives_no_token_ids(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = TOOLS / "transformers-serve"
    if not (folder / "done").exists():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *SERVING]
        made = subprocess.run(install, capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"transformers' server cannot be installed here: {made.stderr.strip()[-200:]}")
        (folder / "done").touch()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    program = shlex.quote(str(Path(sys.executable).with_name("transformers")))
    engine = Server(launch=f"{program} serve {{path}} --port {{port}} --host 127.0.0.1 --device cpu", start_seconds=300)
    with pytest.raises(ValueError, match=r"a first request of token ids failed \(status 422: .*return_token_ids"):
        engine.open(model).__enter__()
