"""Bad values for every setting: an error in one sentence that names it, or a run as told; nothing infinite gets in."""

import os
import shutil
from pathlib import Path

import pytest
from bad_values import Case, bases, cases, components
from trial import fault_of, not_finite, run_command, told

from selfboost import plugins

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"))
READ, CHECKED, RUN = 5_000, 15, 10
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
    for base in bases(tmp_path):
        whole = base.read()
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


def accepted(folder: Path, count: int, *, seed: int, small: bool = False) -> list[Case]:
    """Cases that are read without an error; `small`: those that a run on fake models is soon done with."""
    kept: list[Case] = []
    for case in cases(folder, seed):
        if len(kept) == count:
            break
        if small and (case.base.changes or is_large(case.value)):
            continue
        wrong, outcome = fault_of(case.read, SECONDS)
        if not wrong and not isinstance(outcome, ValueError):
            kept.append(case)
    return kept


def is_large(value: str) -> bool:
    try:
        return abs(float(value.strip("[]"))) > LONG_WORK
    except ValueError:
        return False


def checked(folder: Path, count: int, seed: int) -> list[tuple[str, list[str]]]:
    found = [case.command() for case in accepted(folder, count, seed=seed)]
    return [(wrong, command) for command in found if (wrong := run_command(command, COMMAND_SECONDS))]


def really_run(folder: Path, count: int, seed: int) -> list[tuple[str, list[str]]]:
    faults: list[tuple[str, list[str]]] = []
    for number, case in enumerate(accepted(folder / "recipes", count, seed=seed, small=True)):
        command = [*case.command("run"), "--into", str(folder / f"run-{number}")]
        if wrong := run_command(command, COMMAND_SECONDS):
            faults.append((wrong, command))
        shutil.rmtree(folder / f"run-{number}", ignore_errors=True)
    return faults


def test_what_is_accepted_can_be_checked(tmp_path: Path) -> None:
    faults = checked(tmp_path, CHECKED, SEED)
    assert not faults, told(faults)


def test_what_is_accepted_can_be_run_or_is_refused_in_a_sentence(tmp_path: Path) -> None:
    faults = really_run(tmp_path, RUN, SEED)
    assert not faults, told(faults)


@pytest.mark.slow
def test_much_of_what_is_accepted_can_be_checked_and_run(tmp_path: Path) -> None:
    faults = checked(tmp_path / "check", 10 * CHECKED, SEED + 1) + really_run(tmp_path, 10 * RUN, SEED + 1)
    assert not faults, told(faults)
