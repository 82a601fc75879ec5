"""A visitor's own folder: runs, jobs, uploads, wordings and imported adapters, by checked names.

    <root>/workspace/                 locally; of a public page <root>/visitors/<hash of the token>/
        <run id>/                     the run store
        jobs/<job id>/                experiment.json, status.json, worker.log, report.*
        uploads/<digest>/             the file and upload.json
        wordings/<digest>.yaml        edited in the page
        imports/<hash>/               adapters trained elsewhere

Locally the folders that the batch command wrote below <root> are shown too.
"""

import hashlib
import hmac
import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.atomic import explained
from workbench.errors import ConfigError, StoreError
from workbench.room import count_anew, ordinary_bytes, used_bytes
from workbench.runs.experiment import EXPERIMENT_FILE
from workbench.runs.store import RunStore, StoredRun

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,159}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")
_KEY_FILE = ".share-secret"
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
    """

    root: Path
    folder: Path
    is_public: bool

    @property
    def store(self) -> RunStore:
        """The visitor's own run store; locally it also finds what the batch command made."""
        if self.is_public:
            return RunStore(self.folder)
        folders = sorted({path.parent for path in self.root.glob(f"*/{EXPERIMENT_FILE}")})
        return RunStore(self.folder, also=folders)

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
    def imports(self) -> Path:
        """Folder of adapters trained elsewhere."""
        return self.folder / "imports"

    def runs(self) -> list[StoredRun]:
        """Return the runs the visitor may see, oldest first; unreadable folders are passed over."""
        found: dict[str, StoredRun] = {}
        for root in self.store.roots:
            for path in root.glob("*/record.json"):
                with suppress(StoreError):
                    run = self._run_in(root, path.parent.name)
                    if run is not None:
                        found.setdefault(run.record.run_id, run)
        return sorted(found.values(), key=lambda run: run.record.started)

    def run(self, run_id: object) -> StoredRun:
        """Return one of the visitor's runs.

        Raises:
            StoreError: no such run, or not the visitor's.
        """
        name = checked_name(run_id, "run")
        for root in self.store.roots:
            run = self._run_in(root, name)
            if run is not None:
                return run
        raise StoreError(f"run '{name}': not found among your runs. Choose one from the list.")

    def delete_run(self, run_id: object) -> None:
        """Delete a run's folder.

        Raises:
            StoreError: no such run, not the visitor's, or a process is working on it.
        """
        run = self.run(run_id)
        with explained(run.folder):
            try:
                with FileLock(run.folder / ".lock", timeout=0):
                    shutil.rmtree(run.folder)
                    count_anew()
            except Timeout as error:
                raise StoreError(
                    f"run '{run.record.run_id}': is being made right now. Stop its job first."
                ) from error

    def delete_files(self) -> int:
        """Delete all but runs and jobs: uploads, wordings, imports and readings; return how much.

        Runs that were made on an upload keep their figures, and cannot be read on it any more.
        """
        before = self.stored_bytes()
        for folder in (self.uploads, self.wordings, self.imports, self.folder / "readings"):
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

    def check_space(self, most: int) -> None:
        """Refuse to keep more of a visitor who has `most` bytes already; one's own disk is free.

        Raises:
            ConfigError: says how much may be kept.
        """
        if self.is_public and self.stored_bytes() > ordinary_bytes(most):
            raise ConfigError(
                f"space: your runs and files take more than {most // 1_000_000} MB. Delete some "
                "under Runs."
            )

    def _run_in(self, root: Path, name: str) -> StoredRun | None:
        run = RunStore(root).find(name)
        return None if run is not None and self.is_public and _has_links(run.folder) else run


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


def share_key(root: Path, run_id: str) -> str:
    """Return the key that lets a link show one run of a public page to somebody else."""
    return hmac.new(_secret(root), run_id.encode(), hashlib.sha256).hexdigest()[:24]


def shared_run(root: Path, run_id: object, key: object) -> StoredRun:
    """Return the run a shared link names, whoever's it is.

    Raises:
        StoreError: no such run, or the key does not belong to it.
    """
    name = checked_name(run_id, "run")
    if isinstance(key, str) and hmac.compare_digest(key.encode(), share_key(root, name).encode()):
        for folder in root.glob(f"{VISITORS}/*/{name}"):
            run = RunStore(folder.parent).find(name)
            if run is not None and not _has_links(run.folder):
                return run
    raise StoreError(f"run '{name}': this link does not open it. Ask for the whole link again.")


def _has_links(folder: Path) -> bool:
    """Return whether a folder, or anything in it, is a link: it may lead out of the workspace."""
    return folder.is_symlink() or any(path.is_symlink() for path in folder.rglob("*"))


def _secret(root: Path) -> bytes:
    path = root / _KEY_FILE
    if not path.is_file():
        scratch = path.with_name(f"{_KEY_FILE}.{os.getpid()}")
        with explained(path):
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f"{_KEY_FILE}.lock"):  # several at once have to get one secret
                if not path.is_file():
                    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                    with os.fdopen(descriptor, "w") as stream:
                        stream.write(secrets.token_hex(32))
                        stream.flush()
                        os.fsync(stream.fileno())
                    scratch.replace(path)
    return path.read_bytes()
