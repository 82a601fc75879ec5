"""Which version of the workbench made a record: release, git commit, and changes since.

No deep-learning stack is needed.
"""

import os
import subprocess
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

import workbench

_SECONDS = 5.0  # the most that git may take for one answer; a record does not wait longer


class Provenance(BaseModel):
    """The code that made a record.

    Attributes:
        version: The project's version.
        commit: Commit of the git checkout that the package is part of; None where there is none.
        has_changes: Whether tracked files differ from the commit, or the package has files that
            git does not know; None where git does not say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    commit: str | None = None
    has_changes: bool | None = None

    @property
    def text(self) -> str:
        """What a reader needs to get the same code again."""
        if self.commit is None:
            return f"version {self.version}, commit unknown"
        changes = {True: ", with changes", False: "", None: ", changes unknown"}
        return f"version {self.version}, commit {self.commit[:12]}{changes[self.has_changes]}"


@cache
def provenance() -> Provenance:
    """Return the code of this process, asked for once."""
    return provenance_of(Path(workbench.__file__).parent)


def provenance_of(package: Path) -> Provenance:
    """Return what git says of a package's folder.

    A repository that only surrounds the package, such as the one of a project whose virtual
    environment it is installed in, says nothing about it and is passed over.
    """
    package = package.resolve()
    top = _git(package, "rev-parse", "--show-toplevel")
    initial = package / "__init__.py"
    is_own = (
        top is not None
        and Path(top.strip()).resolve() == package.parent
        and _git(package, "ls-files", "--error-unmatch", "--", initial.name) is not None
    )
    commit = _git(package, "rev-parse", "--verify", "HEAD") if is_own else None
    if commit is None:
        return Provenance(version=workbench.__version__)
    status = _git(package.parent, "status", "--porcelain", "--no-renames")
    changes = None if status is None else _has_changes(status, package.name)
    return Provenance(version=workbench.__version__, commit=commit.strip(), has_changes=changes)


def _has_changes(status: str, package: str) -> bool:
    """Return whether a line is about a tracked file, or an unknown one of the package."""
    lines = status.splitlines()
    return any(not line.startswith("??") or line[3:].startswith(f"{package}/") for line in lines)


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints about a folder; None if it is missing, refuses or takes too long."""
    # A hook that runs us names its own repository in these, which would go before the folder.
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    try:
        answer = subprocess.run(  # noqa: S603  arguments of our own, no shell
            ["git", "--no-optional-locks", *arguments],  # noqa: S607  wherever it is installed
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None
