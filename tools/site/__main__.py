"""Builds the site: `python -m tools.site FOLDER`. Its pages are README, docs/, a reference of all settings, the Python
interface from its docstrings and the tour as a page; docs/README.md gives their order. A broken link ends the build.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools.site.pages import write_pages

ROOT = Path(__file__).parents[2]


def main(into: Path) -> int:
    """Build into a folder; Sphinx's exit status."""
    from sphinx.cmd.build import main as sphinx

    source = into.with_name(f"{into.name}-source")
    for folder in (into, source):
        shutil.rmtree(folder, ignore_errors=True)
    write_pages(ROOT, source)
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--fresh-env"]
    status = sphinx(
        [*options, "-c", str(Path(__file__).parent), "-d", str(source / ".doctrees"), str(source), str(into)]
    )
    print(f"{into}/index.html" if not status else f"The site has errors: {source} holds the pages that they name.")
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
