"""How SynPO and the methods it is compared with train the policy: start, reference, and the search for beta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfboost.data.seeds import Seed
from selfboost.method import Method, ModelName
from selfboost.methods.parts.beta_search import BetaSearch
from selfboost.records import Model, Pair, Sampling
from selfboost.setting_types import Count
from selfboost.verbs import Settings, Verbs


@dataclass(frozen=True, kw_only=True)
class PolicyTraining(Method):
    """A method that ends with one preference optimisation of the policy."""

    start: ModelName = "initial"
    """The model that the policy is trained from, in every iteration."""
    reference: ModelName = "initial"
    """The reference, for losses that need one (SimPO needs none)."""
    pairs: Count = 10_000
    """Most pairs of an iteration to train on."""
    search: BetaSearch = field(default_factory=BetaSearch)
    """The search for the loss's beta."""

    def check(self, recipe: Settings, seeds: Sequence[Seed]) -> None:
        """Check that the loss has what the search needs."""
        del seeds
        self.search.check(recipe)

    def remarks(self) -> Sequence[str]:
        """States who chooses beta."""
        return self.search.remarks()

    @classmethod
    def suggested(cls) -> Mapping[str, Mapping[str, Any]]:
        """SynPO's loss."""
        return {"loss": {"kind": "simpo"}}

    def optimise(self, run: Verbs, pairs: Sequence[Pair]) -> Model:
        """The policy, trained on these pairs."""
        return self.search.prefer(run, pairs, start=run.model(self.start), reference=run.model(self.reference))


@dataclass(frozen=True, kw_only=True)
class OwnAnswers(PolicyTraining):
    """A method that trains on the answers of the run's models, one per prompt."""

    sampling: Sampling = field(default_factory=Sampling)
    """How drafts, own answers and the initial model's answers are sampled."""

    def __post_init__(self) -> None:
        if self.sampling.samples != 1:
            raise ValueError(f"sampling.samples = {self.sampling.samples}: must be 1, one answer to each prompt")
