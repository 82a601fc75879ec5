"""Which code made a record: git is asked carefully, and only about the package's own checkout."""

import os
import subprocess
from pathlib import Path

import pytest

import workbench
from workbench.runs import provenance as module
from workbench.runs.provenance import Provenance, provenance, provenance_of

UNKNOWN = Provenance(version=workbench.__version__)


def git(folder: Path, *arguments: str) -> str:
    names = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    found = subprocess.run(
        ["git", *names, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def checkout_of(root: Path, package: str = "workbench") -> Path:
    """Return the package's folder in a fresh checkout with one commit."""
    folder = root / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (root / "README.md").write_text("a")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "first")
    return folder


def test_a_checkout_has_a_commit_and_says_what_changed(tmp_path):
    package = checkout_of(tmp_path)
    commit = git(tmp_path, "rev-parse", "HEAD")

    def has_changes() -> bool | None:
        found = provenance_of(package)
        assert (found.version, found.commit) == (workbench.__version__, commit)
        return found.has_changes

    assert has_changes() is False
    (tmp_path / "notes.txt").write_text("beside the package, unknown to git")
    assert has_changes() is False
    (package / "new.py").write_text("")
    assert has_changes() is True
    (package / "new.py").unlink()
    (tmp_path / "README.md").write_text("b")
    assert has_changes() is True


def test_a_repository_around_the_package_says_nothing_about_it(tmp_path):
    checkout_of(tmp_path, "theirs")
    installed = tmp_path / "venv" / "site-packages" / "workbench"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    beside = tmp_path / "workbench"
    beside.mkdir()
    (beside / "__init__.py").write_text("")

    assert provenance_of(installed) == UNKNOWN
    assert provenance_of(beside) == UNKNOWN
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "everything")
    assert provenance_of(installed) == UNKNOWN


def test_another_repository_named_by_a_hook_is_not_believed(tmp_path, monkeypatch):
    package = checkout_of(tmp_path / "ours")
    other = checkout_of(tmp_path / "other").parent
    expected = provenance_of(package)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))

    assert provenance_of(package) == expected


def test_a_checkout_without_a_commit_has_none(tmp_path):
    package = checkout_of(tmp_path)
    git(tmp_path, "update-ref", "-d", "HEAD")

    assert provenance_of(package) == UNKNOWN


def test_without_git_nothing_is_known(tmp_path, monkeypatch):
    package = checkout_of(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))

    assert provenance_of(package) == UNKNOWN


@pytest.mark.parametrize(
    ("slow", "expected"), [("rev-parse", (False, None)), ("status", (True, None))]
)
def test_a_git_that_hangs_is_given_up(tmp_path, monkeypatch, slow, expected):
    package = checkout_of(tmp_path / "ours")
    real = os.environ["PATH"]
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *{slow}*) exec sleep 60;; esac\nPATH="{real}" exec git "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{real}")
    monkeypatch.setattr(module, "_SECONDS", 1.0)

    found = provenance_of(package)

    assert (found.commit is not None, found.has_changes) == expected


def test_the_own_code_is_asked_about_once(monkeypatch):
    provenance.cache_clear()
    first = provenance()
    monkeypatch.setenv("PATH", "")

    assert provenance() is first
