"""Makes a release: `python -m tools.release VERSION [--dry-run]`. Sets the version and the day, builds and tries the
packages, writes the notes, commits and tags. It sends nothing: the commands that do are the last lines it prints.

Nothing is changed before the packages have been built and tried, in a copy.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from tools import packages

ROOT = Path(__file__).parents[1]
BRANCH = "main"
FORM = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
SECTION = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
OPEN = " (unreleased)"
"""What the heading of a section ends in until its version is released."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a release changes: the texts of two files, and its notes."""

    version: str
    project: str
    changelog: str
    notes: str

    @property
    def tag(self) -> str:
        """The tag of its commit."""
        return f"v{self.version}"

    @property
    def files(self) -> list[str]:
        """Its files under `dist/`: wheel, sdist, notes."""
        stem = f"selfboost-{self.version}"
        return [f"{stem}-py3-none-any.whl", f"{stem}.tar.gz", f"notes-{self.version}.md"]


def planned(root: Path, version: str, day: str) -> Release:
    """The release of a version, if everything is ready for it.

    Raises:
        ValueError: it is not; one sentence says what to do.
    """
    number = _number(version)
    _check_repository(root)
    _check_tags(root, version)
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    stated = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    if stated is None:
        raise ValueError('pyproject.toml: has no line `version = "X.Y.Z"`')
    if number < _number(stated[1]):
        raise ValueError(
            f"{version} is below {stated[1]}, the version in pyproject.toml; name that one or a higher one"
        )
    heading, notes = _top_section(changelog)
    return Release(
        version=version,
        project=project.replace(stated[0], f'version = "{version}"', 1),
        changelog=changelog.replace(f"## {heading}\n", f"## {version} ({day})\n", 1),
        notes=notes,
    )


def _number(version: str) -> tuple[int, ...]:
    if FORM.fullmatch(version) is None:
        raise ValueError(f"{version!r} is not a version; write three numbers, such as 0.2.0")
    return tuple(map(int, version.split(".")))


def _check_repository(root: Path) -> None:
    _git(root, "var", "GIT_COMMITTER_IDENT")  # which git refuses where it does not know who commits
    branch = _git(root, "branch", "--show-current")
    if branch != BRANCH:
        raise ValueError(f"this is {branch or 'no branch'}; releases are made on {BRANCH}: git switch {BRANCH}")
    if changes := _git(root, "status", "--porcelain").splitlines():
        raise ValueError(
            f"{len(changes)} files are not committed, such as {changes[0][3:]}; commit or stash them first"
        )


def _check_tags(root: Path, version: str) -> None:
    tags = [tag for tag in _git(root, "tag").split() if FORM.fullmatch(tag.removeprefix("v"))]
    if f"v{version}" in tags:
        raise ValueError(f"the tag v{version} exists: that version is released; choose the next one")
    last = max((_number(tag.removeprefix("v")) for tag in tags), default=(0, 0, 0))
    if _number(version) < last:
        shown = ".".join(map(str, last))
        raise ValueError(f"{version} is below {shown}, the last release; choose a version above it")


def _top_section(changelog: str) -> tuple[str, str]:
    """The heading of the section to release, and its text."""
    found = SECTION.search(changelog)
    if found is None or not found[1].endswith(OPEN):
        top = f"begins with `## {found[1]}`" if found else "has no section"
        raise ValueError(f"CHANGELOG.md {top}; write what is new under a heading `## X.Y.Z{OPEN}` at the top")
    if not found[2].strip():
        raise ValueError(f"CHANGELOG.md: the section `## {found[1]}` is empty; write what is new")
    return found[1], found[2].strip() + "\n"


def packed(root: Path, release: Release, scratch: Path) -> list[Path]:
    """Wheel, sdist and notes of a release in a folder, checked, and the wheel tried.

    Raises:
        ValueError: they are not what they should be.
    """
    trees = [packages.copied_tree(root, scratch / name) for name in ("tree", "again")]  # a build leaves files behind
    for tree in trees:
        (tree / "pyproject.toml").write_text(release.project, encoding="utf-8")
    made = [packages.build(kind, tree, scratch) for kind, tree in zip(("wheel", "sdist"), trees, strict=True)]
    packages.check(*made, release.version, scratch)
    packages.run_smoke(made[0], scratch)
    notes = scratch / release.files[-1]
    notes.write_text(release.notes, encoding="utf-8")
    assert [path.name for path in (*made, notes)] == release.files
    return [*made, notes]


def make(root: Path, release: Release) -> None:
    """Build, commit and tag.

    Raises:
        ValueError: the packages are not what they should be; nothing was changed.
    """
    with TemporaryDirectory() as scratch:
        made = packed(root, release, Path(scratch))
        (root / "dist").mkdir(exist_ok=True)
        for path in made:
            shutil.copy(path, root / "dist")
    (root / "pyproject.toml").write_text(release.project, encoding="utf-8")
    (root / "CHANGELOG.md").write_text(release.changelog, encoding="utf-8")
    _git(root, "commit", "--all", "--message", f"Version {release.version}")
    _git(root, "tag", "--annotate", release.tag, "--message", f"Version {release.version}")


def _summary(release: Release, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    lines = [
        f"{release.tag}: pyproject.toml and CHANGELOG.md {would}changed, committed and tagged.",
        f"In dist/ {would}written:",
        *(f"  {name}" for name in release.files),
        *([f"The notes:\n\n{release.notes}\nNothing was changed, built or tried."] if dry_run else []),
        "Nothing is sent by this command. To send a release:",
        f"  git push --atomic origin {BRANCH} {release.tag}",
        f"  python -m twine upload {' '.join(f'dist/{name}' for name in release.files[:2])}",
    ]
    return "\n".join(lines)


def _git(root: Path, *words: str) -> str:
    ran = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)
    if ran.returncode:
        raise ValueError(f"git {words[0]}: {ran.stderr.strip() or ran.stdout.strip()}")
    return ran.stdout.strip("\n")


def main(given: list[str], root: Path = ROOT) -> int:
    """Make or plan a release; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description="make a release")
    parser.add_argument("version", metavar="VERSION", help="such as 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="print what would happen and change nothing")
    arguments = parser.parse_args(given)
    try:
        release = planned(root, arguments.version, datetime.now(UTC).date().isoformat())
        if not arguments.dry_run:
            make(root, release)
    except ValueError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"release: {error}\n{error.stderr or ''}", file=sys.stderr)
        return 1
    print(_summary(release, arguments.dry_run))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
