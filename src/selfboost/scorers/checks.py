"""A verifiable check: a function says whether an answer does what its prompt asks. No model, no taste.

Only functions marked by `@selfboost.check_function` are called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar, cast

from selfboost.measures import SHARE
from selfboost.records import Answer, Model, Verdict
from selfboost.setting_types import FunctionName, Score
from selfboost.train import Trainer
from selfboost.trust.check_functions import CheckFunction, is_check_function


@dataclass(frozen=True, kw_only=True)
class Checks:
    """1 if a Python function accepts the answer, 0 if not."""

    unit: ClassVar[str] = SHARE

    function: FunctionName
    """`package.module:name` of a check function (prompt, answer) → True, False, or None where it cannot tell."""
    threshold: Score = 0.5
    """Smallest score gap of a kept pair: right over wrong."""

    def __post_init__(self) -> None:
        self._check()

    def needs(self) -> Mapping[str, str]:
        """No model."""
        return {}

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """1.0, 0.0, or no value with a reason; an empty answer is checked like any other."""
        del models, trainer
        check = self._check()
        for answer in answers:
            value, reason = self._judge(check, answer)
            yield Verdict(answer=answer.id, scorer=f"checks({self.function})", value=value, reason=reason)

    def _judge(self, check: CheckFunction, answer: Answer) -> tuple[float | None, str]:
        if answer.finish == "failed":
            return None, f"the answer failed: {answer.reason or 'no reason given'}"
        try:
            passed: object = check(answer.prompt.text, answer.text)
        except Exception as error:  # user code: one odd answer must not end a long run
            return None, f"the check failed: {type(error).__name__}: {error}"
        if passed is None:
            return None, "not checkable"
        if passed is not True and passed is not False:
            raise ValueError(f"function = {self.function!r}: returned {passed!r}; allowed: True, False, None")
        return float(passed), ""

    def _check(self) -> CheckFunction:
        module, colon, name = self.function.partition(":")
        if not (module and colon and name):
            raise ValueError(f"function = {self.function!r}: must be 'package.module:name' of a function")
        try:
            found: object = getattr(import_module(module), name)
        except (Exception, SystemExit) as error:  # importing a user's module may raise anything
            raise ValueError(f"function = {self.function!r}: cannot be loaded ({error})") from error
        if not is_check_function(found):
            raise ValueError(
                f"function = {self.function!r}: is not a check function; only a Python function (prompt, answer) → "
                "True, False or None that is marked with @selfboost.check_function may be called"
            )
        return cast(CheckFunction, found)
