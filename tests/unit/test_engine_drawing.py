"""Draws against an independent float64 reference of the allowed tokens."""

import engine_models  # noqa: F401  (one thread)
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from selfboost.engines import Request
from selfboost.engines.drawing import Draws, draw, splitmix64, uniform
from selfboost.records import Sampling

CPU = torch.device("cpu")


def reference(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Probabilities by sorting, in float64: temperature, top-k, top-p within top-k, min-p."""
    p = np.exp((logits - logits.max()) / sampling.temperature)
    if sampling.top_k:
        p[p < np.sort(p)[::-1][min(sampling.top_k, len(p)) - 1]] = 0
    p /= p.sum()
    likelier = np.array([p[p > q].sum() for q in p])
    keep = (p > 0) & (p >= sampling.min_p * p.max()) & ((likelier < sampling.top_p) | (sampling.top_p == 1))
    return np.where(keep, p, 0) / p[keep].sum()


def draws_of(logits: np.ndarray, sampling: Sampling, count: int, chunk: int = 4096) -> np.ndarray:
    """Tokens drawn with the seeds 0 to count - 1."""
    tokens = []
    row = torch.tensor(logits, dtype=torch.float32)
    for start in range(0, count, chunk):
        requests = [Request(prompt_ids=(1,), sampling=sampling, seed=start + number) for number in range(chunk)]
        settings = Draws.of(requests, CPU)
        tokens.append(draw(row.expand(chunk, -1), settings, torch.zeros(chunk, dtype=torch.int64))[0])
    return torch.cat(tokens).numpy()


SETTINGS = [
    Sampling(temperature=1.0),
    Sampling(temperature=0.7, top_p=0.9),
    Sampling(temperature=1.0, top_p=0.3),
    Sampling(temperature=1.3, top_p=0.02),
    Sampling(temperature=1.3, top_k=20),
    Sampling(temperature=1.0, min_p=0.1),
    Sampling(temperature=1.0, min_p=0.7),
    Sampling(temperature=0.8, top_p=0.9, top_k=20, min_p=0.05),
    Sampling(temperature=2.0, top_p=0.5, top_k=100),
]


@pytest.mark.parametrize("sampling", SETTINGS, ids=lambda s: f"T{s.temperature}-p{s.top_p}-k{s.top_k}-m{s.min_p}")
@pytest.mark.parametrize("shape", ["peaked", "flat"])
def test_sampled_distribution_is_the_reference(sampling, shape):
    generator = np.random.default_rng(7)
    logits = generator.normal(0, 2, 300) if shape == "peaked" else generator.normal(0, 0.3, 900)
    logits = logits.astype(np.float32).astype(np.float64)
    wanted = reference(logits, sampling)
    count = 16384
    found = np.bincount(draws_of(logits, sampling, count), minlength=len(logits))
    assert found[wanted == 0].sum() == 0
    often = count * wanted >= 8
    assert often.any()
    seen, expected = ([*v[often], v[~often].sum()] for v in (found, count * wanted))
    if expected[-1] < 8:  # too few for a cell of their own: they join the last one
        seen, expected = ([*v[:-2], v[-2] + v[-1]] for v in (seen, expected))
    assert len(seen) == 1 or stats.chisquare(seen, expected).pvalue > 1e-3


def test_allowed_tokens_are_found_among_thousands():
    """Most draws are refused four times and far more than the first look's tokens are allowed."""
    logits = -np.arange(4000) / 4000.0
    sampling = Sampling(temperature=1.0, min_p=float(np.exp(-0.2)))
    wanted = reference(logits, sampling)
    assert 700 < (wanted > 0).sum() < 900
    tokens = draws_of(logits, sampling, 4096)
    assert wanted[tokens].min() > 0
    expected = (wanted * np.arange(4000)).sum()
    spread = np.sqrt((wanted * (np.arange(4000) - expected) ** 2).sum() / len(tokens))
    assert abs(tokens.mean() - expected) < 4 * spread


def test_equally_likely_tokens_all_stay():
    tokens = draws_of(np.zeros(40), Sampling(temperature=1.0, top_k=5, top_p=0.1), 4096)
    assert set(tokens) == set(range(40))


def test_logps_are_the_models_own_and_greedy_is_the_likeliest():
    logits_BV = torch.randn(6, 500, generator=torch.Generator().manual_seed(0)) * 3
    settings = [Sampling(temperature=[0.0, 0.5, 1.5][row % 3], top_p=0.8, top_k=30) for row in range(6)]
    draws = Draws.of([Request(prompt_ids=(1,), sampling=setting, seed=9) for setting in settings], CPU)
    token_B, logp_B = draw(logits_BV, draws, torch.arange(6))
    assert torch.allclose(logp_B, logits_BV.log_softmax(-1).gather(-1, token_B[:, None])[:, 0], atol=1e-5)
    assert token_B[::3].equal(logits_BV.argmax(-1)[::3])


@given(rows=st.integers(1, 9), place=st.integers(0, 8), seed=st.integers(-(2**70), 2**70), step=st.integers(0, 9999))
def test_a_draw_does_not_depend_on_neighbours(rows, place, seed, step):
    place = place % rows
    logits_BV = torch.randn(rows, 130, generator=torch.Generator().manual_seed(rows))
    sampling = Sampling(temperature=1.0, top_p=0.5, top_k=40)
    requests = [Request(prompt_ids=(1,), sampling=sampling, seed=seed + row - place) for row in range(rows)]
    together, _ = draw(logits_BV, Draws.of(requests, CPU), torch.full((rows,), step))
    alone, _ = draw(logits_BV[place : place + 1], Draws.of([requests[place]], CPU), torch.tensor([step]))
    assert alone[0] == together[place]


def test_splitmix64_known_answers():
    """The first outputs of the published generator from state 0: its state grows by a constant per output."""
    golden = 0x9E3779B97F4A7C15
    states = torch.tensor([0, golden - 2**64], dtype=torch.int64)
    assert [value % 2**64 for value in splitmix64(states).tolist()] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_uniform_numbers_are_uniform_and_unrelated():
    seeds = torch.arange(20000)
    columns = [uniform(seeds, torch.full_like(seeds, step), attempt) for step, attempt in ((0, 0), (1, 0), (0, 1))]
    for column in columns:
        assert 0 <= column.min() <= column.max() < 1
        assert stats.kstest(column.numpy(), "uniform").pvalue > 0.001
    correlation = np.corrcoef(torch.stack(columns).numpy())
    assert np.abs(correlation - np.eye(3)).max() < 0.03


def test_logits_that_are_not_finite_do_not_crash():
    logits_BV = torch.tensor([[float("nan")] * 7, [float("inf")] * 7])
    requests = [Request(prompt_ids=(1,), sampling=Sampling(temperature=0.7, top_p=0.9), seed=1)] * 2
    token_B, logp_B = draw(logits_BV, Draws.of(requests, CPU), torch.zeros(2, dtype=torch.int64))
    assert ((token_B >= 0) & (token_B < 7)).all()
    assert not logp_B.isfinite().any()
