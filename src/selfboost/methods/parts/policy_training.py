"""How SynPO and the methods it is compared with train the policy: start, reference, and the search for beta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from selfboost.data.seeds import Seed
from selfboost.method import Method, ModelName
from selfboost.methods.parts.beta_search import BetaSearch
from selfboost.records import Model, Pair
from selfboost.verbs import Settings, Verbs


@dataclass(frozen=True, kw_only=True)
class PolicyTraining(Method):
    """A method that ends in one preference optimisation of the policy."""

    start: ModelName = "initial"
    """The model that the policy is trained from, in every iteration."""
    reference: ModelName = "initial"
    """The reference, for losses that need one (SimPO needs none)."""
    search: BetaSearch = field(default_factory=BetaSearch)
    """The search for the loss's beta."""

    def check(self, recipe: Settings, seeds: Sequence[Seed]) -> None:
        """Whether the loss has what is searched for."""
        del seeds
        self.search.check(recipe)

    def optimise(self, run: Verbs, pairs: Sequence[Pair]) -> Model:
        """The policy, trained on these pairs."""
        return self.search.prefer(run, pairs, start=run.model(self.start), reference=run.model(self.reference))
