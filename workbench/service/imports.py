"""Adapters trained elsewhere, kept under the name of their file or one that a visitor gives."""

from dataclasses import replace
from pathlib import Path

from workbench.models.adapters.reading import AdapterSummary, import_adapter
from workbench.runs.labels import as_run_name, read_label, write_label
from workbench.service.labels import checked_label_name
from workbench.service.ways import imported_names
from workbench.service.workspace import Workspace

_UNNAMED = "adapter"  # where nothing of a file's name could be kept
_BEFORE_NUMBER = 54  # characters of a name of 60 that leave room for " (123)"


def keep_import(
    workspace: Workspace, file: Path, name: object = ""
) -> tuple[Path, str, AdapterSummary]:
    """Check and keep an adapter trained elsewhere; return its folder, its name, and what it is.

    It is called after its file unless a name is given. A name that another import has gets a
    number, and an adapter that was imported before keeps the name it has.

    Args:
        workspace: Of the visitor.
        file: A zip with the two files of an adapter.
        name: What to call it.

    Raises:
        ConfigError: no name of the form that is allowed; nothing was kept.
        ModelError: anything about the adapter is not as it should be; nothing was kept.
        StoreError: the folder cannot be written.
    """
    given = checked_label_name(name)
    folder, summary = import_adapter(file, workspace.imports)
    label = read_label(folder)
    wanted = given or label.name or as_run_name(file.stem) or _UNNAMED
    others = {one for key, one in imported_names(workspace).items() if key != folder.name}
    free, number = wanted, 2
    while free in others:
        free = f"{wanted[:_BEFORE_NUMBER].rstrip()} ({number})"
        number += 1
    if free != label.name:
        write_label(folder, replace(label, name=free))
    return folder, free, summary
