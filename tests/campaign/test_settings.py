"""Bad values for every setting: an error in one sentence that names it, or a run as told; nothing infinite gets in."""

import os
from pathlib import Path

import pytest
from bad_values import Case, cases, components
from trial import fault_of, not_finite, told

from selfboost import plugins

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"))
READ, CHECKED, RUN = 5_000, 60, 25
SECONDS = 5.0
"""For reading a recipe; a command has `COMMAND_SECONDS`."""
COMMAND_SECONDS = 60.0
NO_LOWER_BOUND = {"method.improver.threshold", "method.labelling.threshold"}
"""Settings that take -inf: no threshold."""
LONG_WORK = 50
"""In a run that is really made, numbers are at most this: larger ones ask for more work than a test has time for."""


def fault(case: Case) -> str:
    found, outcome = fault_of(case.read, SECONDS)
    if found or outcome is None:
        return found
    if isinstance(outcome, ValueError):
        names = [case.key.rpartition(".")[2], *case.key.split(".")[:-1]]
        return "" if any(name in str(outcome) for name in names) else f"does not name the setting: {outcome}"
    infinite = set(not_finite(outcome)) - NO_LOWER_BOUND
    return f"accepted in silence: {infinite}" if infinite else ""


def tried(found: list[Case]) -> list[tuple[str, list[str]]]:
    return [(wrong, case.command()) for case in found if (wrong := fault(case))]


def test_every_component_is_tried(tmp_path: Path) -> None:
    seen = set[tuple[str, str]]()
    for case in cases(tmp_path, SEED):
        whole = case.base.read()
        for role in plugins.FOLDERS:
            seen.add((role, type(getattr(whole, role)).__module__.rpartition(".")[2]))
    assert seen | {("loss", "bradley_terry")} == components(), "a component that no recipe of the campaign has"


def test_bad_values_are_refused_when_the_recipe_is_read(tmp_path: Path) -> None:
    faults = tried(cases(tmp_path, SEED)[:READ])
    assert not faults, told(faults)


@pytest.mark.slow
def test_all_bad_values_are_refused_when_the_recipe_is_read(tmp_path: Path) -> None:
    faults = tried(cases(tmp_path, SEED)[READ:])
    assert not faults, told(faults)
