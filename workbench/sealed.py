"""Kept files that say themselves whether they are whole, and room for them where something is.

A disk that loses power, or rots, gives back other bytes than it was given. What is kept to be
believed later has a digest with it, so that a torn file is made again instead of being read.
"""

import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench.atomic import (
    flush_file,
    flush_folder,
    json_text,
    parse_json,
    sorted_json,
    write_text,
)

DIGEST = "digest"
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # rename(2): by a folder, or by a file
_PIECE_BYTES = 16 << 20  # of a file whose digest is taken
_OLD_SECONDS = 3600  # nobody writes one file for an hour

_log = logging.getLogger(__name__)


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all, with a digest of its name and content at its end.

    Raises:
        StoreError: no space left, or no permission.
    """
    clear_place(path)
    write_text(path, sealed_text(path.name, content))


def sealed_text(name: str, content: Mapping[str, Any]) -> str:
    """Return what `write_sealed` writes into a file of this name."""
    plain = parse_json(json.dumps(content))  # as it comes back
    return json_text({**content, DIGEST: _digest(name, plain)})


def read_sealed(
    path: Path, *, is_digest_needed: bool = True, name: str | None = None
) -> dict[str, Any]:
    """Return the content of a file that `write_sealed` wrote.

    Args:
        path: The file.
        name: What it was called then; None: as it is now.
        is_digest_needed: Whether a file without a digest, as older versions wrote it, is refused.

    Raises:
        OSError: it is not there or cannot be read.
        ValueError: it is damaged, or another file than the one written here.
    """
    text = path.read_text(encoding="utf-8")
    return parse_sealed(name or path.name, text, is_digest_needed=is_digest_needed)


def parse_sealed(name: str, text: str | bytes, *, is_digest_needed: bool = True) -> dict[str, Any]:
    """Return the content of what `sealed_text` made for a file of this name.

    Raises:
        ValueError: it is damaged, or that of another file; see `read_sealed`.
    """
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    found = content.pop(DIGEST, None)
    if found is None and not is_digest_needed:
        return content
    if found != _digest(name, content):
        raise ValueError("its content does not have the digest that it was written with")
    return content


def is_there(path: Path) -> bool:
    """Return whether anything has this name, a link that leads nowhere included."""
    return os.path.lexists(path)


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return a digest of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        # In large pieces: after each the interpreter is waited for, which may be busy elsewhere.
        piece = memoryview(bytearray(max(1, min(size, _PIECE_BYTES))))
        while length := stream.readinto(piece):
            digest.update(piece[:length])
    return digest.hexdigest()


def version_of(path: Path) -> tuple[int, ...]:
    """Return what tells a file, or a folder's list of files, from what it was when last looked at.

    So it need not be read twice in a process; what a disk forgets meanwhile is not told from it.

    Raises:
        OSError: it is not there.
    """
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def digests_of(folder: Path, *, without: str) -> dict[str, str | None]:
    """Return the digest of each thing in a folder by name; None for what is no file.

    Raises:
        OSError: a file cannot be read.
    """
    return {
        path.name: file_digest(path) if path.is_file() else None
        for path in sorted(folder.iterdir())
        if path.name != without
    }


def flush(folder: Path) -> None:
    """Bring a folder's files, and then its list of them, to the disk; see fsync(2)."""
    for path in folder.iterdir():
        with path.open("rb+") as stream:
            flush_file(stream)
    flush_folder(folder)


def put_in_place(
    finished: Path, target: Path, *, is_good: Callable[[Path], bool] = lambda _: False
) -> None:
    """Let a finished folder take a name; who has open what was there before can go on reading it.

    Several may do so at once: what one of them has just put there is replaced, or kept where it is
    good enough, and it never fails for the others.

    Args:
        finished: What takes the name. It is left where it is if the name's holder is good.
        target: The name.
        is_good: Whether what has the name already may keep it.

    Raises:
        OSError: as the system says.
    """
    asides = []
    while True:
        try:
            finished.rename(target)
            break
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        if is_good(target):
            break
        aside = target.with_name(f".old-{target.name}-{secrets.token_hex(4)}")
        with suppress(FileNotFoundError):  # another writer was quicker
            target.rename(aside)
            asides.append(aside)
    flush_folder(target.parent)
    for aside in asides:
        remove(aside)


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder; what cannot be deleted stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def clear_place(path: Path) -> None:
    """Move a folder away that has the name of a file to be written; its content is kept."""
    if path.is_dir() and not path.is_symlink():
        aside = path.with_name(f".{path.name}.aside-{secrets.token_hex(4)}")
        with suppress(OSError):  # who writes the file says what cannot be written
            os.rename(f"{path}/", aside)  # so that what is no folder any more stays
            _log.warning("%s: a folder has the place of this file. It is %s now.", path, aside.name)


def is_old(path: Path, *, seconds: float = _OLD_SECONDS) -> bool:
    """Return whether nobody has written to something for an hour, or for so many seconds."""
    try:
        return time.time() - path.lstat().st_mtime > seconds
    except OSError:
        return False


def _digest(name: str, content: Mapping[str, Any]) -> str:
    """Return a digest of a file's name and content."""
    return hashlib.sha256(sorted_json([name, content]).encode()).hexdigest()
