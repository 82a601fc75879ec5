"""One job at a time below a root, whatever clocks, process numbers and status files say.

Jobs and those who look at them are real processes here. A clock is shifted as the system shows a
shift: libfaketime for the process that looks, and another boot time in /proc/stat, by which the
start times of processes are told. A container is another namespace of process numbers.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from visitors import ANNA, BEN, local_workspace, visitor
from workbench.errors import StoreError
from workbench.runs.experiment import Experiment
from workbench.service import jobs, worker
from workbench.service.profile import Profile
from workbench.service.workspace import Workspace

PROFILE = Profile("tests", is_public=True)
LOOK = """
import sys
from pathlib import Path
from workbench.service import jobs
sys.executable = sys.argv[2]
jobs.start_next(Path(sys.argv[1]))
"""
_PYTHON = sys.executable
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


def _can(*command: str) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


needs_namespaces = pytest.mark.skipif(
    not _can("unshare", "-m", "-p", "-f", "true"),
    reason="needs the right to make namespaces, for another boot time or a container",
)


class House:
    """A root with jobs whose processes only wait, and processes that look at them."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root, self._scratch = root, scratch
        self._program = scratch / "stand-in"
        self._program.write_text("#!/bin/sh\nexec sleep 120\n")
        self._program.chmod(0o755)
        self._environment = os.environ | {"STARTED_BY": str(scratch)}

    def submit(self, token: str) -> jobs.Job:
        experiment = Experiment(methods={"zero_shot": {}})
        workspace = visitor(self.root, token)
        return jobs.submit(workspace, PROFILE, experiment, kind="train", title="a job")

    def command(self, script: str = LOOK) -> list[str]:
        """Return the command of a process that looks."""
        return [_PYTHON, "-c", script, str(self.root), str(self._program)]

    def look(self) -> None:
        """Start the next job, as any page does."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STARTED_BY", str(self._scratch))
            patch.setattr(sys, "executable", str(self._program))
            jobs.start_next(self.root)

    @contextmanager
    def elsewhere(self, *before: str, script: str = LOOK) -> Iterator[None]:
        """Let a process look, by a command that shows it another world; it stays for the block."""
        done = self._scratch / "looked"
        stay = f'"$@"; touch {done}; exec sleep 60'
        command = [*before, "sh", "-c", stay, "sh", *self.command(script)]
        process = subprocess.Popen(command, env=self._environment, start_new_session=True)
        try:
            deadline = time.monotonic() + 60
            while not done.exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def processes(self) -> list[psutil.Process]:
        """Return the living processes of jobs."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                is_ours = process.environ().get("STARTED_BY") == str(self._scratch)
                if is_ours and process.cmdline() == ["sleep", "120"]:
                    found.append(process)
        return found

    def settled(self) -> list[psutil.Process]:
        """Return them once there is one, and what would start beside it has had time to."""
        deadline = time.monotonic() + 20
        while not self.processes():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.2)
        return self.processes()


@pytest.fixture
def house(tmp_path) -> Iterator[House]:
    house = House(tmp_path / "root", tmp_path)
    yield house
    for process in house.processes():
        process.kill()


@pytest.fixture
def busy(house) -> House:
    """Return a house in which one job runs and another one waits."""
    house.submit(ANNA)
    house.submit(BEN)
    house.look()
    assert len(house.settled()) == 1
    return house


# Clocks


@needs_namespaces
@pytest.mark.parametrize("seconds", [-5, 86_400])
def test_a_clock_that_was_set_starts_no_second_job(seconds, busy, tmp_path):
    lines = Path("/proc/stat").read_text().splitlines()
    shifted = [
        f"btime {int(line.split()[1]) + seconds}" if line.startswith("btime") else line
        for line in lines
    ]
    fake = tmp_path / "stat"
    fake.write_text("\n".join(shifted) + "\n")
    mount = f'mount --bind {fake} /proc/stat && exec "$@"'

    with busy.elsewhere("unshare", "-m", "sh", "-c", mount, "sh"):
        assert len(busy.settled()) == 1


@pytest.mark.skipif(not FAKETIME.is_file(), reason="needs libfaketime")
def test_a_job_submitted_after_the_clock_was_set_back_comes_after_the_older_ones(house):
    old = house.submit(ANNA)
    submit = (
        "import sys\nfrom pathlib import Path\n"
        "from workbench.runs.experiment import Experiment\n"
        "from workbench.service import jobs\n"
        "from workbench.service.profile import Profile\n"
        "from workbench.service.workspace import open_workspace\n"
        "workspace = open_workspace(Path(sys.argv[1]), sys.argv[3], is_public=True)\n"
        "profile, asked = Profile('tests', is_public=True), Experiment(methods={'zero_shot': {}})\n"
        "jobs.submit(workspace, profile, asked, kind='train', title='a job')\n"
    )
    subprocess.run(
        [*house.command(submit), BEN],
        env=os.environ | {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "-400d"},
        check=True,
        timeout=60,
    )
    (new,) = jobs.list_jobs(visitor(house.root, BEN))
    assert new.status.created < old.status.created

    house.look()

    assert len(house.settled()) == 1
    assert jobs.list_jobs(visitor(house.root, ANNA))[0].status.state == "running"
    assert jobs.place_in_queue(house.root, new) == 1


