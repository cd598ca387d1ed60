"""Each page for authors of components does what it says: its files pass the checks of the source, its commands run.

A python or toml block belongs to the file that the line above it names (`name.py`:). Blocks of commands are run as they
are written, in a folder that holds the page's files.
"""

import importlib
import io
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import pytest
from pydantic import TypeAdapter

from selfboost import cli, plugins, recipe
from selfboost.data.seeds import read_seeds
from selfboost.demo import EMBEDDED_FILES, EMBEDDED_MODEL
from selfboost.records import Pair
from selfboost.trust import trusting

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
README = ROOT / "README.md"
STAND_INS = {
    "model.path": "fake",
    "engine.kind": "fake",
    "trainer.kind": "fake",
    "run.iterations": "1",
    "method.prompts": "24",
    "method.pairs": "6",
    "benchmark.samples": "1",
}
"""With these a recipe for a real model runs here, in no time."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    file: str
    """The file that the line above names, or nothing."""


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page, in order."""
    for found in re.finditer(r"([^\n]*)\n\n```(\w*)\n(.*?)```", page.read_text(), re.DOTALL):
        named = re.search(r"`([\w.]+\.(?:py|toml))`:$", found[1])
        yield Block(language=found[2], text=found[3], file=named[1] if named else "")


def commands(text: str) -> list[list[str]]:
    """The commands of a block, one a line, without comments and brackets around what may be left out."""
    lines = (shlex.split(line, comments=True) for line in text.splitlines())
    return [[word.strip("[]") for word in line] for line in lines if line]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # another test's
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def save(block: Block, folder: Path) -> None:
    (folder / block.file).write_text(block.text)
    sys.modules.pop(Path(block.file).stem, None)
    importlib.invalidate_caches()


def selfboost(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command writes."""
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    written = capsys.readouterr()
    assert end.value.code == 0, f"selfboost {' '.join(arguments)}: {written.err}"
    importlib.invalidate_caches()
    return written.out


def test_there_is_a_guide_for_each_kind_of_component() -> None:
    assert {page.stem for page in GUIDES} == set(plugins.FOLDERS)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_guides_commands_run_as_they_are_written(
    page: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    for block in blocks(page):
        if block.file:
            save(block, workplace)
        for program, *arguments in commands(block.text) if block.language == "sh" else ():
            ran.append(" ".join(arguments[:2]))
            if program == "selfboost":
                selfboost(arguments, capsys)
            else:
                assert (program, arguments[:2]) == ("python", ["-m", "pytest"])
                done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
                assert done.returncode == 0, done.stdout
    assert {f"new {page.stem}", "-m pytest"} <= set(ran), "a starter, and a test"
    assert sum(command.startswith("run") for command in ran) >= 2


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_an_excerpt_of_a_recipe_fits_into_a_recipe(page: Path, workplace: Path) -> None:
    files = [block for block in blocks(page) if block.file]
    for block in files:
        save(block, workplace)
    sys.path.append(str(workplace))
    for excerpt in (block.text for block in blocks(page) if block.language == "toml" and not block.file):
        whole = tomllib.loads(recipe.find("smoke").read_text()) | tomllib.loads(excerpt)
        assert recipe.build(recipe.Recipe, whole, trust=trusting([Path(block.file).stem for block in files]))


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_is_no_longer_than_it_must_be_and_names_common_mistakes(page: Path) -> None:
    text = page.read_text()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert len(prose.split()) < 900
    (mistakes,) = re.findall(r"^## Common mistakes\n(.*?)\n\n(?!-)", text, re.DOTALL | re.MULTILINE)
    assert mistakes.count("\n- **") >= 4


@pytest.fixture(scope="module")
def all_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Python files of all pages."""
    folder = tmp_path_factory.mktemp("pages")
    for block in (block for page in [README, *GUIDES] for block in blocks(page)):
        if block.language == "python":
            assert block.file, f"a file's name is missing above: {block.text[:40]}"
            assert not (folder / block.file).exists(), f"{block.file} is on two pages"
            (folder / block.file).write_text(block.text)
    return folder


def test_the_files_pass_ruff_as_the_source_does(all_files: Path) -> None:
    pytest.importorskip("ruff", reason="the extra `dev` is not installed")
    source = f"src = [{str(all_files)!r}, {str(ROOT / 'src')!r}]"
    for command in (["check", "--config", source], ["format", "--check"]):
        call = [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
        done = subprocess.run([*call, str(all_files)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_pass_pyright_as_the_source_does(all_files: Path) -> None:
    pytest.importorskip("pyright", reason="the extra `dev` is not installed")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]
    assert settings["typeCheckingMode"] == "strict"
    here = {"include": ["."], "extraPaths": [str(ROOT / "src")]}
    kept = {name: value for name, value in settings.items() if name not in ("venv", "venvPath")}
    (all_files / "pyrightconfig.json").write_text(json.dumps(kept | here))
    call = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--project", str(all_files)]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "0 errors" in done.stdout


def view(arguments: list[str]) -> None:
    """Start the live page, load it, and end it by Ctrl-C."""
    if find_spec("uvicorn") is None:  # the extra `live` is not installed
        return
    call = [sys.executable, "-m", "selfboost", "view", *arguments, "--port=0"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[0]
        with urlopen(url, timeout=10) as page:
            assert b"selfboost" in page.read()
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 0


def test_the_readmes_commands_run_on_stand_ins(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n"))
    seeds, _ = read_seeds(EMBEDDED_FILES / "seed.jsonl")
    rows = [{"prompt": seed.messages[-1].content, "response": seed.response} for seed in seeds]
    (workplace / "my-seed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workplace / "judgments.jsonl").write_text('{"generator_2": "mine", "preference": 2}\n')
    question = {"query": "Question: what is 3 and 4 ?", "choices": ["7", "8"], "gold": 0}
    (workplace / "arc.jsonl").write_text(json.dumps(question) + "\n")
    shutil.copytree(EMBEDDED_MODEL, workplace / "my-model")
    (listed,) = [block.text for block in blocks(README) if "selfboost init" in block.text]
    pairs = workplace / "my-run/out/stages/iteration-1/policy/records.jsonl"
    for program, name, *arguments in commands(listed):
        assert program == "selfboost"
        if "harness" in arguments and find_spec("lm_eval") is None:  # the extra `eval` is not installed
            continue
        if "ID" in arguments:
            first = TypeAdapter(Pair).validate_json(pairs.read_text().splitlines()[0])
            arguments[arguments.index("ID")] = first.id
        if name == "view":
            view(arguments)
            continue
        if name == "compare":
            shutil.copytree(workplace / "my-run", workplace / "other-run")
        changes = [f"--set={key}={value}" for key, value in STAND_INS.items()] if name in ("try", "run") else []
        selfboost([name, *arguments, *changes], capsys)
    assert (workplace / "my-run" / "out" / "report.html").exists()
    assert (workplace / "mine.toml").exists()
