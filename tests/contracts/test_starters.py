"""What `selfboost new` writes: it runs as it is, is checked like the source, and never overwrites or hides anything."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from selfboost import plugins
from selfboost.new_component import write_new_component

STARTERS = Path(plugins.__file__).parent / "starters"


@pytest.mark.parametrize("role", plugins.FOLDERS)
def test_a_new_component_and_its_recipe_run_as_they_are_written(role: str, tmp_path: Path) -> None:
    def selfboost(*arguments: str) -> str:
        command = [sys.executable, "-m", "selfboost", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    written = selfboost("new", role, f"my_{role}")
    (following,) = re.findall(r"^  selfboost (.*)$", written, re.MULTILINE)
    assert selfboost(*following.split()).splitlines()[-1] == f"Report: runs/my_{role}/report.html"
    summary = json.loads((tmp_path / "runs" / f"my_{role}" / "run.json").read_text())
    assert summary["status"] == "finished"
    assert summary["iterations"][-1]["pairs"] > 0
    recipe = (tmp_path / "runs" / f"my_{role}" / "recipe.toml").read_text()
    assert f'[{role}]\nkind = "my_{role}:My{role.capitalize()}"' in recipe
    assert "starter" not in (tmp_path / f"my_{role}.py").read_text().lower()


def test_a_component_beside_its_recipe_is_found_from_anywhere(tmp_path: Path) -> None:
    write_new_component("method", "elsewhere", tmp_path / "its" / "folder")
    command = [sys.executable, "-m", "selfboost", "check", "its/folder/elsewhere.toml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("role", plugins.FOLDERS)
def test_each_kind_has_a_starter_and_a_complete_recipe(role: str) -> None:
    assert (STARTERS / f"{role}.py").read_text().startswith('"""Starter: ')
    recipe = (STARTERS / f"{role}.toml").read_text()
    assert recipe.startswith("# ")
    assert re.search(rf'^\[{role}\][^\[]*\nkind = "starter:Starter"\n', recipe, re.MULTILINE)


def test_there_is_no_starter_without_a_kind() -> None:
    assert {path.stem for path in STARTERS.iterdir() if path.is_file()} == {*plugins.FOLDERS, "__init__"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("my-method", "'my-method': is no name of a Python module; use letters, digits and _, a letter first"),
        ("2nd", "'2nd': is no name of a Python module"),
        ("größe", "is no name of a Python module"),
        ("_", "is no name of a Python module"),
        ("class", "'class': is a word of Python itself; choose another name, such as my_class"),
        ("none", "'none': is a word of Python itself"),
        ("torch", "'torch': is the name of a module already"),
        ("json", "'json': is the name of a module already"),
        ("selfboost", "'selfboost': is the name of a module already"),
        (
            "sampling",
            "'sampling': its class Sampling would hide a name that the file uses; choose another, my_sampling",
        ),
    ],
)
def test_a_name_that_would_not_work_is_one_sentence(name: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        write_new_component("method", name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("ending", ["py", "toml"])
def test_nothing_is_overwritten(ending: str, tmp_path: Path) -> None:
    taken = tmp_path / f"mine.{ending}"
    taken.write_text("# mine\n")
    with pytest.raises(ValueError, match=re.escape(f"{taken}: exists already; choose another name, or another folder")):
        write_new_component("scorer", "mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [taken.name]
    assert taken.read_text() == "# mine\n"