# Numbers and containers


CONTAINER = ("unshare", "-m", "-p", "-f", "--kill-child", "--mount-proc")


@needs_namespaces
def test_a_page_in_another_container_sees_that_a_job_lives(busy):
    with busy.elsewhere(*CONTAINER):
        assert len(busy.settled()) == 1


@needs_namespaces
def test_a_job_started_in_another_container_is_seen_to_live(house):
    house.submit(ANNA)
    house.submit(BEN)

    with house.elsewhere(*CONTAINER):
        assert len(house.settled()) == 1
        house.look()
        assert len(house.settled()) == 1


# Status files


@pytest.mark.parametrize(
    "content",
    ["", '{"job_id', "lost", "queued", "interrupted", "finished", "other number", "folder"],
)
def test_whatever_a_status_says_no_second_job_starts_beside_a_living_one(content, busy):
    (running,) = (
        path
        for path in busy.root.glob("visitors/*/jobs/*/status.json")
        if json.loads(path.read_text())["state"] == "running"
    )
    status = json.loads(running.read_text())
    if content in ("lost", "folder"):
        running.unlink()
    if content == "folder":
        running.mkdir()
    elif content in ("queued", "interrupted", "finished"):
        running.write_text(json.dumps(status | {"state": content}))
    elif content == "other number":
        running.write_text(json.dumps(status | {"pid": 2**22 + 1, "pid_started": 1.0}))
    elif content != "lost":
        running.write_text(content)

    for _ in range(2):
        busy.look()

    assert len(busy.settled()) == 1


def test_a_job_whose_folder_is_deleted_by_hand_keeps_the_place_while_it_computes(busy):
    for folder in busy.root.glob("visitors/*/jobs/*"):
        if json.loads((folder / "status.json").read_text())["state"] == "running":
            shutil.rmtree(folder)

    busy.look()

    assert len(busy.settled()) == 1


# Hand-over and end


def test_a_page_that_dies_right_after_it_started_a_job_leaves_no_gap(house):
    house.submit(ANNA)
    house.submit(BEN)
    dying = LOOK + "\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    with house.elsewhere(script=dying):
        pass

    house.look()

    assert len(house.settled()) == 1


def test_two_pages_over_one_root_start_one_job_between_them(house):
    for token in (ANNA, BEN):
        house.submit(token)
    pages = [
        subprocess.Popen(
            house.command(LOOK + "jobs.start_next(Path(sys.argv[1]))\n" * 20),
            env=os.environ | {"STARTED_BY": str(house.root.parent)},
        )
        for _ in range(2)
    ]
    assert [page.wait(60) for page in pages] == [0, 0]

    assert len(house.settled()) == 1


def test_a_killed_job_makes_room_at_once(busy):
    (process,) = busy.processes()
    process.kill()
    process.wait(10)

    busy.look()

    assert len(busy.settled()) == 1
    assert busy.processes()[0].pid != process.pid


def test_a_job_started_by_hand_beside_a_running_one_is_refused(busy, monkeypatch):
    waiting = next(
        path.parent
        for path in busy.root.glob("visitors/*/jobs/*/status.json")
        if json.loads(path.read_text())["state"] == "queued"
    )

    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)  # those of the tests stay
    with pytest.raises(StoreError, match=r"a job is running there\. Wait for it, or stop it\."):
        worker.main([str(waiting)])


def test_what_a_job_starts_itself_does_not_keep_its_place_when_it_dies(tmp_path):
    root = tmp_path / "root"
    workspace: Workspace = local_workspace(root)
    job = jobs.submit(workspace, PROFILE, Experiment(), kind="train", title="a job")
    script = (
        "import subprocess, sys\n"
        "from pathlib import Path\n"
        "from workbench.service.job_locks import adopt, take\n"
        "path = Path(sys.argv[1]) / '.job.lock'\n"
        "held = take(path)\n"
        "import os; os.set_inheritable(held, True)\n"  # as one that was handed over is
        "adopt(path, held)\n"
        "subprocess.Popen(['sleep', '30'], close_fds=False)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(job.folder)], check=True, timeout=60)
    try:
        with jobs.running(job.folder):
            pass
    finally:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.cmdline() == ["sleep", "30"] and process.ppid() == 1:
                    process.kill()
