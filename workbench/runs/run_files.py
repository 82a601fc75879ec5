"""The files that belong to a run, whose digests its sealed record holds."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from workbench.sealed import file_digest

CARD = "adapter/README.md"
# What is no part of a finished run, or changes while it is one: cards are edited for the Hub, and
# links are taken back.
_LEFT_OUT = ("record.json", "origin.json", "error.log", "link-key", CARD)


def digests_of(folder: Path) -> dict[str, str]:
    """Return the digest of each file that belongs to a run, by its name below the run's folder."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: file_digest(folder / name) for name in sorted(names) if _belongs(name)}


def damaged_among(folder: Path, files: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Return those of the named files that are not what their digests say."""
    return [name for name in names if not _is_whole(folder / name, files[name])]


def _is_whole(path: Path, digest: str) -> bool:
    try:
        return file_digest(path) == digest
    except OSError:
        return False


def _belongs(name: str) -> bool:
    last = name.rpartition("/")[2]
    is_passing = last.startswith(".") or last.startswith("checkpoint")
    return not (is_passing or name in _LEFT_OUT)
