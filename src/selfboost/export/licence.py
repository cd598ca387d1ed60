"""The licence of the base model, as its own card or configuration states it; nothing is downloaded or guessed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from selfboost.demo import EMBEDDED
from selfboost.disk.files import read_bytes
from selfboost.disk.json_files import read_json

NOT_STATED = "not stated"
FRONT = re.compile(r"\A---\s*\n(.*?)\n---", re.DOTALL)
FIELD = re.compile(r"^license:[ \t]*(?:\n[ \t]*-[ \t]*)?[\"']?([\w.+-]+)[\"']?[ \t]*$", re.MULTILINE)
LARGEST = 2**20
"""Most bytes of a card that is read."""


def licence_of(base: str) -> str:
    """The identifier that the base model's card (its front matter) or its config.json gives; else `not stated`."""
    for file in (_file(base, "README.md"), _file(base, "config.json")):
        if file is None or not file.is_file() or file.stat().st_size > LARGEST:
            continue
        found = _of_config(file) if file.suffix == ".json" else _of_card(file)
        if found:
            return found
    return NOT_STATED


def _file(base: str, name: str) -> Path | None:
    """A file of the base model: in its folder, or in the hub's cache."""
    if base == EMBEDDED or Path(base).is_dir():
        return Path(base) / name if base != EMBEDDED else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(base, name)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _of_card(file: Path) -> str:
    front = FRONT.match(read_bytes(file).decode(errors="replace").replace("\r\n", "\n"))
    found = FIELD.search(front[1]) if front else None
    return found[1] if found else ""


def _of_config(file: Path) -> str:
    try:
        held: Any = read_json(file)
    except ValueError:
        return ""
    stated = cast("dict[str, Any]", held).get("license") if isinstance(held, dict) else None
    return stated if isinstance(stated, str) and re.fullmatch(r"[\w.+-]+", stated) else ""
