"""Names and notes that a visitor gives runs and jobs; see `workbench/runs/labels.py`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from workbench.errors import ConfigError, StoreError
from workbench.runs.labels import Label, check_free, checked_run_name, read_label, write_label
from workbench.service.jobs import read_job
from workbench.service.workspace import Workspace


def run_labels(workspace: Workspace) -> dict[str, Label]:
    """Return the label of each run that has one, by its id, for lists."""
    found = {run.record.run_id: read_label(run.folder) for run in workspace.runs()}
    return {run_id: label for run_id, label in found.items() if label != Label()}


def label_of_run(workspace: Workspace, run_id: object) -> Label:
    """Return the name and note of one of the visitor's runs; both may be empty.

    Raises:
        StoreError: no such run, or not the visitor's.
    """
    return read_label(workspace.run(run_id).folder)


def label_run(workspace: Workspace, run_id: object, name: object, note: object) -> Label:
    """Keep name and note of one of the visitor's runs and return them; both empty take them away.

    Raises:
        ConfigError: no text, no name of the form that is allowed, or a note that is too long.
        StoreError: no such run, another run has the name, or the folder cannot be written.
    """
    run = workspace.run(run_id)
    label = _label(name, note)
    if label.name:
        label = replace(label, name=checked_run_name(label.name))
        check_free(label.name, run, workspace.runs())
    write_label(run.folder, label)
    return read_label(run.folder)


def label_of_job(workspace: Workspace, job_id: object) -> Label:
    """Return the name and note of one of the visitor's jobs; both may be empty.

    Raises:
        StoreError: no such job.
    """
    return read_label(read_job(workspace, job_id).folder)


def label_job(workspace: Workspace, job_id: object, name: object, note: object) -> Label:
    """Keep name and note of one of the visitor's jobs and return them; two may have one name.

    Raises:
        ConfigError: no text, no name of the form that is allowed, or a note that is too long.
        StoreError: no such job, or the folder cannot be written.
    """
    folder = read_job(workspace, job_id).folder
    write_label(folder, _label(name, note))
    return read_label(folder)


def checked_label_name(name: object) -> str:
    """Return a name that a visitor sent for something to come; "" where none was given.

    Raises:
        ConfigError: no text, or no name of the form that is allowed.
    """
    given = _label(name, "").name
    return checked_run_name(given) if given else ""


def name_of_training(workspace: Workspace, name: object) -> str:
    """Return the name for a training that is to be started, whose run gets it too.

    Raises:
        ConfigError: no text, or no name of the form that is allowed.
        StoreError: a run of the visitor's has it.
    """
    given = checked_label_name(name)
    if given:
        check_free(given, None, workspace.runs())
    return given


def name_trained(workspace: Workspace, job: Path, run_ids: Sequence[str]) -> str:
    """Give a training's name to the run it made; return what kept it from that, or nothing.

    A run that was found and has a name keeps it.

    Args:
        workspace: Of the visitor.
        job: The job's folder.
        run_ids: What it trained; several would need a name each, and get none.
    """
    name = read_label(job).name
    if not name or len(run_ids) != 1:
        return ""
    try:
        has = label_of_run(workspace, run_ids[0])
        if has.name and has.name != name:
            return f"the run was found, and keeps the name that it has: {has.name}"
        label_run(workspace, run_ids[0], name, has.note)
    except StoreError as error:
        return f"the run is finished and has no name: {error}"
    return ""


def _label(name: object, note: object) -> Label:
    """Return what was sent, which anybody may have."""
    if not isinstance(name, str) or not isinstance(note, str):
        raise ConfigError("name: name and note are text. Send both, empty where there is none.")
    return Label(name.strip(), note)
