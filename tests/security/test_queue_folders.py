"""Two processes on one folder, whichever two: the second one is refused and spoils nothing."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from visitors import keep_rows, local_workspace, tiny_experiment
from workbench.commands.shared.running import run_and_report
from workbench.errors import StoreError
from workbench.runs.experiment import Experiment, TaskChoice
from workbench.service import jobs
from workbench.service.job_locks import is_held
from workbench.service.profile import LOCAL

LONG = {"prompt_tuning": {"steps": 20_000, "eval_every": 5000}}


def wait_for(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def evaluating(model: Path, rows: Path, folder: Path) -> Iterator[None]:
    """Run the batch command on a folder until the end of the block."""
    settings = ["--set", "methods.prompt_tuning.steps=20000"]
    settings += ["--set", "methods.prompt_tuning.eval_every=5000"]
    asked = ["--model", model, "--precision", "fp32", "--train", rows, "--out", folder]
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench", "evaluate", *map(str, asked), "--methods",
         "prompt_tuning", *settings],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        asked_for = folder / "experiment.json"
        wait_for(lambda: is_held(folder / ".experiment.lock") or process.poll() is not None)
        wait_for(lambda: asked_for.is_file() or process.poll() is not None)
        assert process.poll() is None
        yield
    finally:
        process.kill()
        process.wait(10)


def test_a_command_beside_a_command_is_refused(tiny_folder, tmp_path):
    rows, folder = tmp_path / "rows.csv", tmp_path / "out"
    with rows.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows([f"{w} {i}", w] for i in range(20) for w in ("good", "bad"))
    asked = Experiment(
        model=str(tiny_folder),
        precision="fp32",
        task=TaskChoice(train=rows),
        methods={"zero_shot": {}},
    )

    with evaluating(tiny_folder, rows, folder):
        kept = (folder / "experiment.json").read_bytes()
        with pytest.raises(StoreError) as caught:
            run_and_report(asked, folder)

    assert str(caught.value) == (
        f"{folder}: another process is working in it. Wait for it, or use another folder with "
        "--out."
    )
    assert (folder / "experiment.json").read_bytes() == kept
    run_and_report(asked, folder)  # once the other one has died, nothing is in the way


def test_a_command_or_a_page_beside_a_job_is_refused(tiny_folder, tmp_path):
    workspace = local_workspace(tmp_path / "root")
    key = keep_rows(workspace, tmp_path / "given")
    experiment = tiny_experiment(workspace, tiny_folder, key, LONG)
    job = jobs.submit(workspace, LOCAL, experiment, kind="evaluate", title="a job")
    jobs.start_next(workspace.root)
    try:
        wait_for(lambda: is_held(job.folder / ".experiment.lock"))

        with pytest.raises(StoreError, match="another process is working in it"):
            run_and_report(experiment, job.folder)
        with (
            pytest.raises(StoreError, match="is running in another process"),
            jobs.running(job.folder),
        ):
            pass
        with pytest.raises(StoreError, match="is running; nothing to resume"):
            jobs.resume(workspace, LOCAL, job.status.job_id)
        with pytest.raises(StoreError, match=r"is running\. Stop it first"):
            jobs.delete(workspace, job.status.job_id)
    finally:
        jobs.stop(workspace, job.status.job_id)
        wait_for(lambda: not is_held(job.folder / ".job.lock"))

    status = jobs.read_job(workspace, job.status.job_id).status
    assert status.state == "stopped", status
