"""Jobs without a process: the queue, its caps, and status files that cannot be trusted."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from job_files import alive, set_status
from visitors import ANNA, BEN, local_workspace, visitor
from workbench.errors import ConfigError, StoreError
from workbench.runs.experiment import Experiment
from workbench.service import job_status, jobs
from workbench.service.job_locks import JOB_LOCK, ROOT_LOCK, is_held, release, take
from workbench.service.profile import Caps, Profile

EXPERIMENT = Experiment(methods={"few_shot": {"seeds": [0, 1]}, "zero_shot": {}})


def profile(**caps: float) -> Profile:
    return Profile("tests", is_public=True, caps=Caps(**caps))


def submit(workspace, *, title: str = "a title", **caps: float) -> jobs.Job:
    return jobs.submit(workspace, profile(**caps), EXPERIMENT, kind="evaluate", title=title)


@pytest.fixture
def mark_running():
    """Return a function that lets this process stand for a job's."""
    with ExitStack() as stack:
        yield lambda job: stack.enter_context(alive(job))


@pytest.fixture
def anna(tmp_path):
    return visitor(tmp_path, ANNA)


class StandIn:
    """A program in the place of Python: what is started is a shell script, which does as told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._program, self._mark = folder / "stand-in", str(folder)
        monkeypatch.setenv("STARTED_BY", self._mark)
        monkeypatch.setattr(sys, "executable", str(self._program))
        self.does("exec sleep 60")

    def does(self, script: str) -> None:
        """Say what a started process does."""
        self._program.write_text(f"#!/bin/sh\n{script}\n")
        self._program.chmod(0o755)

    def processes(self) -> list[psutil.Process]:
        """Return the processes that were started and live."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("STARTED_BY") == self._mark:
                    found.append(process)
        return found


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Put a program in the place of Python; what it started is ended after the test."""
    program = StandIn(tmp_path, monkeypatch)
    yield program
    for process in program.processes():
        process.kill()


def states(*workspaces) -> dict[str, str]:
    return {
        job.status.job_id: job.status.state
        for workspace in workspaces
        for job in jobs.list_jobs(workspace)
    }


def wait_for(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_new_job_waits(anna):
    job = submit(anna)

    assert (job.status.state, job.status.total, job.status.pid) == ("queued", 3, None)
    assert job.experiment == EXPERIMENT


def test_the_title_shapes_the_id_and_cannot_shape_a_path(anna):
    job = submit(anna, title="../Über <b>alles</b>/" * 10)

    assert job.folder.parent == anna.jobs
    assert "ber-b-alles-b" in job.status.job_id


def test_a_title_without_letters_is_replaced_by_the_kind(anna):
    assert "-evaluate-" in submit(anna, title="日本").status.job_id


def test_jobs_of_one_second_keep_their_order(anna):
    ids = [submit(anna, title=title).status.job_id for title in "zyxwvutsrq"]

    assert [job.status.job_id for job in jobs.list_jobs(anna)] == ids[::-1]


# Caps


def test_more_unfinished_jobs_than_allowed_are_refused(anna):
    submit(anna, jobs=2)
    submit(anna, jobs=2)

    with pytest.raises(StoreError) as caught:
        submit(anna, jobs=2)

    assert str(caught.value) == (
        "jobs: you have 2 unfinished, at most 2 are allowed. Wait for one, or stop it."
    )


def test_a_stopped_job_makes_room(anna):
    jobs.stop(anna, submit(anna, jobs=1).status.job_id)

    assert submit(anna, jobs=1).status.state == "queued"


def test_the_queue_of_all_visitors_can_be_full(anna, tmp_path):
    submit(anna, waiting=1)

    with pytest.raises(StoreError) as caught:
        submit(visitor(tmp_path, BEN), waiting=1)

    assert str(caught.value) == (
        "jobs: the queue is full (1 waiting or running). Try again in a few minutes."
    )


def test_a_visitor_whose_space_is_used_up_gets_no_more_jobs(anna):
    anna.folder.mkdir(parents=True)
    (anna.folder / "adapter").write_bytes(b"x" * 3_000_001)

    with pytest.raises(ConfigError) as caught:
        submit(anna, stored_bytes=3_000_000)

    assert str(caught.value) == (
        "space: your runs and files take more than 3 MB. Delete some under Runs."
    )


def test_locally_the_disk_is_ones_own(tmp_path):
    workspace = local_workspace(tmp_path)
    workspace.folder.mkdir(parents=True)
    (workspace.folder / "adapter").write_bytes(b"x" * 100)

    assert submit(workspace, stored_bytes=10).status.state == "queued"


def test_an_experiment_beyond_the_caps_leaves_no_job(anna):
    with pytest.raises(ConfigError, match="2 rows; at most 1 here"):
        submit(anna, methods=1)

    assert jobs.list_jobs(anna) == []


def test_resuming_needs_room_too(anna):
    first = submit(anna, jobs=1)
    jobs.stop(anna, first.status.job_id)
    submit(anna, jobs=1)

    with pytest.raises(StoreError, match="you have 1 unfinished, at most 1 are allowed"):
        jobs.resume(anna, profile(jobs=1), first.status.job_id)


# The queue


def test_the_oldest_job_of_all_visitors_starts_first(anna, tmp_path, stand_in):
    ben = visitor(tmp_path, BEN)
    first = submit(anna, title="zzz").status.job_id
    second = submit(ben, title="aaa").status.job_id

    jobs.start_next(tmp_path)

    assert states(anna, ben) == {first: "running", second: "queued"}


def test_while_one_runs_no_other_starts(anna, tmp_path, stand_in):
    first, second = submit(anna).status.job_id, submit(anna).status.job_id

    for _ in range(3):
        jobs.start_next(tmp_path)

    assert states(anna) == {first: "running", second: "queued"}


def test_looks_at_once_start_one_process(anna, tmp_path, stand_in):
    submit(anna)
    submit(anna)
    barrier = threading.Barrier(6)

    def look(_: int) -> None:
        barrier.wait(timeout=30)
        jobs.start_next(tmp_path)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(look, range(6)))

    wait_for(stand_in.processes)
    assert len(stand_in.processes()) == 1


def test_a_look_beside_another_one_still_starts_the_next_job(anna, tmp_path, stand_in):
    job = submit(anna).status.job_id
    other = FileLock(tmp_path / ".jobs.lock", thread_local=False)
    other.acquire()
    threading.Timer(0.3, other.release).start()

    jobs.start_next(tmp_path)

    assert states(anna) == {job: "running"}


def test_a_started_process_holds_the_locks_of_its_job_and_of_the_root(anna, tmp_path, stand_in):
    job = submit(anna)

    jobs.start_next(tmp_path)

    wait_for(stand_in.processes)
    (process,) = stand_in.processes()
    locks = (job.folder / JOB_LOCK, tmp_path / ROOT_LOCK)
    assert [is_held(lock) for lock in locks] == [True, True]
    process.kill()
    wait_for(lambda: not any(is_held(lock) for lock in locks))


def test_a_process_is_no_child_of_the_one_that_started_it(anna, tmp_path, stand_in):
    submit(anna)

    jobs.start_next(tmp_path)

    wait_for(stand_in.processes)
    children = psutil.Process().children(recursive=True)
    assert set(stand_in.processes()).isdisjoint(children)


def test_a_process_that_dies_at_once_reads_as_interrupted_and_leaves_its_log(
    anna, tmp_path, stand_in
):
    stand_in.does("echo cannot start; exit 1")
    job_id = submit(anna).status.job_id

    jobs.start_next(tmp_path)
    wait_for(lambda: states(anna) != {job_id: "running"})

    wait_for(lambda: states(anna) != {job_id: "running"})
    found = jobs.read_job(anna, job_id)
    assert (found.status.state, found.status.message, found.log) == (
        "interrupted",
        "its process ended without a word; resume goes on",
        "cannot start\n",
    )


def test_a_program_that_is_not_there_is_not_tried_again_and_again(anna, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no such program"))
    job_id = submit(anna).status.job_id

    jobs.start_next(tmp_path)
    wait_for(lambda: states(anna) != {job_id: "running"})

    assert states(anna) == {job_id: "interrupted"}


def test_a_killed_process_reads_as_interrupted_and_the_next_job_starts(anna, tmp_path, stand_in):
    first, second = submit(anna).status.job_id, submit(anna).status.job_id
    jobs.start_next(tmp_path)
    wait_for(stand_in.processes)
    (process,) = stand_in.processes()
    process.kill()
    wait_for(lambda: states(anna)[first] != "running")

    jobs.start_next(tmp_path)

    assert states(anna) == {first: "interrupted", second: "running"}


def test_a_process_that_ends_while_it_is_looked_at_keeps_its_last_word(anna, monkeypatch):
    job = set_status(submit(anna), state="running")

    def take_late(path: Path) -> int | None:
        set_status(job, state="finished")
        return take(path)

    monkeypatch.setattr(job_status, "take", take_late)

    assert jobs.read_job(anna, job.status.job_id).status.state == "finished"


@pytest.mark.parametrize(
    "pid", [None, -5, 0, pytest.param(os.getpid(), id="living"), 2**70]
)  # workers of a test run have to find the same names
def test_the_number_of_a_living_process_is_not_taken_for_the_job(pid, anna):
    job = set_status(submit(anna), state="running", pid=pid)

    assert jobs.read_job(anna, job.status.job_id).status.state == "interrupted"


def test_a_place_in_the_queue_counts_everybodys_jobs_before(anna, tmp_path, mark_running):
    mark_running(submit(anna))
    submit(visitor(tmp_path, BEN))
    mine = submit(anna)
    submit(anna)

    assert jobs.place_in_queue(tmp_path, mine) == 2


# Stop, resume, delete


def test_stopping_a_waiting_job_ends_it_at_once(anna):
    status = jobs.stop(anna, submit(anna).status.job_id).status

    assert (status.state, status.message) == ("stopped", "stopped before it began")


def test_stopping_a_running_job_asks_its_process(anna, mark_running):
    job = mark_running(submit(anna))

    jobs.stop(anna, job.status.job_id)

    assert jobs.should_stop(job.folder)()
    assert jobs.read_job(anna, job.status.job_id).status.state == "running"


def test_stopping_a_job_between_two_chunks_stops_the_next_one(anna):
    job = set_status(submit(anna), state="interrupted")

    jobs.stop(anna, job.status.job_id)

    assert jobs.is_stop_requested(job.folder)


def test_stopping_a_finished_job_changes_nothing(anna):
    job = set_status(submit(anna), state="finished")

    assert jobs.stop(anna, job.status.job_id).status.state == "finished"


@pytest.mark.parametrize("state", ["stopped", "failed", "interrupted"])
def test_a_job_that_ended_early_can_wait_again(state, anna):
    job = set_status(submit(anna), state=state, message="why", ended="then", seconds=12.5)
    (job.folder / "stop").touch()

    status = jobs.resume(anna, profile(), job.status.job_id).status

    assert (status.state, status.message, status.ended, status.seconds) == (
        "queued",
        "",
        None,
        12.5,
    )
    assert not jobs.is_stop_requested(job.folder)


@pytest.mark.parametrize("state", ["queued", "running", "finished"])
def test_any_other_job_is_not_resumed(state, anna, mark_running):
    job = submit(anna)
    mark_running(job) if state == "running" else set_status(job, state=state)

    with pytest.raises(StoreError) as caught:
        jobs.resume(anna, profile(), job.status.job_id)

    assert str(caught.value) == f"job '{job.status.job_id}': is {state}; nothing to resume."


def test_a_running_job_is_not_deleted(anna, mark_running):
    job = mark_running(submit(anna))

    with pytest.raises(StoreError) as caught:
        jobs.delete(anna, job.status.job_id)

    assert str(caught.value) == f"job '{job.status.job_id}': is running. Stop it first."
    assert job.folder.is_dir()


def test_a_deleted_job_is_gone(anna):
    job = submit(anna)

    jobs.delete(anna, job.status.job_id)

    assert jobs.list_jobs(anna) == []


# All that ended


def ended_jobs(workspace, number: int) -> list[jobs.Job]:
    return [set_status(submit(workspace), state="stopped") for _ in range(number)]


def test_a_job_resumed_while_all_ended_ones_are_deleted_is_not_lost(anna, monkeypatch):
    (job,) = ended_jobs(anna, 1)
    listed = jobs.list_jobs
    resumed = []

    def resume() -> None:
        with suppress(StoreError):  # too late, it is gone
            resumed.append(jobs.resume(anna, profile(), job.status.job_id))

    other = threading.Thread(target=resume)

    def list_and_wait(workspace):
        found = listed(workspace)
        other.start()
        other.join(timeout=0.5)
        return found

    monkeypatch.setattr(jobs, "list_jobs", list_and_wait)
    deleted = jobs.delete_ended(anna)
    other.join()

    assert (deleted, resumed) == (1, [])


def test_two_who_delete_all_ended_jobs_at_once_do_not_meet(anna, monkeypatch):
    ended_jobs(anna, 3)
    listed, both = jobs.list_jobs, threading.Barrier(2)

    def list_at_once(workspace):
        found = listed(workspace)
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.5)
        return found

    monkeypatch.setattr(jobs, "list_jobs", list_at_once)
    with ThreadPoolExecutor(2) as threads:
        deleted = list(threads.map(jobs.delete_ended, [anna, anna]))

    assert sorted(deleted) == [0, 3]


def test_a_job_whose_process_is_about_to_end_is_not_deleted_with_the_others(anna):
    busy, _ = ended_jobs(anna, 2)
    held = take(busy.folder / JOB_LOCK)

    assert jobs.delete_ended(anna) == 1

    release(held)
    assert list(states(anna)) == [busy.status.job_id]


def test_a_job_that_rests_between_two_chunks_is_deleted_by_its_id_alone(anna):
    job = submit(anna)
    with jobs.running(job.folder, in_chunks=True) as status:
        pass
    job_status.write_status(job.folder, status.model_copy(update={"state": "interrupted"}))

    assert jobs.delete_ended(anna) == 0
    assert states(anna) == {job.status.job_id: "interrupted"}
    jobs.delete(anna, job.status.job_id)
    assert states(anna) == {}


def test_why_a_job_rested_is_not_said_while_it_goes_on(anna):
    job = set_status(submit(anna), message="something was removed")
    with jobs.running(job.folder, in_chunks=True) as first:
        pass
    changes = {"state": "interrupted", "message": "its time was up"}
    job_status.write_status(job.folder, first.model_copy(update=changes))
    with jobs.running(job.folder, in_chunks=True) as second:
        pass

    assert (first.message, second.message) == ("something was removed", "")


# How many are kept


@pytest.fixture
def few(monkeypatch) -> int:
    """Let a visitor keep few jobs."""
    monkeypatch.setattr(jobs, "_MOST_KEPT", 4)
    return 4


def test_a_visitor_of_a_public_page_keeps_a_bounded_number_of_jobs(anna, few):
    found = ended_jobs(anna, few + 3)

    kept = [job.status.job_id for job in jobs.list_jobs(anna)]

    assert kept == [job.status.job_id for job in found[: -few - 1 : -1]]
    assert [job.status.message for job in found] == [""] * few + [
        "your oldest ended job was removed, because 4 are kept here; their runs stay"
    ] * 3
    assert [path.name for path in anna.jobs.iterdir() if path.name not in kept] == []


def test_comparisons_go_after_jobs_without_one(anna, few):
    finished = set_status(submit(anna), state="finished")
    partly = submit(anna)
    set_status(partly, state="finished")  # with the report of the runs that did not fail
    set_status(partly, state="failed")
    resting = set_status(submit(anna), state="interrupted", in_chunks=True)
    ended_jobs(anna, few)

    kept = {one.status.job_id for one in (finished, partly, resting)}
    assert kept < set(states(anna))


def test_jobs_that_wait_or_run_make_no_place_for_others(anna, few, mark_running):
    mark_running(submit(anna))
    for _ in range(few + 1):
        submit(anna)

    assert sorted(states(anna).values()) == ["queued"] * (few + 1) + ["running"]


def test_a_refused_job_takes_nobodys_place(anna, few):
    ended_jobs(anna, few)

    with pytest.raises(StoreError):
        submit(anna, jobs=0)

    assert len(states(anna)) == few


def test_ones_own_jobs_are_all_kept(tmp_path, few):
    workspace = local_workspace(tmp_path)
    ended_jobs(workspace, few + 1)

    assert len(states(workspace)) == few + 1


def test_an_unknown_job_is_refused(anna):
    with pytest.raises(StoreError) as caught:
        jobs.read_job(anna, "missing")

    assert str(caught.value) == (
        "job 'missing': not found among your jobs. Choose one from the list."
    )


def test_one_process_does_not_begin_a_job_of_another(anna, mark_running):
    job = mark_running(submit(anna))

    with (
        pytest.raises(StoreError, match="is running in another process"),
        jobs.running(job.folder),
    ):
        pass


@pytest.mark.parametrize("state", ["finished", "stopped", "failed"])
def test_a_job_that_ended_does_not_begin_again_by_itself(state, anna):
    job = set_status(submit(anna), state=state)

    with pytest.raises(StoreError, match=f"is {state}, not waiting"), jobs.running(job.folder):
        pass


def test_a_job_whose_folder_disappears_is_no_error_for_others(anna):
    first, second = submit(anna), submit(anna)

    shutil.rmtree(first.folder)

    assert [job.status.job_id for job in jobs.list_jobs(anna)] == [second.status.job_id]


def test_the_log_is_its_end_and_any_bytes_can_be_shown(anna):
    job = submit(anna)
    (job.folder / "worker.log").write_bytes(b"\xff" + b"x" * 5000 + b"end")

    assert len(job.log) == 4000
    assert job.log.endswith("end")


def test_a_job_past_its_deadline_is_asked_to_stop(anna):
    job = submit(anna)

    assert jobs.should_stop(job.folder, deadline=time.monotonic() - 1)()
    assert not jobs.should_stop(job.folder, deadline=time.monotonic() + 1000)()


def test_caps_of_a_page_are_those_of_its_profile(anna):
    public = replace(profile(), models=("other",))

    with pytest.raises(ConfigError, match="this public page offers other"):
        jobs.submit(anna, public, EXPERIMENT, kind="train", title="t")
