"""A visitor's own folder: runs, jobs, uploads, wordings and imported adapters, by checked names.

    <root>/workspace/                 locally; of a public page <root>/visitors/<hash of the token>/
        <run id>/                     the run store
        jobs/<job id>/                experiment.json, status.json, worker.log, report.*
        uploads/<digest>/             the file and upload.json
        wordings/<digest>.yaml        edited in the page, and <name>.versions.json
        marks/<digest>.json           answers called right or wrong
        imports/<hash>/               adapters trained elsewhere

Locally the folders that the batch command wrote below <root> are shown too.
"""

import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.atomic import explained
from workbench.errors import ConfigError, DamagedFile, StoreError, without_folders
from workbench.room import count_anew, ordinary_bytes, used_bytes
from workbench.runs.experiment import EXPERIMENT_FILE
from workbench.runs.store import BrokenRun, RunStore, StoredRun, sort_runs
from workbench.service.sharing import drop_link, link_key, linked_folder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,159}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")
VISITORS = "visitors"  # has a folder for each of them
_OWN = "workspace"
_VISIT_SECONDS = 3600.0  # one note for a visit


def checked_name(name: object, kind: str) -> str:
    """Return a name that is safe as one part of a path.

    Raises:
        StoreError: anything else, such as `../x`, an address, or a name with a slash.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
        shown = str(name)[:60]
        raise StoreError(
            f"{kind} {shown!r}: not a name of a {kind}. Names have letters, digits, '_', '-' and "
            "'.'; choose one from the list."
        )
    return name


def new_token() -> str:
    """Return a visitor's secret; whoever has it owns what was made with it."""
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Workspace:
    """What one visitor may see and change.

    Attributes:
        root: Folder of all runs of this installation.
        folder: The visitor's own.
        is_public: Other folders below the root are not the visitor's to see.
        may_begin: A visitor without a folder may get one.
    """

    root: Path
    folder: Path
    is_public: bool
    may_begin: bool = True

    @property
    def store(self) -> RunStore:
        """The visitor's own run store; locally it also finds what the batch command made."""
        if self.is_public:
            return RunStore(self.folder)
        folders = {path.parent for path in self.root.glob(f"*/{EXPERIMENT_FILE}")}
        # Runs on several bases lie beside the folders of their reports, which have the experiments.
        folders |= {path.parent.parent for path in self.root.glob(f"*/*/{EXPERIMENT_FILE}")}
        return RunStore(self.folder, also=sorted(folders - {self.folder}))

    @property
    def jobs(self) -> Path:
        """Folder of jobs."""
        return self.folder / "jobs"

    @property
    def uploads(self) -> Path:
        """Folder of uploaded data."""
        return self.folder / "uploads"

    @property
    def wordings(self) -> Path:
        """Folder of wordings edited in the page."""
        return self.folder / "wordings"

    @property
    def marks(self) -> Path:
        """Folder of answers that were called right or wrong."""
        return self.folder / "marks"

    @property
    def imports(self) -> Path:
        """Folder of adapters trained elsewhere."""
        return self.folder / "imports"

    def runs(self) -> list[StoredRun]:
        """Return the runs the visitor may see, oldest first; `broken_runs` has the others."""
        return self.all_runs()[0]

    def broken_runs(self) -> list[BrokenRun]:
        """Return the visitor's runs that cannot be read, by name, to be told of them."""
        return self.all_runs()[1]

    def all_runs(self) -> tuple[list[StoredRun], list[BrokenRun]]:
        """Return the runs the visitor may see, oldest first, and those that cannot be read."""
        readable: dict[str, StoredRun] = {}
        broken: list[BrokenRun] = []
        for run in self._everything():
            if not isinstance(run, BrokenRun):
                readable.setdefault(run.record.run_id, run)
            elif self.is_public:
                broken.append(replace(run, reason=without_folders(run.reason)))
            else:
                broken.append(run)
        return sort_runs([*readable.values(), *broken])

    def run(self, run_id: object) -> StoredRun:
        """Return one of the visitor's runs.

        Raises:
            StoreError: no such run, not the visitor's, or it cannot be read.
        """
        run = self._look(run_id)
        if isinstance(run, BrokenRun):
            raise DamagedFile(run.sentence)
        return run

    def delete_run(self, run_id: object) -> None:
        """Delete a run's folder, whether it can be read or not.

        Raises:
            StoreError: no such run, not the visitor's, or a process is working on it.
        """
        run = self._look(run_id)
        with explained(run.folder):
            try:
                if (run.folder / ".lock").is_dir():
                    shutil.rmtree(run.folder / ".lock")
                with FileLock(run.folder / ".lock", timeout=0):
                    drop_link(self.root, run.folder)
                    shutil.rmtree(run.folder)
                    count_anew()
            except Timeout as error:
                raise StoreError(
                    f"run '{run.folder.name}': is being made right now. Stop its job first."
                ) from error

    def share(self, run_id: object) -> str:
        """Return the key that lets a link show this run, and no other one, to somebody else.

        Raises:
            StoreError: no such run, or not the visitor's.
        """
        return link_key(self.root, self.run(run_id).folder)

    def stop_sharing(self, run_id: object) -> bool:
        """Take a run's link back; return whether there was one.

        Raises:
            StoreError: no such run, or not the visitor's.
        """
        return drop_link(self.root, self.run(run_id).folder)

    def delete_files(self) -> int:
        """Delete all but runs and jobs: uploads, wordings, marks and so on; return how much.

        Runs that were made on an upload keep their figures, and cannot be read on it any more.
        """
        before = self.stored_bytes()
        own = (self.uploads, self.wordings, self.marks, self.imports, self.folder / "readings")
        for folder in own:
            with explained(folder):
                if folder.is_dir():
                    shutil.rmtree(folder)
        count_anew()
        return before - self.stored_bytes()

    def experiments(self) -> list[Path]:
        """Return folders with an experiment: the visitor's jobs; locally all."""
        folders = [path.parent for path in self.jobs.glob(f"*/{EXPERIMENT_FILE}")]
        if not self.is_public:
            folders += [path.parent for path in self.root.glob(f"*/{EXPERIMENT_FILE}")]
        return folders

    def stored_bytes(self) -> int:
        """Return the disk space the visitor's folder takes."""
        return used_bytes(self.folder)

    def check_begin(self) -> None:
        """Refuse to begin a folder where too many were begun.

        Raises:
            ConfigError: says when to come again.
        """
        if not self.may_begin and not self.folder.exists():
            raise ConfigError(
                "visitor: too many new visitors have kept something here today, from your address "
                "or altogether. You can look and ask; come again tomorrow to keep something, or "
                "run the workbench on your own machine."
            )

    def check_space(self, most: int) -> None:
        """Refuse to keep more of a visitor who has `most` bytes already; one's own disk is free.

        Raises:
            ConfigError: says how much may be kept.
        """
        self.check_begin()
        if self.is_public and self.stored_bytes() > ordinary_bytes(most):
            raise ConfigError(
                f"space: your runs and files take more than {most // 1_000_000} MB. Delete some "
                "under Runs."
            )

    def _look(self, run_id: object) -> StoredRun | BrokenRun:
        """Return a run of the visitor's, or what is wrong with it.

        Raises:
            StoreError: no such run, or not the visitor's.
        """
        name = checked_name(run_id, "run")
        found = [RunStore(root).look(name) for root in self.store.roots]
        mine = [run for run in found if run is not None and self._may_see(run)]
        for run in (*(run for run in mine if isinstance(run, StoredRun)), *mine):
            return run
        raise StoreError(f"run '{name}': not found among your runs. Choose one from the list.")

    def _everything(self) -> Iterator[StoredRun | BrokenRun]:
        found = (run for root in self.store.roots for run in RunStore(root).everything())
        return (run for run in found if self._may_see(run))

    def _may_see(self, run: StoredRun | BrokenRun) -> bool:
        return not (self.is_public and _has_links(run.folder))


