"""`python -m selfboost` is the command `selfboost`."""

from __future__ import annotations

import os
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; an interruption while it is still being imported ends it in one sentence too."""
    try:
        from selfboost import cli

        cli.main()
    except KeyboardInterrupt:
        os.write(2, b"selfboost: interrupted\n")
        os._exit(130)


if __name__ == "__main__":
    main()
