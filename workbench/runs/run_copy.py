"""A run's files at an address, beside the folder on this machine where it is worked on.

<address>/<run id>/files/<sha256>   the content of a file, written once and never changed
                   files.json       the files of an unfinished run by name, at one moment
                   record.json      of one that ended; names its files by digest, written last
                   claims/          while it is worked on

What a name leads to is whole or is noticed, so a crash between any two uploads leaves a run that is
gone on with or made again, and what two upload at once does no harm.
"""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from workbench.atomic import SCRATCH, explained, replacing, write_bytes
from workbench.errors import DamagedFile
from workbench.runs.address import Address
from workbench.runs.run_files import LABEL
from workbench.runs.store import RECORD, RunRecord, RunStatus, parse_record, remove_unlike_file
from workbench.sealed import file_digest, parse_sealed, remove, sealed_text, version_of

_MANIFEST, _FILES = "files.json", "files"
_SMALL_BYTES = 1 << 20  # of what is sent from memory
_AT_HAND = ".uploaded"  # in the local folder: the digest of the manifest that it was last equal to
# Paths, secrets and names of a machine, and what is last.
_KEPT_HERE = (RECORD, "origin.json", "link-key", LABEL)
_GROWING = (".jsonl", ".log")  # written line by line, all others in one step
_DIGEST = re.compile(r"[0-9a-f]{64}")
DONE: tuple[RunStatus, ...] = ("trained", "finished")  # in the order in which a run becomes it


