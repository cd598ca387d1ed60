"""The stop where too much of a stage failed or was cut: when, where not, and with what cure."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fake_recipes import run, write_recipe
from selfboost.blocks.limits import ENOUGH, WATCHED, FaultLimits
from selfboost.engines import Generation, Request, Sampler
from selfboost.engines.fake import Fake
from selfboost.methods.parts.distributions import FOLDER
from selfboost.records import Model


@dataclass(frozen=True, kw_only=True)
class Faulty(Fake):
    """An engine whose trained models never end an answer, or that fails on some of them."""

    failing: float = 0.0
    """Share of the answers that fail."""

    @contextmanager
    def open(self, model: Model) -> Generator[Sampler]:
        with super().open(model) as sampler:
            yield _FaultySampler(sampler, self.failing, ends=model.name == "initial")  # type: ignore[misc]


class _FaultySampler:
    def __init__(self, sampler: Sampler, failing: float, *, ends: bool) -> None:
        self.tokenizer, self._sampler, self._failing, self._ends = sampler.tokenizer, sampler, failing, ends

    def sample(self, requests: Sequence[Request]) -> Generator[tuple[int, Generation]]:
        for at, found in self._sampler.sample(requests):
            if at < self._failing * len(requests):
                yield at, Generation(token_ids=(), logps=(), finish="failed", reason="the prompt is too long")
            else:
                yield at, found if self._ends else replace(found, finish="length")


def faulty(folder: Path, failing: float = 0.0, **sections: dict[str, object]) -> Path:
    return write_recipe(folder, "spin", engine={"kind": "test_fault_limits:Faulty", "failing": failing}, **sections)


def test_answers_of_a_trained_model_that_are_nearly_all_cut_end_the_run_with_the_setting_to_raise(
    tmp_path: Path,
) -> None:
    path = faulty(tmp_path, method__sampling={"max_tokens": 321})
    with pytest.raises(ValueError, match="cut at the token limit") as error:
        run(path, tmp_path / "run", trust=__name__)
    assert str(error.value) == (
        "iteration-2/own-answers: 10 of 10 cut at the token limit, more than run.max_cut = 0.9; "
        "raise method.sampling.max_tokens (321), or accept it with --set run.max_cut=1"
    )
    again = run(path, tmp_path / "run", "run.max_cut=1", trust=__name__)
    assert "iteration-2/own-answers" in again.reused_stages, "what was sampled is kept"


def test_a_stage_of_which_most_failed_ends_the_run_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"sampled: 8 of 8 failed: the prompt is too long, more than run.max_failed = 0.5"
    ):
        run(faulty(tmp_path, 1.0), tmp_path / "run", trust=__name__)


def test_a_long_stage_is_stopped_before_its_end_and_a_limit_of_1_is_none() -> None:
    notes, limits = {"failed": ENOUGH - 1}, FaultLimits(failed=0.5)
    limits.check_so_far("a", notes, ENOUGH - 1)
    with pytest.raises(ValueError, match="a: 199 of 200 failed"):
        limits.check_so_far("a", notes, ENOUGH)
    limits.check("a", {"failed": 100}, 200)
    FaultLimits().check("a", {"failed": 200, "cut at the token limit": 200}, 200)
    assert FOLDER in WATCHED
