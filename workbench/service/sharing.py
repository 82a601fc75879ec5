"""Links to single runs of a public page: a random key per run, which dies with the run's folder.

    <root>/visitors/<hash of the token>/<run id>/link-key   the key of the run's link
    <root>/links/<hash of the key>                          where that run lies

Opening needs both: what a link names is found without a search, and nothing but the folder that
was shared has its key. A run's id alone would not do: equal specs of two visitors have the same.
"""

import hashlib
import hmac
import re
import secrets
from pathlib import Path

from filelock import FileLock

from workbench.atomic import explained, write_text

_KEY = re.compile(r"[A-Za-z0-9_-]{32}")
_KEY_FILE, _LINKS = "link-key", "links"


def link_key(root: Path, run_folder: Path) -> str:
    """Return the key of a run's link; the run is shared from now on if it was not before.

    Raises:
        StoreError: no space left, or no permission.
    """
    links = root / _LINKS
    with explained(links):
        links.mkdir(parents=True, exist_ok=True)
        with FileLock(links / ".lock"):  # asked for twice at once, a run has to have one key
            key = _key_of(run_folder)
            if key is None:
                key = secrets.token_urlsafe(24)
                write_text(run_folder / _KEY_FILE, key)
            write_text(_entry(root, key), run_folder.relative_to(root).as_posix())
    return key


def drop_link(root: Path, run_folder: Path) -> bool:
    """Let a run's link open nothing from now on; return whether there was one.

    Raises:
        StoreError: no permission.
    """
    key, path = _key_of(run_folder), run_folder / _KEY_FILE
    with explained(path):
        path.unlink(missing_ok=True)
        if key is not None:
            _entry(root, key).unlink(missing_ok=True)
    return key is not None


def linked_folder(root: Path, key: object) -> Path | None:
    """Return the folder of the run whose link has this key, or None if no link has it."""
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        return None
    try:
        folder = root / _entry(root, key).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    # The entry may have outlived the run, and another one of the same id have taken its place.
    own = _key_of(folder) or ""
    return folder if hmac.compare_digest(own.encode(), key.encode()) else None


def _entry(root: Path, key: str) -> Path:
    # By its hash, so that reading a list of names does not open anything.
    return root / _LINKS / hashlib.sha256(key.encode()).hexdigest()[:32]


def _key_of(run_folder: Path) -> str | None:
    try:
        key = (run_folder / _KEY_FILE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return key if _KEY.fullmatch(key) else None
