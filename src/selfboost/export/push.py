"""Sends an export to a repository of the Hugging Face hub: private unless asked otherwise, all files in one commit.

What is sent is the folder that `selfboost export` writes, made anew beside the run and removed afterwards.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selfboost.export import ExportRequest, export
from selfboost.extras import require
from selfboost.results.models import BEST

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
LONGEST = 300
"""Most characters of an error of the hub that are shown."""


@dataclass(frozen=True, kw_only=True)
class PushRequest:
    """What is sent, and where to."""

    root: Path
    to: str
    """The repository, as OWNER/NAME."""
    what: Literal["model", "adapter", "pairs"] = "model"
    iteration: str = BEST
    public: bool = False

    @property
    def kind(self) -> Literal["model", "dataset"]:
        """The hub's kind of repository."""
        return "dataset" if self.what == "pairs" else "model"

    @property
    def place(self) -> str:
        """Where it goes, in words."""
        return f"the {'public' if self.public else 'private'} {self.kind} repository {self.to}"


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What was sent to the hub, or would be."""

    place: str
    """Where to, in words."""
    files: Mapping[str, int]
    """File's name in the repository → its bytes."""
    commit: str
    """Its address; empty where nothing was sent."""


@contextmanager
def _exported(request: PushRequest) -> Generator[Path]:
    """The folder that is sent, while the block lasts.

    Raises:
        ValueError: the name is no repository's, or there is no such run or model.
    """
    if not REPOSITORY.fullmatch(request.to):
        raise ValueError(f"--to {request.to!r:.200}: must be OWNER/NAME, of letters, digits, '-', '_' and '.'")
    root = request.root.absolute()
    with tempfile.TemporaryDirectory(prefix=f".{root.name}.push-", dir=root.parent) as place:
        wanted = ExportRequest(root=root, to=Path(place) / "export", what=request.what, iteration=request.iteration)
        yield export(wanted)


def files_of(folder: Path) -> Mapping[str, int]:
    """File's name in the repository → its bytes."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}


def push(
    request: PushRequest, *, dry_run: bool = False, endpoint: str | None = None, token: str | None = None
) -> Pushed:
    """Send it; `dry_run` asks nobody and needs no key.

    `endpoint`, `token`: the hub's address and key; None: those of the user's own settings (`hf auth login`, HF_TOKEN).

    Raises:
        ValueError: the repository is public and that was not asked for, or the hub refuses; in one sentence.
    """
    with _exported(request) as folder:
        commit = "" if dry_run else _sent(request, folder, endpoint, token)
        return Pushed(place=request.place, files=files_of(folder), commit=commit)


def _sent(request: PushRequest, folder: Path, endpoint: str | None, token: str | None) -> str:
    """The address of the commit."""
    hub = require("huggingface_hub", extra="hub", setting="selfboost push")
    api = hub.HfApi(endpoint=endpoint, token=token)
    try:
        _make(hub, api, request)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pairs beside a model are meant
            sent = api.upload_folder(
                repo_id=request.to,
                repo_type=request.kind,
                folder_path=folder,
                commit_message=f"The {request.what} of a run of selfboost",
            )
    except _Refused as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # of the network, of the hub, of its library: all are about this repository
        said = str(error).strip().partition("\n")[0][:LONGEST]
        words = f"{request.to}: was not sent ({type(error).__name__}: {said})"
        raise ValueError(
            f"{words}; `hf auth login` or HF_TOKEN gives the key, which must be allowed to write"
        ) from error
    return str(sent.commit_url)


class _Refused(Exception):
    """We do not send there."""


def _make(hub: Any, api: Any, request: PushRequest) -> None:
    """The repository, made where there is none; one that is there must be as private as was asked for."""
    try:
        private = bool(api.repo_info(request.to, repo_type=request.kind).private)
    except hub.errors.RepositoryNotFoundError:
        api.create_repo(request.to, repo_type=request.kind, private=not request.public, exist_ok=True)
        return
    if not private and not request.public:
        raise _Refused(f"{request.to}: is public; give --public to send there, or choose another name")
