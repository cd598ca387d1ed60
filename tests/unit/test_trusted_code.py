"""Code that a recipe names runs only when it is trusted: everything else is refused by name, before it is imported."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fake_recipes import results, run, write_recipe
from selfboost import Method, Model, Verbs, check_function, cli, plugins, recipe, store
from selfboost.losses.dpo import DPO
from selfboost.new_recipe import RecipeRequest, write_new_recipe
from selfboost.records import Pair
from selfboost.scorers.checks import Checks
from selfboost.trust import FOLDER_VARIABLE, Trust, settings_file, trusting

SPY = '''
from dataclasses import dataclass
from pathlib import Path
import selfboost
from selfboost.engines.fake import Fake, is_good

Path(__file__).with_name("imported").touch()

@dataclass(frozen=True, kw_only=True)
class Mine(selfboost.Method):
    """Gold over own answers."""

    def iterate(self, run):
        own = run.sample("own", run.previous, [s.prompt for s in run.seeds], selfboost.Sampling(max_tokens=64))
        pairs = [run.pair(s.prompt, s.answer, a) for s, a in zip(run.seeds, own) if a.text != s.answer.text]
        return run.prefer("policy", pairs, start=run.initial)

@dataclass(frozen=True, kw_only=True)
class Own(Fake):
    """The fake engine."""

@selfboost.check_function
def check(prompt, answer):
    return is_good(prompt, answer)

def unmarked(prompt, answer):
    return True
'''
NAMED = {
    "method.kind": "method={kind='spying:Mine'}",
    "method.kind with a dot": "method={kind='spying.Mine'}",
    "loss.kind": "loss.kind=spying:Loss",
    "scorer.kind": "scorer={kind='spying:Scorer'}",
    "scorer.engine.kind": "scorer={kind='judge', engine={kind='spying:Own'}}",
    "scorer.function": "scorer={kind='checks', function='spying:check'}",
    "benchmark.kind": "benchmark={kind='spying:Benchmark'}",
    "benchmark.scorer.kind": "benchmark.scorer={kind='spying:Scorer'}",
    "benchmark.scorer.function": "benchmark.scorer.function=spying:check",
    "engine.kind": "engine.kind=spying:Own",
    "trainer.kind": "trainer={kind='spying:Trainer'}",
}
"""Setting → what names code of `spying.py` there."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with `spying.py`, which leaves a file when it is imported, and with a recipe."""
    (tmp_path / "spying.py").write_text(SPY)
    write_recipe(tmp_path, "seed_sft", run={"iterations": 1})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "spying", raising=False)
    return tmp_path


def imported(place: Path) -> bool:
    return (place / "imported").exists()


