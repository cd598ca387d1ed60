"""The sampler's log-probabilities against the trainer's: an engine that serves other weights is found out here."""

from __future__ import annotations

from selfboost.records import Model
from selfboost.run import Run
from selfboost.train import Sequenced


def check_agreement(run: Run, model: Model) -> float | None:
    """Mean absolute difference, in nats per token, over a few answers the model just gave; None where it gave none.

    Raises:
        ValueError: the difference is beyond the recipe's `run.agreement`.
    """
    answers = run.recent(model)
    if not answers:
        return None
    sequences = [Sequenced(prompt_ids=a.prompt_ids, token_ids=a.token_ids) for a in answers]
    trained = run.trainer.logps(model, sequences)
    differences = [
        abs(mine - theirs)
        for answer, logps in zip(answers, trained, strict=True)
        for mine, theirs in zip(answer.logps, logps, strict=True)
    ]
    mean = sum(differences) / len(differences)
    if not mean <= run.recipe.run.agreement:
        raise ValueError(
            f"{model.name}: log-probabilities of sampler and trainer differ by {mean:.3g} nats per token, "
            f"more than run.agreement = {run.recipe.run.agreement}; the engine runs other weights, another precision "
            "or another tokenisation than the trainer"
        )
    return mean
