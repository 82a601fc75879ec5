"""Files of a job that were cut, emptied, changed, lost or replaced: the trouble of one job only.

Whatever is torn, the job stays in the list with a way out, the others go on, and nothing starts
twice.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from visitors import ANNA, BEN, visitor
from workbench.errors import StoreError
from workbench.runs.experiment import Experiment
from workbench.sealed import read_sealed, write_sealed
from workbench.service import jobs
from workbench.service.profile import LOCAL, Profile
from workbench.service.workspace import Workspace

EXPERIMENT = Experiment(methods={"few_shot": {"seeds": [0, 1]}, "zero_shot": {}})
FILES = ("status.json", "experiment.json", "stop", "worker.log", "report.json", "report.html")
STATES = ("queued", "running", "stopped", "finished")  # "running" without a process


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) // 3] ^= 0x80
    path.write_bytes(content)


def lose(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "in it").write_text("x")


def make_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def make_dead_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nothing there")


FAULTS: tuple[Callable[[Path], None], ...] = (
    cut, empty, flip, lose, make_folder, make_link, make_dead_link,
)  # fmt: skip
EACH_FILE = pytest.mark.parametrize("name", FILES)
EACH_FAULT = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
EACH_STATE = pytest.mark.parametrize("state", STATES)


def submit(workspace: Workspace) -> jobs.Job:
    profile = Profile("tests", is_public=True)
    return jobs.submit(workspace, profile, EXPERIMENT, kind="evaluate", title="a title")


def state_of(workspace: Workspace, job: jobs.Job) -> str | None:
    found = {one.status.job_id: one.status.state for one in jobs.list_jobs(workspace)}
    return found.get(job.folder.name)


@pytest.fixture
def anna(tmp_path):
    return visitor(tmp_path, ANNA)


@pytest.fixture
def torn(anna) -> Callable[[str, Callable[[Path], None], str], jobs.Job]:
    """Return a function that makes a job of a state and spoils one of its files."""

    def make(name: str, fault: Callable[[Path], None], state: str) -> jobs.Job:
        job = submit(anna)
        path = job.folder / "status.json"
        content = json.loads(path.read_text()) | {"state": state}
        path.write_text(json.dumps(content, indent=2))
        for other in ("worker.log", "report.html"):
            (job.folder / other).write_text("what there is to read\n" * 9)
        (job.folder / "report.json").write_text(json.dumps({"rows": [], "created": "2026"}))
        if name == "stop":
            (job.folder / "stop").touch()
        fault(job.folder / name)
        return job

    return make


@pytest.fixture
def started(tmp_path, monkeypatch) -> Iterator[Callable[[], list[psutil.Process]]]:
    """Put a program that only waits in the place of Python; return what says who was started."""
    program = tmp_path / "stand-in"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("STARTED_BY", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(program))

    def found() -> list[psutil.Process]:
        processes = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("STARTED_BY") == str(tmp_path):
                    processes.append(process)
        return processes

    def settled() -> list[psutil.Process]:
        deadline = time.monotonic() + 1  # one that is just being started may not be seen yet
        while not found() and time.monotonic() < deadline:
            time.sleep(0.02)
        return found()

    yield settled
    for process in found():
        process.kill()


@EACH_STATE
@EACH_FAULT
@EACH_FILE
def test_a_job_with_a_torn_file_stays_in_the_list_and_hides_no_other(
    name, fault, state, torn, anna
):
    good = submit(anna)
    job = torn(name, fault, state)

    assert state_of(anna, good) == "queued"
    assert state_of(anna, job) is not None
    assert state_of(anna, job) != "running"


@EACH_STATE
@EACH_FAULT
@EACH_FILE
def test_a_job_with_a_torn_file_can_be_deleted(name, fault, state, torn, anna):
    job = torn(name, fault, state)

    jobs.delete(anna, job.folder.name)

    assert not job.folder.exists()
    assert jobs.list_jobs(anna) == []


@EACH_FAULT
@EACH_FILE
def test_a_stopped_job_with_a_torn_file_can_go_on_unless_its_experiment_is_lost(
    name, fault, torn, anna
):
    job = torn(name, fault, "stopped")

    if name == "experiment.json":
        with pytest.raises(StoreError, match=r"Delete the job; its finished runs are kept\."):
            jobs.resume(anna, LOCAL, job.folder.name)
    else:
        assert jobs.resume(anna, LOCAL, job.folder.name).status.state == "queued"
        assert not jobs.is_stop_requested(job.folder)


@EACH_FAULT
@EACH_FILE
def test_a_waiting_job_with_a_torn_file_holds_up_nobody_and_starts_at_most_once(
    name, fault, torn, anna, tmp_path, started
):
    torn(name, fault, "queued")
    ben = visitor(tmp_path, BEN)
    submit(ben)

    for _ in range(3):
        jobs.start_next(tmp_path)

    deadline = time.monotonic() + 20  # on a busy machine it takes a while to begin
    while not started() and time.monotonic() < deadline:
        pass
    assert len(started()) == 1


@EACH_FAULT
def test_a_finished_job_whose_report_is_torn_makes_it_again_when_resumed(fault, torn, anna):
    job = torn("report.json", fault, "finished")

    status = jobs.read_job(anna, job.folder.name).status

    assert (status.state, status.message) == (
        "interrupted",
        "its report.json cannot be read; resume makes it again from the finished runs",
    )
    assert jobs.resume(anna, LOCAL, job.folder.name).status.state == "queued"


def turn_a_digit(path: Path) -> None:
    write_sealed(path, {"rows": [], "created": "2026"})
    path.write_text(path.read_text().replace("2026", "2027"))


def seal_nothing(path: Path) -> None:
    write_sealed(path, {"created": "2026"})


@pytest.mark.parametrize("fault", [turn_a_digit, seal_nothing], ids=lambda fault: fault.__name__)
def test_a_report_that_does_not_open_leaves_no_job_finished(fault, torn, anna):
    job = torn("report.json", fault, "finished")

    assert jobs.read_job(anna, job.folder.name).status.state == "interrupted"


def test_a_sealed_report_leaves_a_job_finished(torn, anna):
    job = torn("report.json", lambda path: write_sealed(path, {"rows": []}), "finished")

    assert jobs.read_job(anna, job.folder.name).status.state == "finished"


@EACH_FAULT
def test_a_status_is_made_again_from_what_is_there(fault, torn, anna):
    job = torn("status.json", fault, "queued")

    found = jobs.read_job(anna, job.folder.name)

    assert (found.status.state, found.status.title, found.status.total) == (
        "interrupted", "a title", 3,
    )  # fmt: skip
    assert found.experiment == EXPERIMENT
    assert found.status.message == (
        "its status.json cannot be read; resume makes it again from what is there"
    )


@pytest.mark.parametrize(
    "content",
    ["[]", "3", "[" * 100_000, '{"state": "dancing"}', '{"seconds": -3}',
     '{"seconds": NaN}', '{"seconds_left": -1}', '{"rows": 3}', '{"title": null}'],
)  # fmt: skip
def test_a_status_that_says_what_cannot_be_is_made_again(content, anna):
    job = submit(anna)
    path = job.folder / "status.json"
    if content.startswith("{"):
        content = json.dumps(json.loads(path.read_text()) | json.loads(content))
    path.write_text(content)

    status = jobs.read_job(anna, job.folder.name).status

    assert (status.state, status.seconds) == ("interrupted", 0.0)


def test_a_status_of_another_job_is_that_of_its_folder(anna):
    first, second = submit(anna), submit(anna)
    shutil.copy(first.folder / "status.json", second.folder / "status.json")

    assert {job.status.job_id for job in jobs.list_jobs(anna)} == {
        first.folder.name,
        second.folder.name,
    }


def change_experiment(path: Path) -> None:
    """Change numbers of an experiment as somebody would who knows how it is stored."""
    text = json.dumps(read_sealed(path))
    write_sealed(path, json.loads(text.replace("1", "2")))


def test_an_experiment_in_which_a_number_was_changed_is_not_run(anna, tmp_path, started):
    job = submit(anna)
    change_experiment(job.folder / "experiment.json")

    jobs.start_next(tmp_path)

    assert state_of(anna, job) == "broken"
    assert started() == []
    message = jobs.read_job(anna, job.folder.name).status.message
    assert message.endswith(
        "experiment.json: is damaged, it is not what was asked for. Delete the job; its finished "
        "runs are kept."
    )


def test_an_experiment_changed_after_the_job_was_started_is_not_run(anna):
    job = submit(anna)
    change_experiment(job.folder / "experiment.json")

    with pytest.raises(StoreError, match="is damaged"), jobs.running(job.folder):
        pass


@pytest.mark.parametrize("left", ["nothing", "an experiment", "a status"])
def test_a_folder_that_was_half_written_or_half_deleted_is_a_broken_or_a_resumable_job(left, anna):
    job = submit(anna)
    for path in job.folder.iterdir():
        if {"an experiment": "experiment.json", "a status": "status.json"}.get(left) != path.name:
            path.unlink()

    state = state_of(anna, job)

    assert state == ("interrupted" if left == "an experiment" else "broken")
    jobs.delete(anna, job.folder.name)
    assert jobs.list_jobs(anna) == []


def test_what_a_submission_cut_short_left_is_no_job_and_goes_with_the_next_one(anna):
    submit(anna)
    half = anna.jobs / ".20260101-000000-000000-half-abcdef"
    half.mkdir()
    (half / "experiment.json").write_text("{}")

    assert len(jobs.list_jobs(anna)) == 1
    submit(anna)
    assert not half.exists()


def test_a_log_that_never_ends_is_read_from_its_end(anna):
    job = submit(anna)
    with (job.folder / "worker.log").open("wb") as stream:
        stream.seek(1 << 40)
        stream.write(b"the end")

    assert job.log.endswith("the end")
    assert len(job.log) <= 4000


def test_a_log_that_is_a_link_is_not_followed(anna):
    job = submit(anna)
    (job.folder / "worker.log").symlink_to("/etc/passwd")

    assert job.log == ""


def test_a_stop_that_is_a_link_writes_nothing_elsewhere(anna, tmp_path):
    job = submit(anna)
    target = tmp_path / "elsewhere"
    (job.folder / "stop").symlink_to(target)
    path = job.folder / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "interrupted"}))

    jobs.stop(anna, job.folder.name)

    assert jobs.is_stop_requested(job.folder)
    assert not target.exists()
