"""The command line: instant help, one sentence for what is wrong, nothing overwritten."""

import json
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from fake_recipes import write_recipe
from selfboost import cli, plugins, recipe
from selfboost.demo import EMBEDDED_MODEL

COMMANDS = ("init", "new", "check", "run", "show", "report", "inspect", "list")
HEAVY = {"torch", "transformers", "scipy", "numpy", "pyarrow", "pydantic", "rich"}
SMALL = {"run": {"iterations": 1}, "benchmark": {"samples": 1, "greedy": False}}


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """A command's exit code, what it wrote and what it said."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    written = capsys.readouterr()
    return int(end.value.code or 0), written.out, written.err


def sentence(said: str) -> str:
    """The one line on standard error, without a traceback."""
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("selfboost: ")]
    return line


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, written, _ = call(capsys, name, "--help")
    assert code == 0
    assert f"usage: selfboost {name}" in written


def test_no_command_shows_the_help_with_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, written, error = call(capsys)
    assert (code, error) == (0, "")
    assert written == call(capsys, "--help")[1]
    assert all(f"\n    {name} " in written for name in COMMANDS)


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version")[:2] == (0, f"selfboost {version('selfboost')}\n")


def test_help_is_instant_and_loads_no_library() -> None:
    program = "import sys; from selfboost import cli\ntry: cli.main(['run', '--help'])\nfinally: print(*sys.modules)"
    times: list[float] = []
    for _ in range(3):  # the best of three: the machine may be busy
        start = time.monotonic()
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        times.append(time.monotonic() - start)
        assert done.returncode == 0
        assert not HEAVY & set(done.stdout.split())
    assert min(times) < 1


def test_a_recipe_is_read_without_torch(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "spin", engine={"kind": "local"}, trainer={"kind": "local"})
    program = f"import sys; from selfboost import recipe; from pathlib import Path; recipe.read(Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", f"{program}; print(*sys.modules)"], capture_output=True, text=True)
    assert not {"torch", "transformers", "scipy"} & set(done.stdout.split()), done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "invalid choice: 'rnu'"),
        (["run", "demo"], "the following arguments are required: --into"),
        (["inspect", "here", "model", "x"], "invalid choice: 'model'"),
    ],
)
def test_wrong_arguments_show_the_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    code, written, error = call(capsys, *arguments)
    assert code == 2
    assert written == ""
    assert said in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "method", "torch", "--to", "DIR"], "'torch': already the name of a module"),
        (["run", "nowhere", "--into", "DIR"], "'nowhere': no such recipe; give a .toml file, or one of: "),
        (["run", "nowhere.toml", "--into", "DIR"], "nowhere.toml: no such recipe file"),
        (["check", "RECIPE", "--set", "loss.bta=2"], "loss.bta: no such setting (did you mean 'beta'?)"),
        (["check", "RECIPE", "--set", "loss"], "--set loss: write section.key=value"),
        (["check", "RECIPE", "--set", "method.kind=magic"], "method.kind = 'magic': no such method"),
        (["check", "RECIPE", "--set", "model.path=/no/where"], "'/no/where' is not a fake model"),
        (["check", "RECIPE", "--set", "seed.path=none.jsonl"], "none.jsonl: no such file or folder"),
        (["check", "RECIPE", "--set", "seed.held_out=50"], "the seed has 18 prompts: too few"),
        (["check", "RECIPE", "--set", "run.iterations=0"], "run.iterations = 0: must be a whole number from 1 to"),
        (["show", "DIR"], "DIR"),
        (["report", "DIR"], "DIR"),
        (["inspect", "DIR", "pair", "pair-0"], "DIR"),
        (["init", "DIR", "--model", "m", "--seed", "none.jsonl"], "--seed none.jsonl: no such file or folder"),
        (["init", "DIR", "--model", "m", "--seed", "embedded", "--method", "magic"], "no such method"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    places = {"DIR": tmp_path / "absent", "RECIPE": write_recipe(tmp_path, "spin", **SMALL)}
    code, _, error = call(capsys, *(places.get(argument, argument) for argument in arguments))
    assert code == 2
    assert said.replace("DIR", str(tmp_path / "absent")) in sentence(error)
    assert not (tmp_path / "absent").exists(), "a mistake leaves nothing behind"


def test_list_names_every_component_and_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    code, written, _ = call(capsys, "list")
    assert code == 0
    squeezed = " ".join(written.split())  # however wide the columns are
    for role in plugins.FOLDERS:
        for kind, words in plugins.kinds(role).items():
            assert f" {kind} {words}" in squeezed
    assert all(f"  {name} " in written for name in recipe.shipped())


@pytest.mark.parametrize("width", [60, 80, 200])
def test_list_is_as_wide_as_the_terminal_and_tells_whole_sentences(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = call(capsys, "list")[1].splitlines()
    assert max(map(len, lines)) <= width
    written = " ".join(" ".join(lines).split())
    for name, path in recipe.shipped().items():
        comment = path.read_text(encoding="utf-8").partition("\n\n")[0].partition("\n#\n")[0]
        told = re.search(rf" {re.escape(name)} (.*?[.!?])(?= |$)", written)
        assert told is not None
        assert " ".join(comment.replace("#", " ").split()).startswith(told[1])


@pytest.mark.parametrize("name", ["run", "check"])
def test_help_says_that_settings_may_be_repeated(capsys: pytest.CaptureFixture[str], name: str) -> None:
    _, written, _ = call(capsys, name, "--help")
    assert "may be repeated" in " ".join(written.split())


@pytest.mark.parametrize("method", sorted(plugins.kinds("method")))
def test_check_prints_every_stage_that_will_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, method: str
) -> None:
    path = write_recipe(tmp_path, method, **SMALL)
    before = sorted(tmp_path.rglob("*"))
    code, written, error = call(capsys, "check", path, "--stages")
    assert (code, error) == (0, "")
    assert "The recipe is valid." in written
    assert sorted(tmp_path.rglob("*")) == before
    code, *_ = call(capsys, "run", path, "--into", tmp_path / "run")
    assert code == 0
    made = {
        str(card.parent.relative_to(tmp_path / "run" / "stages")) for card in (tmp_path / "run").rglob("stage.json")
    }
    assert made <= set(written.split())


def test_run_show_report_and_inspect_tell_of_the_same_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = tmp_path / "run"
    code, written, _ = call(capsys, "run", write_recipe(tmp_path, "spin", **SMALL), "--into", root)
    assert code == 0
    assert str(root / "report.html") in written
    code, written, _ = call(capsys, "show", root, "--json")
    found: dict[str, Any] = json.loads(written)
    assert {"recipe", "seconds", "peak_memory_bytes", "iterations"} <= found.keys()
    assert [i["decision"] for i in found["iterations"]] == ["initial", "promoted"]
    for iteration in found["iterations"]:
        assert {"iteration", "policy", "decision", "pairs", "measures", "stages"} <= iteration.keys()
        for measure in iteration["measures"].values():
            assert {"value", "low", "high", "gain", "gain_low", "gain_high"} <= measure.keys()
        for stage in iteration["stages"]:
            assert {"name", "rows", "seconds", "tokens", "fingerprint", "file"} <= stage.keys()
            assert (root / stage["file"]).exists()
    assert call(capsys, "show", root)[0] == 0
    assert call(capsys, "report", root)[0] == 0
    pairs = (root / "stages/iteration-1/policy/records.jsonl").read_text().splitlines()
    answer = json.loads(pairs[0])["chosen"]["text"]
    from selfboost.records import Pair
    from selfboost.store import read_card, read_rows

    card = read_card(root / "stages/iteration-1/policy")
    assert card is not None
    identity = read_rows(root, card, Pair)[0].id
    code, written, _ = call(capsys, "inspect", root, "pair", identity)
    assert code == 0
    assert answer in written
    code, _, error = call(capsys, "inspect", root, "pair", "pair-none")
    assert code == 2
    assert "pair-none" in sentence(error)


@pytest.mark.skipif(not (EMBEDDED_MODEL / "model.safetensors").exists(), reason="the embedded model is not built here")
@pytest.mark.parametrize("method", sorted(plugins.kinds("method")))
def test_init_writes_a_recipe_that_check_accepts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, method: str
) -> None:
    arguments = ("init", tmp_path / "new", "--model", "embedded", "--seed", "embedded", "--method", method)
    code, said, _ = call(capsys, *arguments)
    assert code == 0
    path = tmp_path / "new" / "recipe.toml"
    assert [line.split() for line in said.splitlines() if line.startswith("  ")] == [
        ["selfboost", "check", str(path)],
        ["selfboost", "try", str(path)],
        ["selfboost", "run", str(path), "--into", str(path.parent / "out")],
    ]
    written = recipe.read(path)
    if method in ("spin", "dnpo"):  # the optimiser of its paper, not SynPO's
        assert (written.training.optimizer, written.training.schedule) == ("rmsprop", "linear")
    changes = [f"seed.{name}=20" for name in ("limit", "validation", "held_out")]
    if method == "manual_data":
        (tmp_path / "pairs.jsonl").write_text('{"prompt": "Why?", "chosen": "So.", "rejected": "No."}\n')
        changes += [f"method.data={tmp_path / 'pairs.jsonl'}"]
    given = [word for change in changes for word in ("--set", change)]
    code, written, error = call(capsys, "check", path, "--no-probe", *given)
    assert (code, error) == (0, "")
    assert "The recipe is valid" in written


@pytest.mark.parametrize(("typed", "meant"), [("rnu", "run"), ("chek", "check"), ("insp", "inspect"), ("Show", "show")])
def test_a_mistyped_command_is_guessed(capsys: pytest.CaptureFixture[str], typed: str, meant: str) -> None:
    code, _, error = call(capsys, typed)
    assert code == 2
    assert f"invalid choice: '{typed}' (did you mean '{meant}'?)" in error


def test_init_never_overwrites(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ("init", tmp_path, "--model", "embedded", "--seed", "embedded", "--method", "spin")
    assert call(capsys, *arguments)[0] == 0
    mine = (tmp_path / "recipe.toml").read_text() + "# mine\n"
    (tmp_path / "recipe.toml").write_text(mine)
    code, _, error = call(capsys, *arguments)
    assert code == 2
    assert "already exists" in sentence(error)
    assert (tmp_path / "recipe.toml").read_text() == mine


def test_a_run_does_not_replace_a_recipe_that_no_run_wrote(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "own", "spin", **SMALL)
    mine = path.read_text()
    code, _, error = call(capsys, "run", path, "--into", path.parent)
    assert code == 2
    assert sentence(error).endswith(f"choose another folder, such as --into {path.parent / 'out'}")
    assert path.read_text() == mine
    assert sorted(each.name for each in path.parent.iterdir()) == ["manual.jsonl", "recipe.toml", "seed.jsonl"]
    out = path.parent / "out"
    assert call(capsys, "run", path, "--into", out)[0] == 0
    assert call(capsys, "run", out / "recipe.toml", "--into", out)[0] == 0, "what a run wrote, a run may replace"
    (out / "recipe.toml").write_text(mine)  # over the run's own
    code, _, error = call(capsys, "run", path, "--into", out)
    assert code == 2
    assert sentence(error).endswith("move it away to resume the run in this folder, or choose another folder")
    assert (out / "recipe.toml").read_text() == mine


def test_another_kind_on_the_command_line_says_what_it_drops(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_recipe(tmp_path, **SMALL)
    code, written, error = call(capsys, "check", path, "--set", "method.kind=spin", "--set", "loss.kind=dpo")
    assert (code, error) == (0, "method.kind=spin drops settings of synpo: prompts, pairs\n")
    assert "own-answers" in written


def test_python_dash_m_does_the_same() -> None:
    done = subprocess.run([sys.executable, "-m", "selfboost", "list"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "synpo" in done.stdout
    wrong = subprocess.run([sys.executable, "-m", "selfboost", "show", "/no/where"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert sentence(wrong.stderr)
