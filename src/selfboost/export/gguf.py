"""A run's model as one file of llama.cpp's, written by llama.cpp's own converter and compared with what it came from.

The converter is a program of the user's, as is the server that answers from the file. A file whose answers differ is
not kept. Left out: files in several parts, and quantising beyond what the converter itself does.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selfboost.disk.files import open_to_read
from selfboost.endpoints.launching import end_of_log, filled, require_program
from selfboost.export import CARD, pair_counts, trained_model
from selfboost.export.agreement import Agreement, agreement_of
from selfboost.export.model_card import Exported, model_card
from selfboost.export.new_folder import new_folder
from selfboost.results import check_is_run
from selfboost.results.models import BEST
from selfboost.trust import LISTED, Trust, words_of
from selfboost.views.summary import summary

FILE = "model.gguf"
MAGIC = b"GGUF"
"""How llama.cpp's files begin."""
CONVERT, SERVE = "--gguf", "--llama-server"
CONVERT_ARGUMENTS = ("{path}", "--outfile", "{gguf}")
"""Of a converter that is named without arguments of its own."""
SERVE_ARGUMENTS = ("--model", "{gguf}", "--host", "127.0.0.1", "--port", "{port}")
"""Of a server that is named without."""
UNVERIFIED = f"Not verified: no samples of this file were compared with the model's. {SERVE} does that."


@dataclass(frozen=True, kw_only=True)
class GgufRequest:
    """Which model is converted, by what, and what compares the samples."""

    root: Path
    convert: str
    """The path of llama.cpp's convert_hf_to_gguf.py, or a command with {path} and {gguf} in it."""
    server: str = ""
    """llama.cpp's llama-server, or a command with {gguf} and {port} in it; empty: nothing is compared."""
    to: Path | None = None
    """The new folder; None: beside the run's, named after it."""
    iteration: str = BEST
    trust: Trust = LISTED
    """Must name both programs, and the model's own code if it has some: the converter runs it."""

    @property
    def target(self) -> Path:
        """The new folder."""
        root = self.root.absolute()
        return self.to or root.with_name(f"{root.name}-gguf")


@dataclass(frozen=True, kw_only=True)
class Gguf:
    """A file of llama.cpp's that was made."""

    file: Path
    agreement: Agreement | None
    """How its samples compare with the model's; None: not compared."""

    @property
    def sentence(self) -> str:
        """Whether it is verified, and by which figures."""
        return self.agreement.sentence if self.agreement else UNVERIFIED


def export_gguf(request: GgufRequest) -> Gguf:
    """Convert a run's model, compare its samples, and write file and card to a new folder.

    Raises:
        ValueError: there is no such run or model, the folder exists, a program is not trusted or fails, or the file's
            samples are not the model's; nothing is left of it then.
    """
    check_is_run(request.root)
    convert = _command(CONVERT, request.convert, CONVERT_ARGUMENTS)
    server = _command(SERVE, request.server, SERVE_ARGUMENTS) if request.server else []
    for setting, command, words in ((CONVERT, request.convert, convert), (SERVE, request.server, server)):
        if words:
            request.trust.require_command(setting, command)
            require_program(setting, words[0])
    model = trained_model(request.root, request.iteration)
    if _has_code(Path(model.path)):
        request.trust.require_remote_code(f"{CONVERT}: trust_remote_code")
    with new_folder(request.target) as fresh:
        _convert(convert, Path(model.path), fresh / FILE)
        agreement = agreement_of(model, fresh / FILE, server, SERVE) if server else None
        made = Gguf(file=request.target / FILE, agreement=agreement)
        story = Exported(model=model, run=summary(model.root), pairs=pair_counts(model.root), gguf=made.sentence)
        (fresh / CARD).write_text(model_card(story), encoding="utf-8")
    return made


def _command(setting: str, command: str, arguments: Sequence[str]) -> list[str]:
    """The words of a command; `arguments` are appended to one that names no file, and Python runs a script of its own.

    Raises:
        ValueError: it is no command, or only some of its places are named.
    """
    words = words_of(setting, command)
    places = [word for word in arguments if word.startswith("{")]
    missing = [place for place in places if not any(place in word for word in words)]
    if missing and len(missing) < len(places):
        raise ValueError(f"{setting} = {command!r}: has no {missing[0]}; name {' and '.join(places)}, or neither")
    python = [sys.executable] if words[0].endswith(".py") else []
    return [*python, *words, *(arguments if missing else ())]


def _convert(command: Sequence[str], model: Path, into: Path) -> None:
    """Run the converter.

    Raises:
        ValueError: it failed, or wrote no such file; quotes its last words.
    """
    words = [filled(word, {"path": str(model), "gguf": str(into)}) for word in command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise ValueError(
            f"{CONVERT}: the converter ended with code {done.returncode}: {end_of_log(done.stdout)}; llama.cpp has no "
            "form for every architecture and tokenizer: export without --gguf to keep the model as it is"
        )
    if not _is_gguf(into):
        raise ValueError(
            f"{CONVERT}: the converter wrote no GGUF file to the place given as {{gguf}}; its last words: "
            f"{end_of_log(done.stdout)}"
        )


def _is_gguf(file: Path) -> bool:
    if not file.is_file():
        return False
    with open_to_read(file) as opened:
        return opened.read(len(MAGIC)) == MAGIC


def _has_code(model: Path) -> bool:
    """Whether a model comes with Python code, here or on the hub: llama.cpp's converter would run it unasked."""
    configs = [model / name for name in ("config.json", "tokenizer_config.json")]
    named = any(b'"auto_map"' in file.read_bytes() for file in configs if file.is_file())
    return named or any(model.rglob("*.py"))
