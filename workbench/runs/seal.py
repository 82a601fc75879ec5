"""What seals a run: one record holds the digests of the run's files and of itself.

A record from before it was sealed is read as it is; one whose seal does not fit is damaged.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.atomic import sorted_json

CARD = "adapter/README.md"
_SEAL = "seal"
# What is no part of a finished run, or changes while it is one: cards are edited for the Hub, and
# links are taken back.
_LEFT_OUT = ("record.json", "origin.json", "error.log", "link-key", CARD)


def sealed(content: Mapping[str, Any], files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a mapping for JSON with the digests of files, and of all of it, beside the rest."""
    named = dict(files or {})
    return {**content, _SEAL: {"files": named, "content": _digest(content, named)}}


def unsealed(content: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what was sealed, and the digests of files by name; none of what has no seal.

    Those of files that are no part of a run, which older records hold too, are left out.

    Raises:
        ValueError: the content is not what was sealed.
    """
    if not isinstance(content, dict):
        raise ValueError("not a mapping")
    if _SEAL not in content:
        return content, {}
    rest = {name: value for name, value in content.items() if name != _SEAL}
    seal = content[_SEAL]
    files = seal.get("files") if isinstance(seal, dict) else None
    if not isinstance(files, dict) or seal.get("content") != _digest(rest, files):
        raise ValueError("its content is not what was written")
    return rest, {name: digest for name, digest in files.items() if name not in _LEFT_OUT}


def digests_of(folder: Path) -> dict[str, str]:
    """Return the digest of each file that belongs to a run, by its name below the run's folder."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: digest_of(folder / name) for name in sorted(names) if _belongs(name)}


def digest_of(path: Path) -> str:
    """Return the digest of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def damaged_among(folder: Path, files: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Return those of the named files that are not what their digests say."""
    return [name for name in names if not _is_whole(folder / name, files[name])]


def _is_whole(path: Path, digest: str) -> bool:
    try:
        return digest_of(path) == digest
    except OSError:
        return False


def _belongs(name: str) -> bool:
    last = name.rpartition("/")[2]
    is_passing = last.startswith(".") or last.startswith("checkpoint")
    return not (is_passing or name in _LEFT_OUT)


def _digest(content: Mapping[str, Any], files: Mapping[str, str]) -> str:
    return hashlib.sha256(sorted_json([content, files]).encode()).hexdigest()