def open_workspace(root: Path, token: object, *, is_public: bool) -> Workspace:
    """Return a visitor's workspace; locally there is one for all.

    Raises:
        StoreError: no token, or not of the form this page gives out.
    """
    root = root.resolve()
    if not is_public:
        return Workspace(root, root / _OWN, is_public=False)
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise StoreError(
            "visitor: this public page needs the token it gave your browser (or any secret of 16 "
            "to 64 letters, digits, '_' and '-' for the programming interface). Reload the page."
        )
    name = hashlib.sha256(token.encode()).hexdigest()[:32]
    folder = root / VISITORS / name
    with suppress(OSError):  # nothing was made yet
        if time.time() - folder.stat().st_mtime > _VISIT_SECONDS:
            os.utime(folder)  # says when somebody was here last
    return Workspace(root, folder, is_public=True)


def workspace_of(job_folder: Path) -> Workspace:
    """Return the workspace a job's folder lies in."""
    folder = job_folder.parent.parent
    is_public = folder.name != _OWN
    return Workspace(folder.parent.parent if is_public else folder.parent, folder, is_public)


def shared_run(root: Path, run_id: object, key: object) -> StoredRun:
    """Return the run a shared link names: the copy of the visitor who made the link.

    Raises:
        StoreError: no such link; one answer, whatever it is that is not there.
    """
    folder = linked_folder(root, key)
    if folder is not None and folder.name == run_id and folder.parent.parent == root / VISITORS:
        with suppress(StoreError):
            return Workspace(root, folder.parent, is_public=True).run(run_id)
    raise StoreError(
        "link: opens no run. It was taken back, its run was deleted, or part of it is missing. Ask "
        "whoever sent it for a new one."
    )


def _has_links(folder: Path) -> bool:
    """Return whether a folder, or anything in it, is a link: it may lead out of the workspace."""
    return folder.is_symlink() or any(path.is_symlink() for path in folder.rglob("*"))
