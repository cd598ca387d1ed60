"""Where the real data and tiny real models lie that the project does not ship; tests that need them skip without."""

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("SELFBOOST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def real(path: str) -> Path:
    """A file or folder of the real data, or the test is skipped."""
    if not (DATA / path).exists():
        pytest.skip(f"no {path} under {DATA} (set SELFBOOST_DATA)")
    return DATA / path
