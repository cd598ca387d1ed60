"""The embedded demo is rebuilt by one command: same seed, same bytes; and its texts are those that ship."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from selfboost.demo import EMBEDDED_FILES


def build(into: Path, *more: str) -> dict[str, bytes]:
    command = [sys.executable, "-m", "selfboost.demo.build", "--into", str(into), "--steps", "20", *more]
    subprocess.run(command, check=True, capture_output=True)
    return {str(path.relative_to(into)): path.read_bytes() for path in sorted(into.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_model(tmp_path: Path) -> None:
    first, again, other = build(tmp_path / "a"), build(tmp_path / "b"), build(tmp_path / "c", "--seed", "1")
    assert first == again
    assert [name for name in first if first[name] != other[name]] == ["model/model.safetensors"]
    shipped = {name: (EMBEDDED_FILES / name).read_bytes() for name in first if not name.endswith(".safetensors")}
    assert {name: unversioned(first[name]) for name in shipped} == {
        name: unversioned(shipped[name]) for name in shipped
    }


def unversioned(content: bytes) -> bytes:
    """A file's content without the release of transformers that wrote it."""
    return re.sub(rb'"transformers_version": "[\d.]+"', b"", content)
