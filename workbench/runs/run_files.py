"""The files of a report, and those of a run, whose digests its sealed record holds."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from workbench.sealed import file_digest

REPORT_FORMS = {"html": "html", "markdown": "md", "latex": "tex", "csv": "csv", "json": "json"}
"""The forms of a comparison's report, by name: how the file `report.<suffix>` of each ends."""

CARD = "adapter/README.md"
LABEL = "label.json"  # the name a person gave it
# What is no part of a finished run, or changes while it is one: cards are edited for the Hub,
# links are taken back, and names are given.
_LEFT_OUT = ("record.json", "origin.json", "error.log", "link-key", LABEL, CARD)


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
    parts = name.split("/")
    is_passing = parts[-1].startswith("checkpoint") or any(part.startswith(".") for part in parts)
    return not (is_passing or name in _LEFT_OUT)
