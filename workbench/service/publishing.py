"""A run's adapter out of the workbench: as an archive, or to the visitor's own Hub account."""

import zipfile
from pathlib import Path
from typing import Any, Protocol

from httpx2 import HTTPError  # the Hub's client raises it without a connection
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from workbench.atomic import explained
from workbench.errors import ConfigError, StoreError
from workbench.room import check_room
from workbench.runs.run_files import CARD
from workbench.runs.store import StoredRun


class Hub(Protocol):
    """The part of the Hub's client that is used."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any:
        """Create a repository, or find it."""

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> Any:
        """Upload a folder in one commit."""


def adapter_archive(run: StoredRun, folder: Path) -> Path:
    """Write a run's adapter with its model card as a zip file into a folder; return its path.

    Raises:
        StoreError: the run has no adapter, or the folder cannot be written.
    """
    files = _adapter_files(run)
    target = folder / f"{run.record.run_id}.zip"
    check_room(target, sum(file.stat().st_size for file in files))
    with explained(target):
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                place = file.relative_to(run.adapter_folder)
                archive.write(file, f"{run.record.run_id}/{place}")
    return target


def push_adapter(run: StoredRun, repo_id: str, *, token: str, hub: Hub | None = None) -> str:
    """Upload a run's adapter and model card to the visitor's own repository; return its address.

    Args:
        run: A finished run with an adapter.
        repo_id: "owner/name".
        token: From the visitor's login; used for this call and kept nowhere.
        hub: The Hub's client; None makes one with the token.

    Raises:
        ConfigError: no such form of repository id, or the Hub refused.
        StoreError: the run has no adapter.
    """
    files = _adapter_files(run)
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ConfigError(
            f"repository '{repo_id[:80]}': {str(error)[:200].rstrip('.')}. Example: me/my-adapter"
        ) from error
    if repo_id.count("/") != 1:
        raise ConfigError(f"repository '{repo_id[:80]}': owner and name are needed: me/my-adapter")
    client = hub or HfApi(token=token)
    try:
        client.create_repo(repo_id, private=True, exist_ok=True)
        client.upload_folder(
            repo_id=repo_id,
            folder_path=files[0].parent,
            commit_message=f"Adapter of run {run.record.run_id}",
        )
    except (HTTPError, OSError) as error:
        raise ConfigError(
            f"repository '{repo_id}': the Hub refused ({type(error).__name__}). Log in again, and "
            "check that the repository is yours."
        ) from error
    return f"https://huggingface.co/{repo_id}"


def _adapter_files(run: StoredRun) -> list[Path]:
    folder = run.adapter_folder
    parts = sorted(folder.glob("member_*")) or [folder]  # an ensemble has an adapter per member
    names = ("adapter_config.json", "adapter_model.safetensors")
    found = [folder / "README.md", *(part / name for part in parts for name in names)]
    if not all(path.is_file() for path in found[1:]):
        raise StoreError(
            f"run '{run.record.run_id}': has no adapter; {run.spec.method} stores none, or the run "
            "is not finished."
        )
    if not found[0].is_file():
        raise StoreError(
            f"run '{run.record.run_id}': its model card {CARD} is not there. Run the same "
            "comparison again: it finds the run and writes it anew."
        )
    run.check_learned()
    return found
