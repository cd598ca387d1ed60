"""What `selfboost new` writes: it runs as it is, is checked like the source, and never overwrites or hides anything."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from selfboost import plugins, recipe
from selfboost.new_component import write_new_component
from selfboost.recipe_text import field_docs

STARTERS = Path(plugins.__file__).parent / "starters"


@pytest.mark.parametrize("role", plugins.FOLDERS)
def test_a_new_component_is_renamed_and_read_by_its_recipe(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it runs as it is written is a part of its guide, which runs it."""
    code, path = write_new_component(role, f"my_{role}", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    read = getattr(recipe.read(path, trust=f"my_{role}"), role)
    assert (type(read).__module__, type(read).__name__) == (f"my_{role}", f"My{role.capitalize()}")
    assert "starter" not in (code.read_text() + path.read_text()).lower()
    assert not {f.name for f in fields(read)} - field_docs(type(read)).keys(), "each setting is documented"
    assert type(read).__dataclass_params__.frozen
    assert all(f.kw_only for f in fields(read))


def test_new_prints_the_next_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "selfboost", "new", "method", "mine", "--to", "a folder"]
    written = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert written.splitlines() == [
        "Wrote a folder/mine.py, a working method to build on.",
        "Wrote a folder/mine.toml, a small recipe that runs it.",
        "",
        "Next:",
        "  selfboost run 'a folder/mine.toml' --into runs/mine --trust mine",
    ]


def test_a_component_beside_its_recipe_is_found_from_anywhere(tmp_path: Path) -> None:
    write_new_component("method", "elsewhere", tmp_path / "its" / "folder")
    command = [sys.executable, "-m", "selfboost", "check", "its/folder/elsewhere.toml", "--trust", "elsewhere"]
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
        (
            "my-method",
            "'my-method': not a valid module name; use letters, digits and underscores, starting with a letter",
        ),
        ("2nd", "'2nd': not a valid module name"),
        ("größe", "not a valid module name"),
        ("_", "not a valid module name"),
        ("class", "'class': a Python keyword; choose another name, such as my_class"),
        ("none", "'none': a Python keyword"),
        ("torch", "'torch': already the name of a module"),
        ("json", "'json': already the name of a module"),
        ("selfboost", "'selfboost': already the name of a module"),
        (
            "sampling",
            "'sampling': its class Sampling would shadow a name used in the file; choose another, such as my_",
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
    with pytest.raises(ValueError, match=re.escape(f"{taken}: already exists; choose another name, or another folder")):
        write_new_component("scorer", "mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [taken.name]
    assert taken.read_text() == "# mine\n"
