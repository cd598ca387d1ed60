"""Standard output and error as a command may use them: nothing hostile, nothing that the terminal cannot show.

`guarded` puts these streams in the place of `sys.stdout` and `sys.stderr`, so that messages of libraries pass through
them too; `console` is the way for text with colours, of which our own code escapes every part by `visible`.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO, cast

from selfboost.views.visible import escaped, visible

if TYPE_CHECKING:
    from rich.console import Console

PLAIN = "selfboost.plain"
"""Name of the rule by which characters are written that a terminal's encoding lacks."""
LIKE = dict(zip(map(ord, "–—·×‖✓●○“”‘’━─╸╺\u00a0…≤≥"), [*"--*x|**o\"\"''---- ", "...", "<=", ">="], strict=True))
"""Characters of our own sentences and bars, and what stands for them in ASCII."""
GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO)
"""Nobody reads any more: a pipe, a terminal or a descriptor that was closed."""


class GuardedStream(io.TextIOBase):
    """A text stream whose reader may leave: what is written then is dropped."""

    def __init__(self, base: TextIO) -> None:
        self.base = base
        self.gone = False

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the stream itself."""
        return self.base.encoding or "utf-8"

    @property
    def errors(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How characters are written that the encoding lacks."""
        return PLAIN

    def write(self, text: str, /) -> int:
        """Write text as far as the encoding can, and the rest as ASCII."""
        if not self.gone:
            with self._reader_may_leave():
                self.base.write(text.encode(self.encoding, PLAIN).decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Hand over what was written."""
        if not self.gone:
            with self._reader_may_leave():
                self.base.flush()

    def isatty(self) -> bool:
        """Whether a terminal shows it."""
        return self.base.isatty()

    def fileno(self) -> int:
        """Of the stream itself."""
        return self.base.fileno()

    def writable(self) -> bool:
        """Always."""
        return True

    @contextmanager
    def _reader_may_leave(self) -> Generator[None, None, None]:
        try:
            yield
        except ValueError:
            if not self.base.closed:
                raise
            self.gone = True
        except OSError as error:
            if error.errno not in GONE:
                raise
            self.gone = True
            with suppress(OSError, ValueError):  # what is buffered must go somewhere when Python ends
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.base.fileno())
                os.close(null)


class Guarded(GuardedStream):
    """The same for everybody's text: characters that could act on a terminal are written as escapes.

    Carriage returns stay: progress bars of libraries live by them.
    """

    def write(self, text: str, /) -> int:
        """Write text, its hidden characters escaped."""
        super().write("\r".join(map(visible, text.split("\r"))))
        return len(text)


@contextmanager
def guarded() -> Generator[None, None, None]:
    """Guard standard output and error; what is closed is replaced by nothing, so that no file takes its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (Guarded(stream or open(os.devnull, "w")) for stream in before)  # noqa: SIM115
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # the command has said what it could
                stream.flush()
        sys.stdout, sys.stderr = before


def console(*, error: bool = False, width: int | None = None) -> Console:
    """A rich console on standard output or error that takes all text as it is: no markup, no emoji names."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    file = cast(TextIO, GuardedStream(stream.base) if isinstance(stream, GuardedStream) else stream)
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError), "only writing asks for it"
    lacking = error.object[error.start : error.end]
    return "".join(c if c.isascii() else escaped(c) for c in lacking.translate(LIKE)), error.end


codecs.register_error(PLAIN, _plainly)
