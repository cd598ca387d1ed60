"""The embedded demo: a small made-up world, a tiny model that half masters it, and the scripts that make both."""

from __future__ import annotations

from pathlib import Path

EMBEDDED = "embedded"
"""As the path of a model, a seed or paragraphs: the ones that ship with selfboost."""
EMBEDDED_FILES = Path(__file__).parent / "assets"
EMBEDDED_MODEL = EMBEDDED_FILES / "model"
