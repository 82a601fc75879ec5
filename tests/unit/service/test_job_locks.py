"""Locks beside forks: a process that was forked while one was held does not hold it on."""

import os
import signal
from collections.abc import Iterator

import pytest

from visitors import ANNA, visitor
from workbench.runs.experiment import Experiment
from workbench.service import job_locks, jobs
from workbench.service.job_locks import JOB_LOCK, hand_over, is_held, release, take
from workbench.service.job_queue import changing
from workbench.service.profile import Profile

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@pytest.fixture
def fork() -> Iterator:
    """Return a function that forks a process, which does nothing until it is ended."""
    children = []

    def begin() -> None:
        child = os.fork()
        if not child:
            signal.alarm(60)
            signal.pause()
            os._exit(0)
        children.append(child)

    yield begin
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_process_forked_while_the_queue_is_held_does_not_hold_it_on(tmp_path, fork):
    with changing(tmp_path):
        fork()

    assert not is_held(tmp_path / ".jobs.lock")


def test_a_process_forked_by_a_job_does_not_keep_the_job_alive(tmp_path, fork):
    experiment = Experiment(methods={"zero_shot": {}})
    workspace = visitor(tmp_path, ANNA)
    job = jobs.submit(workspace, Profile("tests"), experiment, kind="train", title="t")
    held = take(job.folder / JOB_LOCK)  # as the one that starts it would
    with jobs.running(job.folder, held):
        fork()

    assert not is_held(job.folder / JOB_LOCK)


def test_a_process_forked_by_a_look_at_a_lock_keeps_nobody_from_taking_it(
    tmp_path, fork, monkeypatch
):
    path = tmp_path / ".lock"
    path.touch()
    flock = job_locks.fcntl.flock

    def fork_once_locked(opened: int, operation: int) -> None:
        flock(opened, operation)
        if operation & job_locks.fcntl.LOCK_SH:
            fork()

    monkeypatch.setattr(job_locks.fcntl, "flock", fork_once_locked)
    is_held(path)

    held = take(path)
    assert held is not None
    release(held)


def test_a_lock_that_was_handed_over_stays_held_by_its_new_owner(tmp_path):
    path = tmp_path / ".lock"
    held = take(path)
    given = os.dup(held)  # the same open file, as in the process that was given it

    hand_over(held)

    assert is_held(path)
    release(given)
    assert not is_held(path)