def selfboost(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as the installed program runs it: the working directory is not on the import path."""
    command = [sys.executable, "-c", "from selfboost.cli import main; main()", *arguments]
    own = {"PYTHONPATH": str(Path(recipe.__file__).parents[1]), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | own | environment)


def said_in_process(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize("setting", NAMED)
def test_untrusted_code_is_refused_by_name_wherever_it_stands(
    setting: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["check", "recipe.toml"], ["run", "recipe.toml", "--into", "out"]):
        code, said = said_in_process(capsys, *command, "--set", NAMED[setting], "--trust", "spy")
        assert code == 2
        assert said.startswith(f"selfboost: {setting.partition(' ')[0]} = 'spying")
        assert "would import the module 'spying', which you have not trusted; if you do, add --trust spying " in said
        assert said.count("\n") == 1
    assert not imported(place)
    assert "spying" not in sys.modules
    assert not (place / "out").exists()


def test_a_function_that_deletes_is_never_called(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The seed asks to remove a folder, and `ignore_errors` is what the gold answers."""
    folder = place / "precious"
    folder.mkdir()
    rows = [{"prompt": str(folder), "response": f"anything {i}"} for i in range(18)]
    (place / "seed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    naming = ["--set", "benchmark.scorer.function=shutil:rmtree"]
    for command in (["check", "recipe.toml"], ["run", "recipe.toml", "--into", "out"]):
        code, said = said_in_process(capsys, *command, *naming)
        assert (code, "would import the module 'shutil'" in said) == (2, True)
        code, said = said_in_process(capsys, *command, *naming, "--trust", "shutil")
        assert (code, "function = 'shutil:rmtree': is not a check function; only a Python" in said) == (2, True)
    assert folder.exists()


@pytest.mark.parametrize("name", ["builtins:eval", "builtins:pow", "operator:eq", "os:rename", "selfboost:boost"])
def test_only_marked_functions_are_check_functions(name: str, place: Path) -> None:
    change = [f"benchmark.scorer.function={name}"]
    with pytest.raises(ValueError, match=f"function = '{name}': is not a check function"):
        recipe.read(place / "recipe.toml", change, trust=[name.partition(":")[0]])
    with pytest.raises(ValueError, match=f"function = '{name}': is not a check function"):
        Checks(function=name)


@pytest.mark.parametrize("value", [len, dict, 3, "text", print])
def test_only_a_function_of_python_can_be_marked(value: Any) -> None:
    with pytest.raises(TypeError, match="is not a function written in Python"):
        check_function(value)


def test_a_function_that_is_not_marked_is_refused_in_a_trusted_module_too(place: Path) -> None:
    sys.path.append(str(place))
    change = ["benchmark.scorer.function=spying:unmarked"]
    with pytest.raises(ValueError, match="'spying:unmarked': is not a check function"):
        recipe.read(place / "recipe.toml", change, trust="spying")


def test_trusted_code_runs_from_the_working_directory_and_beside_the_recipe(place: Path) -> None:
    naming = ["--set", NAMED["method.kind"], "--set", NAMED["benchmark.scorer.function"]]
    done = selfboost("run", "recipe.toml", "--into", "out", *naming)
    assert (done.returncode, imported(place)) == (2, False)
    done = selfboost("run", "recipe.toml", "--into", "out", *naming, "--trust", "spying")
    assert (done.returncode, imported(place)) == (0, True), done.stderr
    os.chdir("/")
    done = selfboost("check", str(place / "recipe.toml"), *naming, "--trust", "spying")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_of_a_run_is_shown_without_importing_what_its_recipe_names(place: Path) -> None:
    naming = ["--set", NAMED["method.kind"], "--set", NAMED["benchmark.scorer.function"]]
    assert selfboost("run", "recipe.toml", "--into", "out", *naming, "--trust", "spying").returncode == 0
    (place / "imported").unlink()
    assert 'kind = "spying:Mine"' in (place / "out" / "recipe.toml").read_text()
    card = next(card for card in store.cards(place / "out") if card.verb == "prefer")
    pair = next(iter(store.read_rows(place / "out", card, Pair)))
    shown = [
        selfboost(*command) for command in (["show", "out"], ["report", "out"], ["inspect", "out", "pair", pair.id])
    ]
    assert [(done.returncode, done.stderr) for done in shown] == [(0, "")] * 3
    assert "iteration-1/policy" in shown[0].stdout + shown[2].stdout
    assert "○ 256 (special)" in shown[2].stdout, "the tokens are decoded: the engine is shipped"
    assert selfboost("check", "out/recipe.toml").returncode == 2
    assert not imported(place)


def test_a_pair_is_shown_without_the_tokenizer_of_an_untrusted_engine(place: Path) -> None:
    naming = ["--set", NAMED["method.kind"], "--set", NAMED["engine.kind"]]
    assert selfboost("run", "recipe.toml", "--into", "out", *naming, "--trust", "spying").returncode == 0
    (place / "imported").unlink()
    done = selfboost("inspect", "out", "pair", "")
    assert "pairs begin with this" in done.stderr
    first = done.stderr.split(": ")[3].split(",")[0]
    done = selfboost("inspect", "out", "pair", first)
    assert (done.returncode, done.stderr) == (0, "")
    assert "The run's tokenizer cannot be opened here: only ids are shown." in done.stdout
    assert not imported(place)


def test_the_settings_file_trusts_what_is_installed_and_no_file_of_the_working_directory(place: Path) -> None:
    settings = place / "settings"
    settings.mkdir()
    (settings / "trusted.toml").write_text('trusted = ["other", "spying"]\n')
    command = ["check", "recipe.toml", "--set", NAMED["method.kind"]]
    done = selfboost(*command, **{FOLDER_VARIABLE: str(settings)})
    assert done.stderr.startswith("selfboost: method.kind = 'spying:Mine': cannot be loaded (No module named 'spying')")
    assert not imported(place)
    paths = os.pathsep.join([str(place), str(Path(recipe.__file__).parents[1])])
    done = selfboost(*command, **{FOLDER_VARIABLE: str(settings), "PYTHONPATH": paths})
    assert (done.returncode, done.stderr, imported(place)) == (0, "", True)


def test_a_settings_file_beside_the_recipe_is_not_the_users(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sys.path.append(str(place))
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv("HOME", str(place / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", ".")  # a relative folder is not a valid one, by the standard
    for folder in (place, place / "selfboost", place / ".config" / "selfboost"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trusted.toml").write_text('trusted = ["spying"]\n')
    assert settings_file() == place / "home" / ".config" / "selfboost" / "trusted.toml"
    with pytest.raises(ValueError, match=r"list 'spying' in .*home/\.config/selfboost/trusted\.toml"):
        recipe.read(place / "recipe.toml", [NAMED["method.kind"]])
    assert not imported(place)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(place / ".config"))
    assert type(recipe.read(place / "recipe.toml", [NAMED["method.kind"]]).method).__module__ == "spying"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("trusted = [", "cannot be read"),
        ("trusted = 'mine'", "must hold one list of modules and packages"),
        ("trust = ['mine']", "must hold one list of modules and packages"),
        ("trusted = ['a b']", "a b: not the name of a module or package"),
        ("trusted = [3]", "3: not the name of a module or package"),
        ("trusted = ['*']", "not the name of a module or package"),
    ],
)
def test_a_settings_file_that_cannot_be_read_is_named(
    text: str, sentence: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "trusted.toml").write_text(text)
    monkeypatch.setenv(FOLDER_VARIABLE, str(place))
    assert recipe.read(place / "recipe.toml"), "it is not needed for what is shipped"
    with pytest.raises(ValueError, match=f"^{place}/trusted.toml: .*{sentence}|^{place}/trusted.toml: {sentence}"):
        recipe.read(place / "recipe.toml", [NAMED["method.kind"]])


def test_the_settings_folder_must_be_absolute(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, ".")
    with pytest.raises(ValueError, match=f"{FOLDER_VARIABLE}=.: must be an absolute path"):
        recipe.read(place / "recipe.toml", [NAMED["method.kind"]])


@pytest.mark.parametrize(
    ("names", "code", "trusted"),
    [
        ("mine", "mine:A", True),
        ("mine", "mine.A", True),
        ("mine", "mine.checks:A", True),
        ("mine", "mine2:A", False),
        ("mine.checks", "mine:A", False),
        ("mine.checks", "mine.checks:A", True),
        ("mine.checks", "mine.checks_too:A", False),
        (["other", "mine"], "mine:A", True),
        ((), "selfboost.demo.checks:check", True),
        ((), "selfboost_too:check", False),
        ((), "selfboost:boost", True),
    ],
)
def test_a_package_covers_its_modules_and_no_others(names: Any, code: str, trusted: bool) -> None:
    if trusted:
        trusting(names).require("method.kind", code)
    else:
        with pytest.raises(ValueError, match="which you have not trusted"):
            trusting(names).require("method.kind", code)


@pytest.mark.parametrize("name", ["", ".", "mine.", ".mine", "mine:Mine", "mine/py", "a b", "*", "mine;ls"])
def test_what_is_no_name_of_a_module_is_neither_trusted_nor_offered(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a module or package"):
        Trust((name,))
    with pytest.raises(ValueError, match=r"names no module; write 'package\.module:Name'"):
        Trust().require("method.kind", f"{name}:x" if ":" not in name else f".{name}")


@pytest.mark.parametrize("section", ["engine", "trainer"])
def test_code_of_a_checkpoint_needs_trust_too(section: str, place: Path) -> None:
    changes = ["engine={kind='local'}", "trainer={kind='local'}", f"{section}.trust_remote_code=true"]
    with pytest.raises(ValueError, match=f"^{section}.trust_remote_code = true: would run Python files of the model"):
        recipe.read(place / "recipe.toml", changes, trust="spying")
    assert getattr(recipe.read(place / "recipe.toml", changes, trust="remote-code"), section).trust_remote_code is True


@dataclass(frozen=True, kw_only=True)
class Staying(Method):
    """The policy stays as it is."""

    def iterate(self, run: Verbs) -> Model:
        """No work."""
        return run.previous


def test_a_component_made_in_python_needs_no_trust(place: Path) -> None:
    found = replace(recipe.read(place / "recipe.toml"), method=Staying())
    assert isinstance(found.method, Staying)


def test_trust_is_no_part_of_what_a_run_is(place: Path) -> None:
    run(place / "recipe.toml", place / "out")
    before = results(place / "out")
    heard = run(place / "recipe.toml", place / "out", trust="spying")
    assert heard.started_stages == []
    assert results(place / "out") == before


def test_the_kind_that_is_replaced_is_not_imported(place: Path) -> None:
    path = write_recipe(place / "theirs", "spin", loss={"kind": "spying:Loss", "beta": 3.0, "margin": 2})
    said: list[str] = []
    found = recipe.read(path, ["loss.kind=dpo"], said.append)
    assert found.loss == DPO()
    assert said == ["loss.kind=dpo drops settings of spying:Loss: beta, margin"]


def test_init_writes_a_recipe_for_a_method_that_is_trusted(place: Path) -> None:
    with pytest.raises(ValueError, match=r"method.kind = 'spying:Mine': would import"):
        write_new_recipe(place / "new", RecipeRequest(model="fake", seed="embedded", method="spying:Mine"))
    assert not imported(place)
    done = selfboost(
        "init", "new", "--model", "m/m", "--seed", "embedded", "--method", "spying:Mine", "--trust", "spying"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.strip() for line in done.stdout.splitlines()[-3:]] == [
        "selfboost check new/recipe.toml --trust spying",
        "selfboost try new/recipe.toml --trust spying",
        "selfboost run new/recipe.toml --into new/out --trust spying",
    ]


SHIPPED = [(role, kind, plugins.load(role, kind).__name__) for role in plugins.FOLDERS for kind in plugins.kinds(role)]


@pytest.mark.parametrize("place_of", [*plugins.FOLDERS, "benchmark.scorer"])
def test_a_component_of_another_role_is_one_sentence(place_of: str, tmp_path: Path) -> None:
    role, path = place_of.rpartition(".")[2], write_recipe(tmp_path)
    for other, kind, name in SHIPPED:
        dotted = f"selfboost.{plugins.FOLDERS[other]}.{kind}"
        for written in (f"{dotted}:{name}", f"{dotted}.{name}", *([] if kind in plugins.kinds(role) else [kind])):
            if other != role:
                with pytest.raises(ValueError, match=f"^{place_of}.kind = '{written}': (is not an? {role};|no such)"):
                    recipe.read(path, [f"{place_of}={{kind='{written}'}}"])


@pytest.mark.parametrize("role", plugins.FOLDERS)
def test_an_object_of_another_role_is_one_sentence(role: str, tmp_path: Path) -> None:
    whole = recipe.read(write_recipe(tmp_path))
    for other in plugins.FOLDERS:
        if other != role:
            with pytest.raises(ValueError, match=f"^{role}: {type(getattr(whole, other)).__name__} is not an? {role};"):
                replace(whole, **{role: getattr(whole, other)})


def test_a_part_with_the_function_of_a_role_is_no_component(tmp_path: Path) -> None:
    change = ["trainer={kind='selfboost.methods.parts.beta_search:BetaSearch'}"]
    with pytest.raises(ValueError, match="is not a trainer; it must also define finetune, logps, rewards"):
        recipe.read(write_recipe(tmp_path), change)


@pytest.mark.skipif(find_spec("trackio") is not None, reason="an installed library takes precedence anyway")
def test_a_file_of_the_working_directory_does_not_pass_for_an_optional_library(place: Path) -> None:
    (place / "spying.py").rename(place / "trackio.py")
    done = selfboost("run", "smoke", "--into", "out", "--set", "trainer.trackers=['trackio']")
    assert done.returncode == 2
    assert "needs trackio, which cannot be imported (No module named 'trackio')" in done.stderr
    assert not imported(place)


ENDPOINT = 'scorer.endpoint={{url = "http://{}:8000/v1", model = "m", key_variable = "AWS_SECRET_ACCESS_KEY"}}'


@pytest.mark.parametrize("host", ["api.example.com", "10.0.0.7", "localhost.example.com", "my-host", "[fe80::1]"])
def test_texts_and_keys_go_to_no_other_machine_without_trust(host: str, place: Path) -> None:
    changes = ["scorer.kind=api_judge", ENDPOINT.format(host)]
    name = f"server:{host.strip('[]')}"
    with pytest.raises(ValueError, match=f"scorer.endpoint.url: would send prompts, .* add --trust {re.escape(name)}"):
        recipe.read(write_recipe(place), changes)
    with pytest.raises(ValueError, match="have not trusted"):
        recipe.read(write_recipe(place), changes, trust=["server:other.example.com", "api.example.com"])
    assert host in recipe.read(write_recipe(place), changes, trust=name).scorer.endpoint.url  # type: ignore[attr-defined]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_a_server_of_this_machine_needs_no_trust(host: str, place: Path) -> None:
    assert recipe.read(write_recipe(place), ["scorer.kind=api_judge", ENDPOINT.format(host)])


def test_a_trusted_server_adds_no_folder_to_look_for_modules_in(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(sys.path)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["check", str(write_recipe(place)), "--trust", "server:api.example.com"])
    assert sys.path == before
