"""A reward model behind a server of vLLM's that runs it for pooling, and reads many answers at a time.

Rows of token ids go in, the same that `reward_model` reads. Before anything is scored, eight rows are read by the
trainer's own code as well, and a server that differs by more than `bound` is refused: another model, a pooling or an
activation of vLLM's that the model was not trained with. Not run with vLLM itself yet.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from selfboost.endpoints.model_server import ModelServer, Served
from selfboost.endpoints.pooling import Pooled, pool
from selfboost.engines.kept_models import give_back, kept_open, models_kept_open
from selfboost.records import Answer, Model, Verdict
from selfboost.scorers import ScoringWork
from selfboost.scorers.reward_model import RewardModel
from selfboost.scorers.verdicts import reasoned_verdicts
from selfboost.setting_types import SPEED_ONLY, Positive
from selfboost.train import Sequenced, Trainer

COMPARED = 8
"""Rows that are read by the trainer's code too."""
Rewards = Sequence[float]


@dataclass(frozen=True, kw_only=True)
class RewardServer(RewardModel, ModelServer):
    """A reward model behind vLLM's server, compared with our own computation before it is used."""

    bound: Positive = field(default=0.05, metadata=SPEED_ONLY)
    """Largest difference of eight rows' scores from our own, as a share of the largest of them (or of 1)."""

    def work(self, prompt: float, answer: float) -> ScoringWork:
        """Prompt and answer read once, on this run's GPUs if the run starts the server."""
        read = prompt + answer
        return ScoringWork(read=read, weight_bytes=2) if self.launch else ScoringWork(read=read, requests=1.0)

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """The model's scalar for each answer; None, with a reason, where the server gave none."""
        rows, reasons = self.rows(answers, models["reward"])
        found = iter(self._pooled(models["reward"], rows, trainer))
        replies = [Pooled(reason=why) if why else next(found) for why in reasons]
        values = [reply.value for reply in replies if not reply.reason]
        name = f"reward_server({self.path})"
        yield from reasoned_verdicts(answers, name, [reply.reason for reply in replies], values)

    def _pooled(self, model: Model, rows: Sequence[Sequenced], trainer: Trainer) -> list[Pooled]:
        if not rows:
            return []
        opening = partial(self._compared, model, rows[:COMPARED], trainer)
        with kept_open(("reward_server", self, model), opening) as served:
            return _asked(served, rows)

    @contextmanager
    def _compared(self, model: Model, rows: Sequence[Sequenced], trainer: Trainer) -> Generator[Served]:
        """The model at its servers, each of which agrees with the trainer.

        Raises:
            ValueError: there is no such server, or it differs.
        """
        from selfboost.engines.checkpoint import resolve

        with models_kept_open():  # ours is gone before the server takes the GPU
            ours = list(trainer.rewards(model, rows))
        give_back()
        with self.serving([model.path], str(resolve(model.path))) as served:
            for endpoint, listed in zip(served.endpoints, served.models, strict=True):
                one = Served([endpoint], [listed], served.require_alive)
                self._require_agreement(endpoint.address, ours, _asked(one, rows))
            yield served

    def _require_agreement(self, address: str, ours: Rewards, replies: Sequence[Pooled]) -> None:
        if failed := next((reply.reason for reply in replies if reply.reason), ""):
            raise ValueError(f"{address}: one of the first {len(replies)} rows failed ({failed}); see the server's log")
        allowed = self.bound * max(1.0, *(abs(mine) for mine in ours))
        both = ((mine, reply.value) for mine, reply in zip(ours, replies, strict=True))
        if differing := next(((mine, theirs) for mine, theirs in both if not abs(mine - theirs) <= allowed), None):
            raise ValueError(
                f"{address}: of {len(ours)} rows that were compared, one has the reward {differing[1]:.4g} there and "
                f"{differing[0]:.4g} by our own computation, and scorer.bound = {self.bound:g} allows {allowed:.2g}; "
                "start it for this model with pooling as its runner, or set scorer.kind = 'reward_model'"
            )


def _asked(served: Served, rows: Sequence[Sequenced]) -> list[Pooled]:
    """The rewards of rows, in order.

    Raises:
        ValueError: the server cannot be asked any more.
    """
    try:
        found = dict(pool(served.endpoints, [(*row.prompt_ids, *row.token_ids) for row in rows]))
    except ValueError:
        served.require_alive()
        raise
    return [found[place] for place in range(len(rows))]
