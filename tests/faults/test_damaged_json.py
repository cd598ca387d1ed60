"""Every field of every JSON file of a run deleted, nulled and retyped: one sentence or a result, never a traceback."""

import io
import json
import random
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from fake_recipes import results, run, write_recipe
from selfboost import cli, store
from selfboost.disk.json_files import read_json

SMALL: dict[str, dict[str, Any]] = {
    "run": {"iterations": 1, "beside": ["seed_sft"]},
    "benchmark": {"samples": 1, "greedy": False},
}
VALUES = (None, 0, -1, 1e400, 10**400, "", "x", [], [None], {}, {"x": None}, True)
"""What a field is replaced by."""
FAST = 60
"""Damages of each kind of file that are tried by every run of the tests."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe and the folder of its finished run."""
    folder = tmp_path_factory.mktemp("damaged")
    path = write_recipe(folder, "spin", **SMALL)
    run(path, folder / "run")
    return path, folder / "run"


def damages(value: Any, limit: int) -> Iterator[bytes]:
    """The file's text with one field deleted or replaced at a time, and cut off at some places."""
    places = list(_places(value))
    chosen = [(place, other) for place in places for other in (*VALUES, KeyError)]
    for place, other in random.Random(0).sample(chosen, min(limit, len(chosen))):
        yield json.dumps(_changed(value, place, other)).encode()
    text = json.dumps(value).encode()
    yield from (text[: len(text) * part // 5] for part in range(5))
    yield from (b"[]", b"null", b"3", b'"x"', b"\xff\xfe", b"[" * 100_000, b"1" * 10_000)


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every field and item."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*above, key)
        yield from _places(item, (*above, key))


def _changed(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    """A copy with something else at a place; KeyError stands for nothing."""
    copy = json.loads(json.dumps(value))
    inside = copy
    for key in place[:-1]:
        inside = inside[key]
    if other is KeyError:
        del inside[place[-1]]
    else:
        inside[place[-1]] = other
    return copy


def said(*arguments: object) -> tuple[int, str]:
    """A command's exit code and all it wrote; an exception other than its exit passes."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    return int(end.value.code or 0), out.getvalue()


def readers(root: Path) -> None:
    """Every command that reads a folder either shows it or says in one sentence what is wrong."""
    pair = next((root / "stages").glob("iteration-1/policy*"), None)
    for arguments in (["show", root], ["show", root, "--json"], ["report", root], ["inspect", root, "pair", "pair-"]):
        code, text = said(*arguments)
        assert code in (0, 2), text
        if code:
            (sentence,) = [line for line in text.splitlines() if line.startswith("selfboost: ")]
            assert len(sentence) < 2000
    assert pair is not None


@pytest.mark.parametrize("limit", [FAST, pytest.param(10**6, marks=pytest.mark.slow)])
def test_a_damaged_summary_is_shown_or_named(whole: tuple[Path, Path], tmp_path: Path, limit: int) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole[1], root)
    for text in damages(read_json(root / "run.json"), limit):
        (root / "run.json").write_bytes(text)
        readers(root)


CARDS = ["iteration-1/policy", "iteration-0/held_out-sampled", "prepare/seed_sft", "iteration-1/measure-held_out"]
QUICK, *OTHERS = (f"stages/{stage}/{store.CARD}" for stage in CARDS)
FILES = ["run.json", QUICK, *(pytest.param(file, marks=pytest.mark.slow) for file in OTHERS)]


@pytest.mark.parametrize("limit", [FAST // 4, pytest.param(10**6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("stage", CARDS)
def test_a_damaged_card_is_shown_or_named(
    whole: tuple[Path, Path], tmp_path: Path, stage: str, sealed: bool, limit: int
) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole[1], root)
    path = root / "stages" / stage / store.CARD
    card = read_json(path)
    if not sealed:  # as version 0.1.0 wrote it
        del card["seal"]
    for text in damages(card, limit):
        path.write_bytes(text)
        readers(root)


@pytest.mark.parametrize("limit", [2, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("file", FILES)
def test_a_run_resumes_over_any_damage(whole: tuple[Path, Path], tmp_path: Path, file: str, limit: int) -> None:
    recipe, before = whole[0], results(whole[1])
    for number, text in enumerate(damages(read_json(whole[1] / file), limit)):
        root = tmp_path / str(number)
        shutil.copytree(whole[1], root)
        (root / file).write_bytes(text)
        code, spoken = said("run", recipe, "--into", root)
        assert code == 0, spoken
        for aside in root.rglob("*.broken-*"):
            assert str(aside) in spoken
            shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
        assert results(root) == before
