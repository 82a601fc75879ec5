"""A place for files at any address that fsspec knows: s3://, gs://, abfs://, file:// and others.

Every refusal of such a place ends in one message. Options that an address does not carry
(endpoints, keys, profiles) come from fsspec's own configuration and from the environment, as its
implementations read them: https://filesystem-spec.readthedocs.io/en/latest/features.html#configuration
"""

import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import fsspec
from fsspec.spec import AbstractFileSystem

from workbench.errors import DamagedFile, StoreError
from workbench.runs.claims import is_claim

# Where a second file of one name is refused by the place itself, and not by a look before.
_REFUSES_SECOND = frozenset(("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "file", "local"))
_HAS_FOLDERS = frozenset(("file", "local", "sftp", "ssh", "smb", "hdfs", "webhdfs", "ftp"))
_PATIENCE = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 2}}  # seconds
_PIECE_BYTES = 16 << 20
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("abfs", "abfss", "az"), "adlfs"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
}
# What the clients of such places raise besides OSError, by the module it is in.
_REFUSALS = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "google.auth.exceptions": ("GoogleAuthError",),
    "gcsfs.retry": ("HttpError",),
    "azure.core.exceptions": ("AzureError",),
    "aiohttp": ("ClientError",),
    "paramiko": ("SSHException",),
    "fsspec.exceptions": ("FSTimeoutError",),
    "ftplib": ("Error",),
}


class Address:
    """Files below an address, by names with "/" between their parts; nothing is remembered.

    Making one asks nothing of the place.

    Args:
        text: The address, as "s3://bucket/folder".

    Raises:
        StoreError: no address of a kind that is known, or the package for it is not installed.
    """

    def __init__(self, text: str) -> None:
        self._protocol, _, root = text.partition("://")
        self._text = f"{self._protocol}://{root.rstrip('/')}"
        self.shown = _without_password(self._text)
        if not root.strip("/"):
            raise StoreError(
                f"{self}: names no bucket or folder. Write it as 's3://bucket/folder'."
            )
        self._check_kind()

    def __str__(self) -> str:
        """Return the address as it may be shown: without a password."""
        return self.shown

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; None if it is not there."""
        with self._explained("read"):
            system, path = self._at(name)
            try:
                return bytes(system.cat_file(path))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if it is not there."""
        with self._explained("read"):
            system, path = self._at(name)
            system.invalidate_cache()
            try:
                return int(system.info(path)["size"])
            except (FileNotFoundError, NotADirectoryError):
                return None

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, in order, as they are now."""
        with self._explained("read"):
            system, path = self._at(folder)
            system.invalidate_cache()
            try:
                found = system.ls(path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
            files = (one["name"] for one in found if one["type"] == "file")
            return sorted(name.rstrip("/").rpartition("/")[2] for name in files)

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with self._explained("written"):
            system, path = self._for_writing(name)
            system.pipe_file(path, content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file unless there is one of its name; return whether it was written."""
        with self._explained("written"):
            system, path = self._for_writing(name)
            try:
                if self._protocol in ("file", "local"):
                    with system.open(path, "xb") as stream:
                        stream.write(content)
                else:
                    system.pipe_file(path, content, mode="create")
            except FileExistsError:
                return False
            except OSError:  # each server says in its own way that there is one
                if self.read(name) is None:
                    raise
                return False
        return True

    @property
    def refuses_second(self) -> bool:
        """Whether such a place is known to make no file twice, however close the two come."""
        return self._protocol in _REFUSES_SECOND

    def put(self, file: Path, name: str) -> None:
        """Write a file from one that does not change meanwhile."""
        with self._explained("written"):
            system, path = self._for_writing(name)
            system.put_file(str(file), path)

    def get(self, name: str, stream: BinaryIO, digest: str) -> None:
        """Read a file into a stream.

        Raises:
            DamagedFile: it is not there, or has another digest (SHA-256); part of it is written.
        """
        sha = hashlib.sha256()
        with self._explained("read"):
            system, path = self._at(name)
            try:
                with system.open(path, "rb", cache_type="readahead") as source:
                    while piece := source.read(_PIECE_BYTES):
                        sha.update(piece)
                        stream.write(piece)
            except FileNotFoundError as error:
                raise DamagedFile(f"{self}/{name} is missing") from error
        if sha.hexdigest() != digest:
            raise DamagedFile(f"{self}/{name} is not what was written")

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._explained("written"):
            system, path = self._at(name)
            try:
                system.rm_file(path)
            except FileNotFoundError:
                return

    def remove_folder(self, name: str) -> None:
        """Remove all that lies below a name."""
        with self._explained("written"):
            system, path = self._at(name)
            system.invalidate_cache()
            try:
                system.rm(path, recursive=True)
            except FileNotFoundError:
                return

    def _at(self, name: str) -> tuple[AbstractFileSystem, str]:
        system, root = self._open()
        return system, f"{root.rstrip('/')}/{name}"

    def _for_writing(self, name: str) -> tuple[AbstractFileSystem, str]:
        system, path = self._at(name)
        if self._protocol in _HAS_FOLDERS:
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
        return system, path

    def _open(self) -> tuple[AbstractFileSystem, str]:
        """Return the file system, of which fsspec keeps one for each thread, and the root in it."""
        options: dict[str, object] = {"use_listings_cache": False}
        set_by_user = fsspec.config.conf.get(self._protocol, {})
        if self._protocol in ("s3", "s3a") and "config_kwargs" not in set_by_user:
            options["config_kwargs"] = _PATIENCE
        system, root = fsspec.core.url_to_fs(self._text, **options)
        return system, root

    def _check_kind(self) -> None:
        try:
            fsspec.get_filesystem_class(self._protocol)
        except ImportError as error:
            raise StoreError(
                f"{self}: this kind of address needs a package that is not installed ({error}). "
                f"Install it beside the workbench{_command(self._protocol)}."
            ) from error
        except ValueError as error:
            raise StoreError(
                f"{self}: no kind of address that is known ({error}). Write it as "
                "'s3://bucket/folder', 'gs://bucket/folder' or 'file:///folder'."
            ) from error

    @contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        """Turn any refusal of the place into one message.

        Raises:
            StoreError: says what, why and what to do.
        """
        try:
            yield
        except _refusals() as error:
            raise StoreError(f"{self}: cannot be {done}. {_reason(error)}") from error


