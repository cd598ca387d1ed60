"""Reads what a judge in words replies: a score on a scale, or which of two answers is better; and its settings.

A reply without a verdict gives a reason instead; nothing is guessed. Shared by the judges here and behind a server.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from selfboost.data.files import check_regular
from selfboost.statistics import summed
from selfboost.templates import check_pattern, groups_found

NUMBER = r"\A\s*([-+]?[0-9]+(?:\.[0-9]+)?)\.?\s*\Z"
"""A reply that is one number; the sign is read, so that -5 is rejected rather than taken for 5."""
LABELS = ("A", "B", "C")
"""The answer shown first is better, the second is, they are equally good."""
WORTH: Mapping[str, float] = {"A": 1.0, "B": 0.0, "C": 0.5}
"""What a label says of the answer shown first."""
LABEL = r"(?:\[\[|\A\W*|(?i:verdict)\W+)([ABC])(?:\]\]|\W*\Z)"
"""A label in double brackets, after the word verdict, or alone in a reply."""
LEAST_MASS = 0.5
"""Probability of the labels together below which a judge has not replied with one of them."""
SCORE_FIELDS = {"prompt", "answer", "lowest", "highest"}
"""Fields of a template that asks for a score."""
QUOTED = 80
"""Characters of a reply that a reason quotes."""
Reading = float | str
"""A value, or the reason why there is none."""


def check_scale(number: str, lowest: float, highest: float) -> None:
    """Check the settings by which a score is read.

    Raises:
        ValueError: the pattern has no group, or the scale has no length.
    """
    check_pattern("number", number, "the score")
    if not -math.inf < lowest < highest < math.inf:
        raise ValueError(f"lowest = {lowest}: must be below highest = {highest}, both finite")


def refuse_template_file(file: str) -> None:
    """Raise ValueError where a component is built in code with a file instead of its text."""
    if file:
        raise ValueError(f"template_file = {file!r}: only for recipes; pass its text as template")


def with_template_read(settings: Mapping[str, Any], default: str) -> dict[str, Any]:
    """A recipe's settings, with the text of `template_file`, if given, as the template.

    So a run's fingerprint covers the text itself, and its own recipe needs no file.

    Raises:
        ValueError: the file cannot be read, or a template is given too.
    """
    found = dict(settings)
    file = found.pop("template_file", "")
    if not file:
        return found
    if found.get("template", default) != default:
        raise ValueError(f"template_file = {file!r}: give it or template, not both")
    check_regular(Path(file).expanduser())
    try:
        found["template"] = Path(file).expanduser().read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"template_file = {file!r}: must be a readable text file ({error})") from error
    return found


def read_number(reply: str, number: str, lowest: float, highest: float) -> Reading:
    """The score in a reply, which the pattern `number` must find exactly once, or the reason why it has none."""
    found = groups_found("number", number, reply)
    if len(found) != 1:
        return f"the judge gave {len(found) or 'no'} score{'s' if found else ''}: {quoted(reply)}"
    try:
        value = float(found[0])
    except ValueError:
        return f"the judge gave no number: {quoted(reply)}"
    if lowest <= value <= highest:
        return value
    return f"the judge gave {value:g}, which is not from {lowest:g} to {highest:g}: {quoted(reply)}"


def read_label(reply: str, pattern: str) -> Reading:
    """What the last label in a reply says of the answer shown first, or the reason why there is none."""
    found = [label for label in groups_found("label", pattern, reply) if label in WORTH]
    return WORTH[found[-1]] if found else f"the judge gave no verdict: {quoted(reply)}"


def weigh_labels(logprobs: Mapping[str, float]) -> Reading:
    """The probability that the answer shown first is better, a tie counting half, among the labels alone."""
    chances = {label: math.exp(logprobs[label]) for label in LABELS if label in logprobs}
    mass = sum(chances.values())
    if mass < LEAST_MASS:
        return f"the judge gave its labels a probability of {mass:.2f}, less than {LEAST_MASS}"
    return sum(WORTH[label] * chance for label, chance in chances.items()) / mass


def field_of(reply: str, name: str) -> str:
    """A field of a reply that is a JSON object, as text; the reply itself if it is none."""
    with suppress(ValueError, RecursionError):
        found: Any = json.loads(reply)
        if isinstance(found, Mapping) and name in found:
            return str(cast("Mapping[str, Any]", found)[name])
    return reply


def mean_of_replies(readings: Sequence[Reading]) -> Reading:
    """The mean over the replies to one request, or the first reason if any of them has no value."""
    values = [reading for reading in readings if not isinstance(reading, str)]
    reasons = [reading for reading in readings if isinstance(reading, str)]
    if not reasons:
        return summed(values) / len(values)
    share = f"{len(reasons)} of {len(readings)} replies: " if len(readings) > 1 else ""
    return share + reasons[0]


def quoted(reply: str) -> str:
    """The beginning of a reply, as a reason quotes it."""
    return repr(reply[:QUOTED] + ("…" if len(reply) > QUOTED else ""))
