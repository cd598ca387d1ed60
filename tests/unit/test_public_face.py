"""What the README promises of the Python face and of a method of one's own is true, word for word."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import selfboost
from selfboost.stages import Silent

README = Path(__file__).parents[2] / "README.md"
RECIPE = """
[run]
iterations = 2
[model]
path = "fake"
[seed]
path = "embedded"
limit = 12
validation = 6
held_out = 6
[method]
kind = "mine:Mine"
[loss]
kind = "dpo"
[scorer]
kind = "implicit"
[benchmark]
kind = "held_out"
scorer = {kind = "checks", function = "selfboost.engines.fake:is_good"}
[gate]
rule = "always"
[engine]
kind = "fake"
[trainer]
kind = "fake"
"""


@pytest.mark.parametrize("name", selfboost.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(selfboost, name).__doc__


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="it offers Answer, Benchmark, Counts"):
        _ = selfboost.nothing_like_it


def test_every_public_name_has_a_home_and_none_is_forgotten() -> None:
    assert set(selfboost.__all__) == set(selfboost._HOMES)


def test_importing_it_is_instant() -> None:
    program = "import selfboost, sys; print(sorted({'torch', 'pydantic', 'rich', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_readmes_own_method_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    recipe = selfboost.read_recipe(tmp_path / "recipe.toml", trust="mine")
    selfboost.boost(recipe, tmp_path / "out", Silent())
    found = selfboost.load_run(tmp_path / "out")
    assert [i.decision for i in found.iterations] == ["initial", "promoted", "promoted"]
    assert found.iterations[2].pairs > 0
    assert selfboost.write_report(tmp_path / "out").read_text().startswith("<!doctype html>")


def test_the_readmes_recipe_is_the_shipped_one() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", README.read_text(), re.DOTALL)
    path = selfboost.find_recipe("synpo-qwen3-0.6b-one-gpu")
    shipped = path.read_text()
    settings = [line.partition("#")[0].strip() for line in shown.splitlines()]
    assert [line for line in settings if line and line not in shipped] == []