class AddressClaims:
    """Claims in a folder at an address; see `workbench/runs/claims.py`.

    Where the place refuses to make a file twice (s3, gs, abfs, file), which each claim tries, two
    processes never hold one thing. Elsewhere, and at servers that only pretend to be one of these,
    a claim counts if it is still the one that stands there after `settle` seconds. Two can then
    hold one thing if a write takes longer than that, until the one whose claim was written over
    renews it; what is uploaded stays whole even so, because files are named by content and the last
    record names its own.
    """

    def __init__(self, address: Address, folder: str) -> None:
        self._address, self._folder = address, folder

    def names(self) -> list[str]:
        """Return the names of all claims, in order."""
        return [name for name in self._address.names(self._folder) if is_claim(name)]

    def read(self, name: str) -> bytes | None:
        """Return what a claim says; None if there is none of that name."""
        return self._address.read(f"{self._folder}/{name}")

    def create(self, name: str, content: bytes) -> bool:
        """Make a claim, unless there is one of that name."""
        return self._address.create(f"{self._folder}/{name}", content)

    def write(self, name: str, content: bytes) -> None:
        """Let a claim say something else."""
        self._address.write(f"{self._folder}/{name}", content)

    def remove(self, name: str) -> None:
        """Remove a claim, if it is there."""
        self._address.remove(f"{self._folder}/{name}")

    def settle(self, name: str, content: bytes, seconds: float) -> bool:
        """Return whether the place refuses another claim of this name; if not, wait."""
        if self._address.refuses_second and not self.create(name, content):
            return True
        time.sleep(seconds)
        return False


def is_address(place: str) -> bool:
    """Return whether a place is an address and no path."""
    return "://" in place


def _refusals() -> tuple[type[Exception], ...]:
    """Return what the system and the clients that are loaded raise."""
    loaded = [
        getattr(sys.modules[module], name)
        for module, names in _REFUSALS.items()
        for name in names
        if hasattr(sys.modules.get(module), name)
    ]
    return (OSError, *loaded)


def _reason(error: BaseException) -> str:
    """Return why, and what to do, as sentences."""
    said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if isinstance(error, FileNotFoundError):
        return f"There is no such bucket or folder ({said}). Make it first, or correct the address."
    if isinstance(error, PermissionError) or "credential" in said.lower():
        return f"Access is denied ({said}). Check your credentials and what they allow there."
    return f"{said}. Check the address and the connection, then ask again."


def _without_password(text: str) -> str:
    parts = urlsplit(text)
    host = parts.netloc.rpartition("@")[2]
    return text.replace(parts.netloc, host, 1) if "@" in parts.netloc else text


def _command(protocol: str) -> str:
    package = _PACKAGES.get(protocol)
    return "" if package is None else f": pip install {package}"
