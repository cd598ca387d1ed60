"""A verifiable check: a function says whether an answer does what its prompt asks. No model, no taste."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from selfboost.records import Answer, Model, Verdict
from selfboost.train import Trainer

Check = Callable[[str, str], bool | None]


@dataclass(frozen=True, kw_only=True)
class Checks:
    """1 if a Python function says that the answer is right, 0 if not."""

    function: str
    """`package.module:name` of a function (prompt, answer) → True, False, or None where it cannot tell."""
    threshold: float = 0.5
    """Gap from which a pair is kept: right over wrong."""

    def __post_init__(self) -> None:
        self._check()

    def needs(self) -> Mapping[str, str]:
        """No model."""
        return {}

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """1.0, 0.0, or no value with a reason."""
        del models, trainer
        check = self._check()
        for answer in answers:
            if answer.finish == "failed":
                yield Verdict(answer=answer.id, scorer="checks", value=None, reason=f"failed: {answer.reason}")
                continue
            passed = check(answer.prompt.text, answer.text)
            reason = "" if passed is not None else "the check cannot tell for this prompt"
            yield Verdict(
                answer=answer.id, scorer="checks", value=None if passed is None else float(passed), reason=reason
            )

    def _check(self) -> Check:
        module, colon, name = self.function.partition(":")
        try:
            found: object = getattr(import_module(module), name) if colon else None
        except (ImportError, AttributeError) as error:
            raise ValueError(f"function = {self.function!r}: cannot be loaded ({error})") from error
        if not callable(found):
            raise ValueError(f"function = {self.function!r}: must be 'package.module:name' of a function")
        return cast(Check, found)
