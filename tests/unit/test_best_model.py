"""`DIR/model` and the last words of a run: where the best model is, and that a worse one is not to be used."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fake_recipes import run, write_recipe
from selfboost.engines.fake import read_fake
from selfboost.measures import MeasureRow
from selfboost.results import best_model
from selfboost.results.best_model import LINK, lead_to
from selfboost.views.next_steps import print_next_steps
from selfboost.views.sentences import best_model as told_of
from selfboost.views.sentences import unfinished, worse_than_initial
from selfboost.views.summary import UnfinishedStage, summary


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("best")
    run(write_recipe(folder, "spin"), folder / "run")
    return folder / "run"


def test_the_link_leads_to_the_promoted_model_and_moves_with_the_run(finished: Path, tmp_path: Path) -> None:
    assert os.readlink(finished / LINK) == "stages/iteration-2/policy/model"
    moved = Path(shutil.copytree(finished, tmp_path / "moved", symlinks=True))
    assert read_fake(str(moved / LINK)).lineage
    assert told_of(summary(moved)) == f"Model of iteration 2: {moved / LINK}"
    heard = run(finished.parent / "recipe.toml", moved, "gate.rule=better")
    assert not any("no run wrote" in sentence for sentence in heard.said)
    assert not os.path.lexists(moved / LINK), "nothing is promoted now: a stale link is removed"
    assert told_of(summary(moved)) == "The initial model is still the best; no candidate was promoted: fake"


def test_where_links_cannot_be_made_a_text_file_says_the_path(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    moved = Path(shutil.copytree(finished, tmp_path / "moved", symlinks=True))
    monkeypatch.setattr(best_model.os, "symlink", refuse)
    for number in (1, 2):
        assert lead_to(moved, f"stages/iteration-{number}/policy/model") == ""
        assert (moved / LINK).read_text() == f"stages/iteration-{number}/policy/model\n"
        assert best_model.best_model(moved) == f"stages/iteration-{number}/policy/model"


def written(path: Path) -> tuple[int, int, int]:
    """What only writing changes. Reading changes the access time."""
    state = os.lstat(path)
    return state.st_ino, state.st_mode, state.st_mtime_ns


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_no_run_wrote_is_left_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / LINK
    {"folder": path.mkdir, "file": lambda: path.write_text("my notes"), "link": lambda: path.symlink_to("../x")}[kind]()
    before = written(path)
    assert "not written by a run" in lead_to(tmp_path, "stages/iteration-1/policy/model")
    assert written(path) == before
    assert best_model.best_model(tmp_path) == ""


def test_a_policy_that_is_worse_is_the_last_word(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = summary(finished)
    assert worse_than_initial(told) == ""
    row = MeasureRow(value=0.1, gain=-0.4, gain_low=-0.5, gain_high=-0.3)
    entries = [replace(entry, measures={"sampled": row}) for entry in told.iterations]
    worse = worse_than_initial(replace(told, iterations=tuple(entries)))
    assert worse.startswith('The policy is worse than the initial model, and gate.rule = "always" promoted it all the')
    assert "-40.0 percentage points [-50.0, -30.0]. Keep the initial model, fake" in worse
    print_next_steps(finished)
    printed = capsys.readouterr()
    assert f"selfboost show {finished}" in printed.out
    assert f'from_pretrained("{finished / LINK}")' in printed.out
    assert printed.err == ""


def test_what_is_kept_of_stages_that_were_begun_is_said(finished: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(finished, tmp_path / "moved", symlinks=True))
    (moved / "stages/iteration-2/own-answers").rename(moved / "stages/iteration-2/own-answers.partial-0123abcd")
    state = moved / "stages/iteration-3/policy.partial-0123abcd/model/training-state/step-00000012-0123abcd.pt"
    state.parent.mkdir(parents=True)
    state.touch()
    told = summary(moved)
    assert told.unfinished == (
        UnfinishedStage(name="iteration-2/own-answers", rows=10),
        UnfinishedStage(name="iteration-3/policy", rows=0, step=12),
    )
    assert unfinished(told) == [
        "iteration-2/own-answers is unfinished: 10 rows are kept",
        "iteration-3/policy is unfinished: the training's state after step 12 is kept",
    ]
