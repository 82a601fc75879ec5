"""Work that never asks whether to stop is ended from outside, and only while it goes on."""

import itertools
import subprocess
import sys
import threading
import time

import pytest

from visitors import keep_rows, local_workspace, tiny_experiment
from workbench.progress import Interrupted
from workbench.service import jobs
from workbench.service.interruption import interrupted_by
from workbench.service.jobs import read_job
from workbench.service.profile import LOCAL
from workbench.service.worker import work

LONG = 300  # seconds; nobody waits for it


def test_a_block_ends_wherever_it_is():
    times = itertools.count()

    with pytest.raises(Interrupted), interrupted_by(lambda: next(times) >= 1):
        time.sleep(LONG)

    time.sleep(0.5)  # nothing arrives afterwards


def test_who_swallows_the_wish_hears_it_again():
    heard: list[Interrupted] = []

    def swallow() -> None:
        while len(heard) < 2:
            try:
                time.sleep(LONG)
            except Interrupted as wish:
                heard.append(wish)
        time.sleep(LONG)

    with pytest.raises(Interrupted), interrupted_by(lambda: True):
        swallow()

    assert len(heard) == 2


def test_a_block_that_nobody_stops_is_left_alone():
    with interrupted_by(lambda: False):
        time.sleep(0.5)


def test_another_thread_goes_on_to_its_end():
    done = threading.Event()

    def elsewhere() -> None:
        with interrupted_by(lambda: True):
            time.sleep(0.5)
        done.set()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()

    assert done.is_set()


def test_a_job_stops_while_its_base_is_loaded(tiny_folder, tmp_path):
    workspace = local_workspace(tmp_path)
    key = keep_rows(workspace, tmp_path / "given")
    experiment = tiny_experiment(workspace, tiny_folder, key, {"zero_shot": {}})
    job = jobs.submit(workspace, LOCAL, experiment, kind="evaluate", title="a job")

    def load_for_ever(*_: object):
        jobs.stop(workspace, job.status.job_id)
        time.sleep(LONG)

    changes = {"state": "running"}
    jobs.write_status(job.folder, job.status.model_copy(update=changes))
    status = work(job.folder, workspace.store, open_session=load_for_ever)

    assert (status.state, status.message) == (
        "stopped",
        "stopped while the base was loaded; resume goes on from there",
    )
    assert read_job(workspace, job.status.job_id).status.state == "stopped"


def test_a_process_that_is_still_starting_ends_at_once(tmp_path):
    (tmp_path / "stop").touch()

    ended = subprocess.run(
        [sys.executable, "-m", "workbench.service.job_process", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (1, "")
