"""What a recipe may name: shipped code and this machine always; other code, servers and programs only if trusted.

Trust comes from the command line, from Python, or from the user's own settings file; never from a recipe, a run's
folder or the working directory. Nothing is imported here.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

PACKAGE = "selfboost"
REMOTE_CODE = "remote-code"
"""The name that allows `trust_remote_code = true`: Python files of a checkpoint."""
SERVER = "server:"
"""Begins a name that allows requests to a host: `server:api.example.com`. This machine needs none."""
COMMAND = "command:"
"""Begins a name that allows a recipe to start a program, with any arguments: `command:vllm`."""
HOST = re.compile(r"[A-Za-z0-9_.:-]+")
HERE = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")
LONGEST_PROGRAM = 255
"""Characters of a program's name or path that a recipe may start."""
FILE = "trusted.toml"
FOLDER_VARIABLE = "SELFBOOST_CONFIG"
"""Environment variable that names the folder of the user's settings, if not the usual one."""


@dataclass(frozen=True)
class Trust:
    """Modules whose code a recipe may name, beside those of the user's settings file."""

    names: tuple[str, ...] = ()
    """A package covers its modules: `mine` stands for `mine.checks` too, but not for `mine2`."""

    def __post_init__(self) -> None:
        for name in self.names:
            _check_name(name, "--trust ")

    def require(self, setting: str, code: str) -> None:
        """Refuse code, `package.module:Name` or `package.module.Name`, of a module that is not trusted.

        Raises:
            ValueError: says what would be imported, which setting names it, and how to trust it.
        """
        module = module_of(code)
        if not is_module(module):
            raise ValueError(f"{setting} = {code!r}: names no module; write 'package.module:Name'")
        if module == PACKAGE or module.startswith(f"{PACKAGE}."):
            return
        if not any(_covers(name, module) for name in (*self.names, *listed())):
            raise ValueError(f"{setting} = {code!r}: would import the module {module!r}, {_untrusted(module)}")

    def require_remote_code(self, setting: str) -> None:
        """Refuse to run Python files of a checkpoint.

        Raises:
            ValueError: says which setting asks for it, and how to allow it.
        """
        if REMOTE_CODE not in (*self.names, *listed()):
            raise ValueError(f"{setting} = true: would run Python files of the model, {_untrusted(REMOTE_CODE)}")

    def require_server(self, setting: str, url: str) -> None:
        """Refuse to send anything to another machine that is not trusted; a URL without a host is left to its reader.

        Raises:
            ValueError: says what would be sent where, and how to allow it.
        """
        try:
            host = urlsplit(url).hostname
        except ValueError:
            return
        if host and not HERE.fullmatch(host) and SERVER + host not in (*self.names, *listed()):
            raise ValueError(f"{setting}: would send prompts, answers and a key to {host}, {_untrusted(SERVER + host)}")

    def require_command(self, setting: str, command: str) -> None:
        """Refuse to start a program that is not trusted.

        Raises:
            ValueError: quotes the command, and says how to allow it; or it is not a command.
        """
        program = words_of(setting, command)[0]
        if len(program) > LONGEST_PROGRAM:
            raise ValueError(
                f"{setting} = '{command[:40]}…': the program's name has {len(program):,} characters; allowed: at most "
                f"{LONGEST_PROGRAM}"
            )
        if COMMAND + program not in (*self.names, *listed()):
            line = command if len(command) <= LONGEST_PROGRAM else f"{command[:LONGEST_PROGRAM]}…"
            raise ValueError(f"{setting} = {line!r}: would start {program!r}, {_untrusted(COMMAND + program)}")


LISTED = Trust()
"""Nothing but what the user's settings file lists."""


def words_of(setting: str, command: str) -> list[str]:
    """The words of a command line, the program first; no shell reads it.

    Raises:
        ValueError: it has no words, or a quotation mark is not closed.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"{setting} = {command!r}: is not a command line ({error})") from error
    if not words:
        raise ValueError(f"{setting}: is empty; write a program and its arguments")
    return words


def trusting(names: str | Iterable[str]) -> Trust:
    """Trust in these modules and packages.

    Raises:
        ValueError: a name is not a module's.
    """
    return Trust((names,) if isinstance(names, str) else tuple(names))


def module_of(code: str) -> str:
    """The module of `package.module:Name` or `package.module.Name`."""
    module, colon, _ = code.partition(":")
    return module if colon else code.rpartition(".")[0]


def settings_file() -> Path | None:
    """The user's list of trusted modules; None where no home folder is known.

    Raises:
        ValueError: the environment variable does not name an absolute folder.
    """
    own = os.environ.get(FOLDER_VARIABLE, "")
    if own:
        if not Path(own).is_absolute():
            raise ValueError(f"{FOLDER_VARIABLE}={own}: must be an absolute path, the folder of {FILE}")
        return Path(own) / FILE
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    folder = base if base.is_absolute() else Path(os.path.expanduser("~")) / ".config"
    return folder / PACKAGE / FILE if folder.is_absolute() else None


def listed() -> tuple[str, ...]:
    """The names in the user's settings file.

    Raises:
        ValueError: the file cannot be read, or is not a list of names.
    """
    file = settings_file()
    if file is None or not file.exists():
        return ()
    try:
        table: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file}: cannot be read ({error})") from error
    names = table.get("trusted")
    if table.keys() != {"trusted"} or not isinstance(names, list):
        raise ValueError(f"{file}: must hold one list of modules and packages, such as trusted = ['mypackage']")
    for name in cast(list[object], names):
        _check_name(name, f"{file}: ")
    return tuple(cast(list[str], names))


def _covers(name: str, module: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def is_module(name: str) -> bool:
    """Whether a trusted name is that of a module or package."""
    return all(part.isidentifier() for part in name.split("."))


def _check_name(name: object, where: str) -> None:
    if not isinstance(name, str) or not _is_known(name):
        written = name if isinstance(name, str) else repr(name)
        raise ValueError(
            f"{where}{written}: not the name of a module or package; write it as in 'import mypackage.mine'"
        )


def _is_known(name: str) -> bool:
    """Whether a name is of a kind that can be trusted."""
    kind, colon, what = name.partition(":")
    if not colon:
        return name == REMOTE_CODE or is_module(name)
    if kind + colon == SERVER:
        return HOST.fullmatch(what) is not None
    return kind + colon == COMMAND and what.isprintable() and what == what.strip() != ""


def _untrusted(name: str) -> str:
    try:
        file = settings_file()
    except ValueError:
        file = None
    listing = f", or list {name!r} in {file}" if file else ""
    return (
        f"which you have not trusted; if you do, add --trust {shlex.quote(name)} (in Python: trust=[{name!r}]){listing}"
    )
