"""Builds the site in build/site: `python -m tools.site`. Its pages are README, docs/, a reference of all settings, the
Python interface from its docstrings and the tour as a page; docs/README.md gives their order. A broken link fails it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools.site.pages import write_pages

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Build it anew; Sphinx's exit status."""
    from sphinx.cmd.build import main as sphinx

    site, source = ROOT / "build" / "site", ROOT / "build" / "site-source"
    for folder in (site, source):
        shutil.rmtree(folder, ignore_errors=True)
    write_pages(ROOT, source)
    options = ["--fail-on-warning", "--keep-going", "--quiet", "-c", str(Path(__file__).parent)]
    status = sphinx([*options, "-d", str(source / ".doctrees"), str(source), str(site)])
    print(f"{site}/index.html" if not status else f"The site has errors; {source} holds the pages that they name.")
    return status


if __name__ == "__main__":
    sys.exit(main())
