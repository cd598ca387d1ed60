"""A GGUF file by a converter and a server of the user's: kept only where its samples are the model's."""

import json
import os
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_run import finished_run

from selfboost import cli
from selfboost.engines.fake import FILE as FAKE
from selfboost.export.agreement import Agreement
from selfboost.export.gguf import Gguf, GgufRequest, export_gguf
from selfboost.results.models import find_model
from selfboost.trust import trusting

PROGRAMS = Path(__file__).parents[1] / "gguf_programs.py"
START = shlex.join([sys.executable, str(PROGRAMS)])
CONVERT, SERVE = f"{START} convert {{path}} {{gguf}}", f"{START} serve {{gguf}} {{port}}"
TRUST = trusting(f"command:{sys.executable}")


@pytest.fixture(autouse=True)
def path_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


def request(to: Path, convert: str = CONVERT, server: str = "", root: Path | None = None) -> GgufRequest:
    return GgufRequest(root=root or finished_run(), to=to, convert=convert, server=server, trust=TRUST)


def test_a_file_with_the_models_own_samples_is_kept_with_its_figures(tmp_path: Path) -> None:
    made = export_gguf(request(tmp_path / "made", server=SERVE))
    assert made.file.read_bytes()[4:] == (Path(find_model(finished_run()).path) / FAKE).read_bytes()
    assert made.agreement is not None
    found = made.agreement
    assert (found.prompts, found.equal, found.apart, found.ends, found.chats) == (8, found.tokens, 0.0, 0, 8)
    card = (tmp_path / "made" / "README.md").read_text()
    assert f"{found.tokens:,} of {found.tokens:,} greedy tokens (100.0%) are the model's own" in card
    assert "library_name: llama.cpp" in card
    assert "pairs/README.md" not in card


def test_without_a_server_it_is_plainly_not_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", str(finished_run()), "--to", str(tmp_path / "made"), "--gguf", CONVERT]
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments, "--trust", f"command:{sys.executable}"])
    assert end.value.code == 0
    assert "Not verified: no samples of this file were compared" in capsys.readouterr().out
    assert "Not verified: no samples" in (tmp_path / "made" / "README.md").read_text()


@pytest.mark.parametrize(
    ("convert", "server", "words"),
    [
        (f"{CONVERT} other", SERVE, "does not answer as the model does, and is not kept: "),
        (f"{CONVERT} unknown", "", r"code 1: loading \| NotImplementedError: BPE pre-tokenizer was not recognized"),
        (f"{CONVERT} nothing", "", "wrote no GGUF file to the place given as {gguf}"),
        (CONVERT, f"{START} serve {{gguf}} no-port {{port}}", "--llama-server started ended with code 1; .*no-port"),
        (f"{START} convert {{path}}", "", r"has no \{gguf\}; name \{path\} and \{gguf\}, or neither"),
        ("no-such-converter", "", "would start 'no-such-converter', which you have not trusted"),
        (CONVERT, "llama-server", "would start 'llama-server', which you have not trusted"),
        ("'", "", "is not a command line"),
    ],
)  # fmt: skip
def test_what_fails_is_said_and_nothing_is_left(tmp_path: Path, convert: str, server: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        export_gguf(request(tmp_path / "made", convert, server))
    assert not list(tmp_path.iterdir())


def test_a_script_is_run_by_this_python_with_the_converters_usual_arguments(tmp_path: Path) -> None:
    script = tmp_path / "convert.py"
    script.write_text(
        "import sys, pathlib; pathlib.Path(sys.argv[3]).write_bytes(('GGUF' + ' '.join(sys.argv)).encode())"
    )
    wanted = replace(request(tmp_path / "made", str(script)), trust=trusting(f"command:{script}"))
    words = export_gguf(wanted).file.read_bytes().decode().split()
    assert (words[1], words[2], Path(words[3]).name) == (find_model(finished_run()).path, "--outfile", "model.gguf")
    with pytest.raises(ValueError, match="there is no program 'no-such-converter' on this machine"):
        export_gguf(replace(wanted, convert="no-such-converter", trust=trusting("command:no-such-converter")))


def test_code_of_a_model_is_not_run_unasked(tmp_path: Path) -> None:
    """llama.cpp's converter loads tokenizers with their own code."""
    root = tmp_path / "run"
    shutil.copytree(finished_run(), root)
    model = Path(find_model(root).path)
    (model / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": "owner/name--x.X"}}))
    with pytest.raises(ValueError, match="trust_remote_code = true: would run Python files of the model"):
        export_gguf(request(tmp_path / "made", root=root))
    trusted = trusting([f"command:{sys.executable}", "remote-code"])
    assert export_gguf(replace(request(tmp_path / "made", root=root), trust=trusted)).file.is_file()


def test_two_exports_at_once_and_a_server_without_a_converter_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in {
        ("--gguf", "x", "--pairs"): "--pairs --gguf: give one of them",
        ("--llama-server", "x"): "give --gguf, the converter, too",
        ("--gguf", "x", "--iteration", "0"): "would start 'x'",
    }.items():
        with pytest.raises(SystemExit):
            cli.main(["export", str(finished_run()), "--to", str(tmp_path / "made"), *arguments])
        assert words in capsys.readouterr().err


def agreement(**changes: float) -> Agreement:
    same = Agreement(prompts=2, left_out=0, tokens=9, equal=9, apart=0.001, most_apart=0.1, ends=0, chats=2)
    return replace(same, **changes)  # pyright: ignore[reportArgumentType]


def test_the_verdict_is_of_log_probabilities_and_ends(tmp_path: Path) -> None:
    assert not agreement(equal=3).objection  # near ties part, and what follows is another text
    assert "differ by 0.06 nats per token, more than 0.05" in agreement(apart=0.06).objection
    assert agreement(apart=float("nan")).objection
    assert agreement(ends=1).objection == "1 of 2 answers end elsewhere"
    assert Gguf(file=tmp_path, agreement=agreement(chats=1, left_out=1)).sentence.endswith(
        "the run's token ids for 1 of 3; sent as a conversation, the others are other prompts than in the run."
    )
