"""Drawings as files: the one place that says in which forms a figure is exported, and how."""

from collections.abc import Iterable
from pathlib import Path

from workbench.atomic import write_bytes
from workbench.presentation.drawing import PICTURE_FORMS, Plot
from workbench.sealed import clear_place


def write_figure(plot: Plot, folder: Path, name: str, *, caption: str = "") -> list[Path]:
    """Write `<name>.png`, `.svg` and `.pdf` into a folder, each whole or not at all; return them.

    Args:
        plot: What is drawn.
        folder: Where the files go.
        name: What they are called.
        caption: Written below the figure: of what it is, and what made it.

    Raises:
        StoreError: the folder cannot be written.
    """
    paths = []
    for form in PICTURE_FORMS:
        paths.append(folder / f"{name}.{form}")
        clear_place(paths[-1])
        write_bytes(paths[-1], plot.picture(form, caption=caption))
    return paths


def file_name(words: str, *, taken: Iterable[str] = ()) -> str:
    """Return words as the name of a file: small letters and digits with dashes, 40 at most.

    Args:
        words: A title, or any other text.
        taken: Names that it may not be; a number at its end tells it from them.
    """
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in words.lower())
    name = "-".join(part for part in plain.split("-") if part)[:40].strip("-") or "untitled"
    known, number = set(taken), 2
    found = name
    while found in known:
        found, number = f"{name}-{number}", number + 1
    return found