class RunCopy:
    """The files of one run at an address.

    Args:
        address: Of the store.
        run_id: Of the run.
        folder: Of the run on this machine.
    """

    def __init__(self, address: Address, run_id: str, folder: Path) -> None:
        self._address, self._run_id, self._folder = address, run_id, folder
        self._there: set[str] = set()  # contents that are whole at the address
        self._damaged: set[str] = set()  # contents that are not
        self._known: dict[str, tuple[tuple[int, ...], str]] = {}  # digests by name and version
        self._manifest: dict[str, str] | None = None

    def record(self) -> tuple[RunRecord, dict[str, str], bytes] | None:
        """Return the record of a run that is trained or finished, its files, and its bytes.

        None where there is none, or one that is torn.
        """
        content = self._address.read(self._name(RECORD))
        if content is None:
            return None
        try:
            record, files = parse_record(content)
        except (ValueError, TypeError):
            return None
        is_usable = record.run_id == self._run_id and _are_names(files)
        return (record, files, content) if is_usable and record.status in DONE else None

    def fetch(self, files: Mapping[str, str], content: bytes) -> bool:
        """Bring a run that ended here, its record last; return whether all of it is whole."""
        for name, digest in files.items():
            if not self._bring(name, digest):
                return False
        write_bytes(self._folder / RECORD, content)
        return True

    def fetch_unfinished(self) -> None:
        """Bring the files of an unfinished run here, unless this folder has them or later ones.

        What is damaged is left out: the training goes on from what is whole.
        """
        text, files = self._listed()
        self._manifest = files
        if not files or self._at_hand() == _sha(text):
            return
        for name in set(self._travelling()) - set(files) - {"spec.json"}:
            remove(self._folder / name)
        for name, digest in files.items():
            self._bring(name, digest)
        self._keep_at_hand(text)

    def upload(self, check: Callable[[], None], *, ends: bool) -> None:
        """Bring the files that the address does not have there, as they are at this moment.

        Args:
            check: Raises where another process has the run by now.
            ends: Whether nobody works on the run after this: its record follows, and what no name
                leads to any more is removed.

        Raises:
            StoreError: the address cannot be written; what was brought there stays.
        """
        if self._manifest is None:
            self._manifest = self._listed()[1]
        before = set(self._manifest.values())
        # In order of their names: a checkpoint before the points of its path, which only grow.
        files = {name: digest for name in self._travelling() if (digest := self._put(name))}
        if files != self._manifest:
            check()
            text = sealed_text(_MANIFEST, {_FILES: files}).encode()
            self._address.write(self._name(_MANIFEST), text)
            self._manifest = files
            self._keep_at_hand(text)
        if ends:
            check()
            self._put_record()
            before = set(self._address.names(self._name("files")))
        for digest in before - set(files.values()):
            self._address.remove(self._content(digest))
            self._there.discard(digest)

    def publish(self, files: Mapping[str, str]) -> None:
        """Bring a run there that ended here while the address could not be written.

        Args:
            files: Of its record.

        Raises:
            StoreError: the address cannot be written.
        """
        if files and all(self._put(name) == digest for name, digest in files.items()):
            self._put_record()

    def remove(self) -> None:
        """Remove the run from the address, its record first."""
        self._address.remove(self._name(RECORD))
        self._address.remove_folder(self._run_id)

    def _listed(self) -> tuple[bytes, dict[str, str]]:
        """Return the list of an unfinished run's files, as its bytes and by name; none if torn."""
        text = self._address.read(self._name(_MANIFEST)) or b""
        with suppress(ValueError, KeyError):
            files = parse_sealed(_MANIFEST, text)[_FILES]
            if _are_names(files):
                return text, files
        return b"", {}

    def _travelling(self) -> list[str]:
        """Return the names of the files that belong at the address, in order."""
        found = []
        for path in self._folder.rglob("*"):
            parts = path.relative_to(self._folder).parts
            is_passing = any(part.startswith(".") for part in parts)
            if not is_passing and path.is_file() and parts[-1] not in _KEPT_HERE:
                found.append("/".join(parts))
        return sorted(found)

    def _put(self, name: str) -> str:
        """Bring a file's content there, if it is not; return its digest, "" if it is gone here."""
        path = self._folder / name
        with explained(path):
            try:
                version = version_of(path)
                if name in self._known and self._known[name][0] == version:
                    return self._known[name][1]
                digest = self._sent(path)
            except FileNotFoundError:  # replaced or trimmed at this moment
                return ""
        self._known[name] = (version, digest)
        return digest

    def _sent(self, path: Path) -> str:
        if path.stat().st_size < _SMALL_BYTES or path.name.endswith(_GROWING):
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if self._is_missing(digest, len(content)):
                self._address.write(self._content(digest), content)
        else:
            with _pinned(path) as still:
                digest = file_digest(still)
                if self._is_missing(digest, still.stat().st_size):
                    self._address.put(still, self._content(digest))
        self._there.add(digest)
        return digest

    def _is_missing(self, digest: str, size: int) -> bool:
        if digest in self._there:
            return False
        is_damaged = digest in self._damaged
        return is_damaged or self._address.size(self._content(digest)) != size

    def _bring(self, name: str, digest: str) -> bool:
        """Bring a file here, if it is not; return whether it is whole."""
        path = self._folder / name
        with suppress(OSError):
            if file_digest(path) == digest:
                return True
        size = self._address.size(self._content(digest))
        if size is None:
            return False
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_unlike_file(path)
        try:
            with replacing(path, size) as stream:
                self._address.get(self._content(digest), stream, digest)
        except DamagedFile:
            self._there.discard(digest)
            self._damaged.add(digest)
            return False
        self._there.add(digest)
        return True

    def _put_record(self) -> None:
        """Write the record of a run that ended in any way, unless it is there."""
        try:
            content = (self._folder / RECORD).read_bytes()
            record, _ = parse_record(content)
        except (OSError, ValueError, TypeError):
            return
        if record.status != "running" and self._address.read(self._name(RECORD)) != content:
            self._address.write(self._name(RECORD), content)

    def _at_hand(self) -> str:
        with suppress(OSError):
            return (self._folder / _AT_HAND).read_text()
        return ""

    def _keep_at_hand(self, manifest: bytes) -> None:
        write_bytes(self._folder / _AT_HAND, _sha(manifest).encode())

    def _name(self, name: str) -> str:
        return f"{self._run_id}/{name}"

    def _content(self, digest: str) -> str:
        return self._name(f"files/{digest}")


@contextmanager
def _pinned(path: Path) -> Iterator[Path]:
    """Return another name of a file's content, which stays when a new file takes the first."""
    still = path.with_name(f".{path.name}.{secrets.token_hex(4)}{SCRATCH}")
    try:
        try:
            os.link(path, still)
        except FileNotFoundError:
            raise
        except OSError:  # some disks know one name for a file alone
            shutil.copyfile(path, still)
        yield still
    finally:
        still.unlink(missing_ok=True)


def _are_names(files: object) -> bool:
    """Return whether these are names of a run's files with digests, and none leads elsewhere."""
    return isinstance(files, dict) and all(
        isinstance(name, str)
        and isinstance(digest, str)
        and _DIGEST.fullmatch(digest)
        and not PurePosixPath(name).is_absolute()
        and "\\" not in name
        and all(part and not part.startswith(".") for part in name.split("/"))
        and name not in _KEPT_HERE
        for name, digest in files.items()
    )


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
