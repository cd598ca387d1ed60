"""SPIN: self-play fine-tuning (arXiv 2401.01335, algorithm 1).

The gold answer is chosen, the policy's own answer rejected; policy and reference start from the previous iterate. With
`loss.kind = "dpo"` the loss is the paper's equation 4.7. Left out: learning rate and beta by iteration.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from selfboost.method import Method, Window
from selfboost.pairing import gold_pairs
from selfboost.records import Model, Sampling
from selfboost.run import Run


@dataclass(frozen=True, kw_only=True)
class SPIN(Method):
    """The policy plays against its former self: gold answers over its own (arXiv 2401.01335)."""

    window: Window = "last_two"
    """The paper trains on the current and the previous iteration's pairs."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=1.0, max_tokens=256))
    """How the policy's own answers are sampled."""

    def iterate(self, run: Run) -> Model:
        """One round of self-play."""
        own = run.sample("own-answers", run.previous, [seed.prompt for seed in run.seeds], self.sampling)
        pairs = run.windowed(gold_pairs(run, own), self.window)
        return run.prefer("policy", pairs, start=run.model(self.start), reference=run.model(self.reference))
