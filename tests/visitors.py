"""Visitors of the page on the tiny model: their rows, workspaces, runs and experiments."""

import csv
from pathlib import Path
from typing import Any

from specs import spec_of
from workbench.runs.experiment import Experiment
from workbench.runs.store import RunRecord, RunStore
from workbench.service.profile import Caps, Profile
from workbench.service.uploads import ColumnChoice, keep_upload
from workbench.service.ways import Setting, experiment_of
from workbench.service.workspace import Workspace, open_workspace

ANNA, BEN = "anna-anna-anna-anna", "ben-ben-ben-ben-ben"
"""Tokens of two visitors of a public page."""

LABELS = {"praise": "lovely great sun", "complaint": "broken awful rain"}


def local_workspace(root: Path) -> Workspace:
    """Return the one workspace of a page on somebody's own machine."""
    return open_workspace(root, None, is_public=False)


def visitor(root: Path, token: str) -> Workspace:
    """Return a visitor's workspace of a public page."""
    return open_workspace(root, token, is_public=True)


def write_rows(path: Path, num: int = 40) -> Path:
    """Write a CSV of separable rows with distinct texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["message", "intent"])
        for number in range(num):
            label = list(LABELS)[number % 2]
            writer.writerow([f"{LABELS[label]} number {number}", label])
    return path


def keep_rows(workspace: Workspace, folder: Path, *, name: str = "messages") -> str:
    """Upload separable rows; return the key of their task."""
    file = write_rows(folder / f"{name}.csv")
    return keep_upload(workspace, Caps(), file, name, ColumnChoice("message", "intent"))[0]


def tiny_experiment(
    workspace: Workspace,
    model: Path,
    task: str,
    methods: dict[str, Any],
    wording: str = "plain",
    **more: Any,
) -> Experiment:
    """Return an experiment on the tiny model; `model` is its folder, `task` an upload's key."""
    setting = Setting(task=task, wording=wording, model=str(model), precision="fp32")
    return experiment_of(workspace, Profile("tests"), setting, methods=methods, **more)


def store_run(root: Path, *, seed: int = 0, status: str = "finished", **spec: Any) -> str:
    """Write a run without executing anything; return its id."""
    asked, store = spec_of(seed=seed, **spec), RunStore(root)
    with store.working_on(asked):
        store.write_record(
            RunRecord(
                run_id=asked.run_id,
                row=asked.method,
                status=status,  # type: ignore[arg-type]
                source="made for tests",
                started=f"2026-01-01T00:00:{seed:02d}",
            )
        )
    return asked.run_id
