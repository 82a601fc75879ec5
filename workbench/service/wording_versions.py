"""The history of a visitor's kept wordings: named, each version with its parent; nothing is lost.

A version names the text by its digest, which is the name of the file that has it; see `wordings`.
Going back to a version is a new version whose parent it is.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Literal

from workbench.atomic import explained
from workbench.errors import ConfigError, StoreError
from workbench.sealed import is_there, read_sealed, write_sealed
from workbench.service.changing import one_at_a_time
from workbench.service.workspace import Workspace, checked_name

MOST_NOTE = 500  # characters
_SUFFIX = ".versions.json"
_MOST_NAME = 60  # characters
_MOST, _MOST_PUBLIC = 10_000, 100  # versions of a name; a file is written whole for each
_MOST_NAMES, _MOST_NAMES_PUBLIC = 1000, 50


@dataclass(frozen=True)
class WordingVersion:
    """One version of a named wording.

    Attributes:
        number: From 1, in the order of time.
        digest: Names the file with its text.
        parent: The version it was made from; None for the first.
        date: When it was kept, in UTC as ISO 8601.
        note: What its maker wrote about it.
        figures: What was found with it, by name; such as how many texts it answers rightly.
    """

    number: int
    digest: str
    parent: int | None
    date: str
    note: str = ""
    figures: Mapping[str, float | str] = field(default_factory=dict)


def versions_of(workspace: Workspace, name: object) -> list[WordingVersion]:
    """Return the versions of a named wording, oldest first; none of a name that is free.

    Raises:
        StoreError: no such name can be, or its history is damaged.
    """
    path = _path(workspace, name)
    if not is_there(path):
        return []
    try:
        return [WordingVersion(**one) for one in read_sealed(path)["versions"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"wording '{name}': its history has changed on disk or is damaged. The texts are still "
            "in the list of wordings; keep one under another name."
        ) from error


def named_wordings(workspace: Workspace) -> list[str]:
    """Return the names that have versions, the last changed first."""
    found = []
    for path in workspace.wordings.glob(f"*{_SUFFIX}"):
        with suppress(OSError):  # deleted meanwhile
            found.append((-path.stat().st_mtime, path.name.removesuffix(_SUFFIX)))
    return [name for _, name in sorted(found)]


def name_with_room(workspace: Workspace, name: str) -> str:
    """Return a name, or the name with the first number after it that has room for a version."""
    found, number = name, 1
    while _num_known(workspace, found) >= _most_versions(workspace):
        number += 1
        found = f"{name}-{number}"
    return found


def version_of(workspace: Workspace, name: object, number: object) -> WordingVersion:
    """Return one version of a named wording.

    Raises:
        StoreError: there is none of that number.
    """
    found = versions_of(workspace, name)
    for version in found:
        if version.number == number:
            return version
    raise StoreError(
        f"wording '{str(name)[:_MOST_NAME]}': no version {str(number)[:20]}; it has {len(found)}. "
        "Choose one from the list."
    )


def add_version(
    workspace: Workspace,
    name: str,
    digest: str,
    *,
    note: str = "",
    parent: int | Literal["latest"] | None = "latest",
    write: Callable[[], None] = lambda: None,
) -> WordingVersion:
    """Add a version of a name, made from the latest one unless something else is given.

    The text of the latest version, kept again without a note, is that version.

    Args:
        workspace: The visitor's.
        name: What its versions are kept under.
        digest: Of its text.
        note: What its maker has to say about it.
        parent: The version it was made from; None: none of this name.
        write: Writes the text once it is known that there is room.

    Raises:
        ConfigError: the note is too long, or there are too many versions.
        StoreError: no such name can be, or the folder cannot be written.
    """
    if len(note) > MOST_NOTE:
        raise ConfigError(f"note: {len(note)} characters; at most {MOST_NOTE}. Shorten it.")
    with one_at_a_time(workspace.wordings, ".versions.lock", "wordings"):
        known = _known_or_aside(workspace, name)
        latest = known[-1] if known else None
        if latest is not None and latest.digest == digest and not note:
            write()  # somebody may have deleted it
            return latest
        _check_room(workspace, name, known)
        if parent == "latest":
            parent = latest.number if latest is not None else None
        added = WordingVersion(
            number=len(known) + 1,
            digest=digest,
            parent=parent,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            note=note,
        )
        write()
        _write(workspace, name, [*known, added])
    return added


def note_figures(
    workspace: Workspace, digest: str, figures: Mapping[str, float | str]
) -> list[tuple[str, int]]:
    """Write figures beside the latest version of each name that has this text; return which.

    Raises:
        StoreError: the folder cannot be written.
    """
    noted = []
    with one_at_a_time(workspace.wordings, ".versions.lock", "wordings"):
        for name in named_wordings(workspace):
            with suppress(StoreError):  # a damaged history takes no figures
                known = versions_of(workspace, name)
                places = [place for place, one in enumerate(known) if one.digest == digest]
                if places:
                    last = places[-1]
                    known[last] = replace(known[last], figures=dict(figures))
                    _write(workspace, name, known)
                    noted.append((name, known[last].number))
    return noted


def _write(workspace: Workspace, name: str, versions: list[WordingVersion]) -> None:
    write_sealed(_path(workspace, name), {"versions": [asdict(one) for one in versions]})


def _path(workspace: Workspace, name: object) -> Path:
    checked = checked_name(name, "wording")
    if len(checked) > _MOST_NAME:
        raise StoreError(
            f"wording '{checked[:_MOST_NAME]}…': a name has at most {_MOST_NAME} characters."
        )
    return workspace.wordings / f"{checked}{_SUFFIX}"


def _most_versions(workspace: Workspace) -> int:
    return _MOST_PUBLIC if workspace.is_public else _MOST


def _num_known(workspace: Workspace, name: str) -> int:
    """Return how many versions a name has; none where its history is damaged."""
    with suppress(StoreError):
        return len(versions_of(workspace, name))
    return 0


def _check_room(workspace: Workspace, name: str, known: list[WordingVersion]) -> None:
    most = _most_versions(workspace)
    if len(known) >= most:
        raise ConfigError(
            f"wording '{name}': has {len(known)} versions; at most {most} here. Keep it under "
            "another name."
        )
    most_names = _MOST_NAMES_PUBLIC if workspace.is_public else _MOST_NAMES
    if not known and len(named_wordings(workspace)) >= most_names:
        raise ConfigError(
            f"wording '{name}': {most_names} names are in use, which is the most here. Keep it "
            "under one of them."
        )


def _known_or_aside(workspace: Workspace, name: str) -> list[WordingVersion]:
    """Return the versions of a name; a damaged history is kept beside, and a new one begins."""
    path = _path(workspace, name)
    try:
        return versions_of(workspace, name)
    except StoreError:
        with explained(path):
            path.replace(path.with_name(f".{path.name}.damaged-{token_hex(4)}"))
        return []
