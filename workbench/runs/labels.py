"""The name and the note that a person gives a run or a job, kept beside it.

They belong to no digest and to no record: a run is the same run under another name, and what was
sealed stays so. They stay in the folder on this machine, where a store at an address is worked on
too; they are not brought to the address, where others may call the same run something else.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import ConfigError, StoreError
from workbench.runs.run_files import LABEL
from workbench.runs.store import StoredRun
from workbench.scripts import composed
from workbench.sealed import is_there, read_sealed, remove, write_sealed

_MOST_CHARS = 60
_NAME = re.compile(rf"[^\W_][\w .+()-]{{0,{_MOST_CHARS - 1}}}")
_IN_NO_NAME = re.compile(r"[^\w .+()-]+")
_NOTE_LENGTH = 2000  # characters


@dataclass(frozen=True)
class Label:
    """What a person calls a run or a job, and says about it; both may be empty."""

    name: str = ""
    note: str = ""


NO_LABEL = Label()


def read_label(folder: Path) -> Label:
    """Return the label in a folder; an empty one where there is none that can be read."""
    if not is_there(folder / LABEL):
        return NO_LABEL
    with suppress(OSError, ValueError, KeyError):
        content = read_sealed(folder / LABEL)
        name, note = content["name"], content["note"]
        if isinstance(name, str) and isinstance(note, str) and (not name or _NAME.fullmatch(name)):
            return Label(name, note)
    return NO_LABEL


def write_label(folder: Path, label: Label) -> None:
    """Keep a label in a folder, or take it away if it is empty.

    Raises:
        ConfigError: no name of the form that is allowed, or a note that is too long.
        StoreError: the folder cannot be written.
    """
    label = Label(checked_run_name(label.name) if label.name else "", _checked_note(label.note))
    if label == NO_LABEL:
        remove(folder / LABEL)
        return
    write_sealed(folder / LABEL, {"name": label.name, "note": label.note})


def checked_run_name(text: str) -> str:
    """Return a name that cannot be taken for a folder, an option or markup, composed and trimmed.

    Raises:
        ConfigError: says what a name may have.
    """
    name = " ".join(composed(text).split())
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"name {text[:60]!r}: is none. A name begins with a letter or a digit and has up to 60 "
            "letters, digits, spaces and any of - _ . + ( ), so that it is no folder and no option."
        )
    return name


def as_run_name(text: str) -> str:
    """Return the name that is nearest to any text, such as that of a file; "" if none is near."""
    kept = " ".join(_IN_NO_NAME.sub(" ", composed(text)).split())
    return kept.lstrip("_ .+()-")[:_MOST_CHARS].strip()


def names_of_seeds(name: str, seeds: Sequence[int]) -> list[str]:
    """Return what the runs of one row are called by its name: several have their seeds with it.

    Raises:
        ConfigError: no name of the form that is allowed, or too long with a seed.
    """
    name = checked_run_name(name)
    if len(seeds) == 1:
        return [name]
    return [checked_run_name(f"{name} (seed {seed})") for seed in seeds]


def run_title(run: StoredRun) -> str:
    """Return what lists call a run: the name it was given, row, seed, and its hash's beginning."""
    name = read_label(run.folder).name
    given = f"{name} · " if name else ""
    return f"{given}{run.record.row} · seed {run.spec.seed} · {run.spec.digest[:4]}"


def check_free(name: str, run: StoredRun | None, others: Iterable[StoredRun]) -> None:
    """Refuse a name that another run has, or that is the id of one.

    Args:
        name: Of the form that is allowed.
        run: What is to have it; None if it is not made yet.
        others: All runs among which names are unique.

    Raises:
        StoreError: says which run.
    """
    for other in others:
        if run is not None and other.record.run_id == run.record.run_id:
            continue
        is_id = other.record.run_id == name or other.record.run_id.endswith(f"_{name}")
        if is_id or read_label(other.folder).name == name:
            what = "is the id of" if is_id else "is the name of"
            raise StoreError(
                f"name '{name}': {what} run {other.record.run_id} already. Choose another name, or "
                "take it from that run first: empty it in the tab Runs, or "
                f"workbench name {other.record.run_id} --remove"
            )


def _checked_note(text: str) -> str:
    note = text.strip()
    if len(note) > _NOTE_LENGTH:
        raise ConfigError(
            f"note: has {len(note)} characters; at most {_NOTE_LENGTH} are kept. Shorten it."
        )
    return note
