"""A job in processes of its own: stopped, killed, and in the end as if nothing had happened.

One job is stopped while it trains its first row, resumed, killed while it trains its second one,
and resumed again; the tests look at what was seen on the way.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from visitors import keep_rows, local_workspace, tiny_experiment
from workbench.analysis.answers import read_history
from workbench.runs.store import StoredRun
from workbench.service import jobs
from workbench.service.jobs import Job, JobStatus
from workbench.service.profile import LOCAL
from workbench.service.worker import work
from workbench.service.workspace import Workspace
from workbench.serving.desk import ModelDesk

STEPS = 120  # a second, long enough to be caught in the middle
METHODS = {
    "prompt_tuning": {"steps": STEPS, "eval_every": 10},
    "lora": {"steps": STEPS, "eval_every": 10, "dropout": 0.1},
}


@dataclass
class Story:
    """What was seen of a job and of the next one."""

    workspace: Workspace
    job: Job
    seen: dict[str, JobStatus] = field(default_factory=dict)
    checkpoints: dict[str, list[Path]] = field(default_factory=dict)

    def look(self) -> JobStatus:
        return jobs.read_job(self.workspace, self.job.status.job_id).status

    def until(self, is_true: Callable[[JobStatus], bool]) -> JobStatus:
        """Wait until the job is as it should be; it may not end another way before."""
        deadline = time.monotonic() + 120
        while not is_true(status := self.look()):
            assert time.monotonic() < deadline, status
            assert status.state not in ("failed", "interrupted"), self.job.log
            time.sleep(0.03)
        return status

    def trains(self, row: str) -> Callable[[JobStatus], bool]:
        """Return whether a row has a checkpoint by now."""

        def is_training(status: JobStatus) -> bool:
            assert len(status.rows) <= list(METHODS).index(row), "it was too fast to be caught"
            return bool(list(self.workspace.folder.glob(f"*_{row}_*/checkpoint.safetensors")))

        return is_training

    def note(self, moment: str) -> None:
        self.seen[moment] = self.look()
        self.checkpoints[moment] = list(self.workspace.folder.glob("*/checkpoint.safetensors"))

    def go_on(self) -> None:
        jobs.resume(self.workspace, LOCAL, self.job.status.job_id)
        jobs.start_next(self.workspace.root)


@pytest.fixture(scope="module")
def story(tiny_folder, tmp_path_factory):
    """Return what was seen of a job that was stopped, killed and finished."""
    root = tmp_path_factory.mktemp("root")
    workspace = local_workspace(root)
    key = keep_rows(workspace, root / "given")
    experiment = tiny_experiment(workspace, tiny_folder, key, METHODS)
    job = jobs.submit(workspace, LOCAL, experiment, kind="evaluate", title="first")
    story = Story(workspace, job)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # another number of threads would add up differently
        jobs.start_next(root)
        story.until(story.trains("prompt_tuning"))
        jobs.stop(workspace, job.status.job_id)
        story.until(lambda status: status.state == "stopped")
        story.note("stopped")

        story.go_on()
        pid = story.until(story.trains("lora")).pid
        os.kill(pid, signal.SIGKILL)
        story.until(lambda status: status.state == "interrupted")
        story.note("killed")

        simple = tiny_experiment(workspace, tiny_folder, key, {"zero_shot": {}})
        story.go_on()
        following = jobs.submit(workspace, LOCAL, simple, kind="evaluate", title="second")
        jobs.start_next(root)
        story.seen["waiting"] = jobs.read_job(workspace, following.status.job_id).status
        story.until(lambda status: status.state == "finished")
        story.note("finished")
        deadline = time.monotonic() + 60
        while (status := jobs.read_job(workspace, following.status.job_id).status).pid is None:
            assert time.monotonic() < deadline
            time.sleep(0.03)
        story.seen["following"] = status
        os.kill(status.pid, signal.SIGKILL)
    return story


@pytest.fixture(scope="module")
def undisturbed(story, tmp_path_factory):
    """Return the runs of the same experiment, made in one go."""
    root = tmp_path_factory.mktemp("undisturbed")
    workspace = local_workspace(root)
    key = keep_rows(workspace, root / "given")
    choice = story.job.experiment
    experiment = tiny_experiment(workspace, Path(choice.model), key, METHODS)
    job = jobs.submit(workspace, LOCAL, experiment, kind="evaluate", title="whole")
    desk = ModelDesk(is_direct=True)
    status = work(job.folder, workspace.store, open_session=desk.session)
    assert status.state == "finished", status
    return {row.row: workspace.run(row.run_id) for row in status.rows}


def row_of(story: Story, name: str) -> StoredRun:
    (row,) = (row for row in story.seen["finished"].rows if row.row == name)
    return story.workspace.run(row.run_id)


def test_a_job_that_was_stopped_says_where(story):
    status = story.seen["stopped"]

    assert status.pid is None
    assert status.message == (
        f"training stopped after step {status.done} of {STEPS}; resume goes on from there"
    )


def test_a_job_that_was_stopped_has_a_checkpoint(story):
    assert ["_prompt_tuning_" in str(path) for path in story.checkpoints["stopped"]] == [True]


def test_a_job_whose_process_was_killed_reads_as_interrupted(story):
    status = story.seen["killed"]

    assert (status.state, status.message) == (
        "interrupted",
        "its process ended without a word; resume goes on",
    )


def test_rows_finished_before_the_kill_stay_finished(story):
    assert [row.row for row in story.seen["killed"].rows] == ["prompt_tuning"]


def test_a_job_that_was_killed_has_the_last_checkpoint(story):
    assert ["_lora_" in str(path) for path in story.checkpoints["killed"]] == [True]


def test_resumed_twice_it_finishes(story):
    status = story.seen["finished"]

    assert (status.state, status.message) == ("finished", "")
    assert [(row.row, row.found) for row in status.rows] == [
        ("prompt_tuning", True), ("lora", False),
    ]  # fmt: skip


def test_a_finished_job_has_its_report_and_no_checkpoint(story):
    assert (story.job.folder / "report.html").is_file()
    assert story.checkpoints["finished"] == []


def test_computing_time_adds_up_over_processes(story):
    seconds = [story.seen[moment].seconds for moment in ("stopped", "killed", "finished")]

    assert seconds == sorted(seconds)


@pytest.mark.parametrize("row", METHODS)
def test_what_was_learned_is_bit_equal_to_an_undisturbed_run(row, story, undisturbed):
    found, expected = (
        load_file(run.adapter_folder / "adapter_model.safetensors")
        for run in (row_of(story, row), undisturbed[row])
    )

    assert {name: tensor.tobytes() for name, tensor in found.items()} == {
        name: tensor.tobytes() for name, tensor in expected.items()
    }


@pytest.mark.parametrize("row", METHODS)
def test_what_was_measured_is_equal_to_an_undisturbed_run(row, story, undisturbed):
    found, expected = row_of(story, row), undisturbed[row]

    assert found.record.metrics == expected.record.metrics
    assert found.predictions() == expected.predictions()


@pytest.mark.parametrize("row", METHODS)
def test_the_history_has_each_step_once(row, story):
    steps = [entry["step"] for entry in read_history(row_of(story, row)) if "loss" in entry]

    assert steps == list(range(1, STEPS + 1))


def test_another_job_waits_while_one_runs(story):
    assert story.seen["waiting"].state == "queued"


def test_the_process_that_ends_starts_the_next_job(story):
    status = story.seen["following"]

    assert (status.state, status.title) == ("running", "second")
    assert status.pid is not None


def test_the_processes_printed_no_traceback(story):
    assert "Traceback" not in story.job.log
