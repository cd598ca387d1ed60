"""A release is planned, refused in one sentence, and made: packages built and tried, the rest committed and tagged.

The slow tests build: the installed wheel runs `selfboost run smoke` in an empty environment, and nothing is downloaded.
"""

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from tools import packages, release

ROOT = Path(__file__).parents[2]
PROJECT = '[project]\nname = "selfboost"\nversion = "0.2.0"\nreadme = "README.md"\n'
CHANGELOG = "# Changelog\n\n## 0.3.0 (unreleased)\n\n- Faster.\n- Better.\n\n## 0.2.0 (2026-01-31)\n\n- Old.\n"
DAY = "2026-11-28"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def commit(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Change")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two files, on main, where 0.2.0 is released."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "A")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@example.org")
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "CHANGELOG.md").write_text(CHANGELOG)
    (folder / ".gitignore").write_text("dist/\n")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder)
    git(folder, "tag", "v0.2.0")
    return folder


def test_a_plan_has_the_version_the_day_and_the_notes(root: Path) -> None:
    found = release.planned(root, "0.3.0", DAY)
    assert found.project == PROJECT.replace("0.2.0", "0.3.0")
    assert found.changelog == CHANGELOG.replace("0.3.0 (unreleased)", f"0.3.0 ({DAY})")
    assert found.notes == "- Faster.\n- Better.\n"


def test_the_sections_version_gives_way_to_the_one_that_is_released(root: Path) -> None:
    assert f"## 1.0.0 ({DAY})\n" in release.planned(root, "1.0.0", DAY).changelog


def test_a_dry_run_says_what_would_happen_and_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = git(root, "rev-parse", "HEAD")
    assert release.main(["0.3.0", "--dry-run"], root) == 0
    said = capsys.readouterr().out
    assert "v0.3.0: pyproject.toml and CHANGELOG.md would be changed" in said
    assert "- Faster.\n- Better.\n" in said
    assert said.endswith(
        "  git push --atomic origin main v0.3.0\n"
        "  python -m twine upload dist/selfboost-0.3.0-py3-none-any.whl dist/selfboost-0.3.0.tar.gz\n"
    )
    assert (git(root, "rev-parse", "HEAD"), git(root, "tag"), git(root, "status", "--porcelain")) == (
        before,
        "v0.2.0",
        "",
    )
    assert not (root / "dist").exists()


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("0.3", "'0.3' is not a version; write three numbers, such as 0.2.0"),
        ("v0.3.0", "'v0.3.0' is not a version"),
        ("0.3.0rc1", "'0.3.0rc1' is not a version"),
        ("0.03.0", "'0.03.0' is not a version"),
        ("0.2.0", "the tag v0.2.0 exists: that version is released; choose the next one"),
        ("0.1.9", "0.1.9 is below 0.2.0, the last release; choose a version above it"),
    ],
)
def test_a_wrong_version_is_refused(root: Path, version: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        release.planned(root, version, DAY)


def test_a_version_below_the_projects_is_refused(root: Path) -> None:
    (root / "pyproject.toml").write_text(PROJECT.replace("0.2.0", "0.4.0"))
    commit(root)
    with pytest.raises(ValueError, match=r"0\.3\.0 is below 0\.4\.0, the version in pyproject\.toml"):
        release.planned(root, "0.3.0", DAY)


@pytest.mark.parametrize(
    ("changelog", "sentence"),
    [
        ("# Changelog\n", "CHANGELOG.md has no section; write what is new under a heading `## X.Y.Z (unreleased)`"),
        ("## 0.2.0 (2026-01-31)\n\n- Old.\n", "CHANGELOG.md begins with `## 0.2.0 (2026-01-31)`; write what is new"),
        ("## 0.3.0 (unreleased)\n\n## 0.2.0 (2026-01-31)\n", "the section `## 0.3.0 (unreleased)` is empty"),
    ],
)
def test_a_changelog_without_news_is_refused(root: Path, changelog: str, sentence: str) -> None:
    (root / "CHANGELOG.md").write_text(changelog)
    commit(root)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        release.planned(root, "0.3.0", DAY)


def test_a_tree_with_changes_and_another_branch_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "new.txt").write_text("x")
    assert release.main(["0.3.0"], root) == 1
    assert (
        capsys.readouterr().err == "release: 1 files are not committed, such as new.txt; commit or stash them first\n"
    )
    git(root, "switch", "--quiet", "--create", "other")
    with pytest.raises(ValueError, match="this is other; releases are made on main: git switch main"):
        release.planned(root, "0.3.0", DAY)


def test_the_changelogs_top_section_has_a_version_and_is_open_or_has_a_day() -> None:
    """Of this repository: a release was the last change, or the next one is being written."""
    heading = release.SECTION.search((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert heading is not None
    assert re.fullmatch(r"\d+\.\d+\.\d+ \((unreleased|\d{4}-\d\d-\d\d)\)", heading[1])


@pytest.mark.slow
def test_a_release_is_built_tried_committed_and_tagged(root: Path, tmp_path: Path) -> None:
    shutil.copytree(packages.copied_tree(ROOT, tmp_path / "tree"), root, dirs_exist_ok=True)
    commit(root)
    assert release.main(["9.9.9"], root) == 0
    assert git(root, "log", "--max-count=1", "--format=%s") == "Version 9.9.9"
    assert git(root, "rev-list", "--max-count=1", "v9.9.9") == git(root, "rev-parse", "HEAD")
    assert git(root, "status", "--porcelain") == ""
    assert git(root, "diff", "--name-only", "HEAD~1").split() == ["CHANGELOG.md", "pyproject.toml"]
    assert (root / "dist" / "notes-9.9.9.md").read_text() == "- Faster.\n- Better.\n"
    with zipfile.ZipFile(root / "dist" / "selfboost-9.9.9-py3-none-any.whl") as wheel:
        assert b"\nVersion: 9.9.9\n" in wheel.read("selfboost-9.9.9.dist-info/METADATA")


@pytest.mark.slow
def test_packages_that_are_wrong_leave_all_as_it_was(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("README.md", "LICENSE", "src/selfboost/__init__.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    commit(root)
    before = git(root, "rev-parse", "HEAD")
    assert release.main(["0.3.0"], root) == 1
    assert capsys.readouterr().err.startswith("release: selfboost-0.3.0-py3-none-any.whl: ")
    assert (git(root, "rev-parse", "HEAD"), git(root, "tag"), git(root, "status", "--porcelain")) == (
        before,
        "v0.2.0",
        "",
    )
    assert not (root / "dist").exists()
