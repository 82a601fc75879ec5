"""Leases: one process of many holds something, a dead one does not, a living one is not robbed."""

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from specs import spec_of
from stores.made import record
from workbench.errors import BusyRun, ConfigError, StoreError
from workbench.progress import Interrupted
from workbench.runs import lease as lease_module
from workbench.runs.address import Address, AddressClaims
from workbench.runs.claims import Claims, FolderClaims
from workbench.runs.folder_lock import alone_in
from workbench.runs.lease import LeaseTimes, leased, process_start
from workbench.runs.store import RunStore

TIMES = LeaseTimes(expires=3.0, beat=0.3, settle=0.2)
SHORT = LeaseTimes(expires=1.5, beat=0.3, settle=0.2)


@pytest.fixture(params=["folder", "s3", "memory"])
def claims(request, tmp_path) -> Claims:
    """Return a place for claims of each kind."""
    if request.param == "folder":
        return FolderClaims(tmp_path / "claims")
    if request.param == "memory":
        return AddressClaims(Address(f"memory://{tmp_path.name}"), "claims")
    return AddressClaims(Address(request.getfixturevalue("bucket")), "claims")


def elsewhere(monkeypatch, name: str) -> None:
    """Have this process believe that it runs on another machine."""
    monkeypatch.setattr(lease_module, "_machine", lambda: name)


def left_by_another_machine(claims: Claims, **changes: object) -> bytes:
    """Leave the claim of a machine that is gone."""
    said = {"host": "node-7", "pid": 4711, "machine": "m7", "process": "1", "token": "t7"}
    content = json.dumps(said | {"expires": 0.9, "beat": 3} | changes).encode()
    assert claims.create("0000004", content)
    return content


def ended_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_process_that_is_gone_and_one_that_nobody_waited_for_are_told_from_a_living_one():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    alive = process_start(child.pid)

    child.kill()
    while process_start(child.pid) == alive:
        time.sleep(0.01)
    as_zombie = process_start(child.pid)
    child.wait()
    child.stdin.close()

    assert alive not in ("gone", "")
    assert (as_zombie, process_start(child.pid)) == ("gone", "gone")
    assert process_start(os.getpid()) == process_start(os.getpid()) != alive


def test_a_second_one_is_told_at_once_who_has_it(claims):
    with leased(claims, TIMES, "run x"):
        began = time.monotonic()
        with pytest.raises(BusyRun) as caught, leased(claims, TIMES, "run x"):
            pass
        seconds = time.monotonic() - began

    assert caught.value.pid == os.getpid()
    assert str(caught.value) == (
        f"run x: process {os.getpid()} on {caught.value.host} is working on it. Wait for it, or "
        "use another folder with --out."
    )
    assert seconds < TIMES.beat * 3
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.pid, again.host) == (
        str(caught.value),
        os.getpid(),
        caught.value.host,
    )


def test_nothing_is_left_of_a_lease_that_was_released(claims, tmp_path):
    for _ in range(2):
        with leased(claims, TIMES, "run x"):
            assert claims.names() == ["0000001"]

    assert claims.names() == []
    assert not (tmp_path / "claims").exists()


def test_a_death_in_the_middle_of_a_takeover_locks_nobody_out(claims):
    """Its maker died before it had removed the claim that it took over: both are left."""
    left_by_another_machine(claims)
    said = {"host": "node-8", "pid": 4712, "machine": "m8", "process": "1", "token": "t8"}
    assert claims.create("0000005", json.dumps(said | {"expires": 0.9, "beat": 9}).encode())

    with leased(claims, SHORT, "run x"):
        assert len(claims.names()) == 1

    assert claims.names() == []


def test_a_claim_that_this_process_left_behind_is_its_own_to_take(claims, monkeypatch):
    def unreachable(name: str) -> None:
        raise StoreError("out of reach")

    with monkeypatch.context() as patch, leased(claims, TIMES, "run x"):
        patch.setattr(claims, "remove", unreachable, raising=False)
    assert len(claims.names()) == 1
    began = time.monotonic()

    with leased(claims, TIMES, "run x"):
        assert len(claims.names()) == 1

    assert time.monotonic() - began < TIMES.expires


def test_a_process_of_this_machine_that_died_is_followed_at_once(claims, monkeypatch):
    machine = lease_module._machine()
    left_by_another_machine(claims, machine=machine, pid=ended_process(), expires=3600)

    began = time.monotonic()
    with leased(claims, LeaseTimes(), "run x"):
        assert claims.names() == ["0000005"]

    assert time.monotonic() - began < LeaseTimes().beat / 2


def test_another_process_with_the_number_of_one_that_died_holds_nothing(claims):
    machine = lease_module._machine()
    left_by_another_machine(claims, machine=machine, pid=os.getpid(), process="5", expires=3600)

    with leased(claims, LeaseTimes(), "run x"):
        assert claims.names() == ["0000005"]


def test_a_machine_that_died_is_followed_after_the_time_and_not_before(claims):
    left_by_another_machine(claims)

    began = time.monotonic()
    with leased(claims, SHORT, "run x"):
        seconds = time.monotonic() - began
        assert claims.names() == ["0000005"]

    assert SHORT.expires <= seconds < 20


def test_the_longer_time_of_two_is_what_counts(claims):
    left_by_another_machine(claims, expires=3.5)

    began = time.monotonic()
    with leased(claims, SHORT, "run x"):
        assert time.monotonic() - began >= 3.5


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff"])
def test_a_claim_that_is_torn_is_watched_like_any_other(content, tmp_path):
    claims = FolderClaims(tmp_path / "claims")
    claims.create("0000001", content)

    with leased(claims, SHORT, "run x"):
        assert claims.names() == ["0000002"]


def test_a_living_process_of_another_machine_keeps_what_it_has(claims, monkeypatch):
    with leased(claims, TIMES, "run x"):
        elsewhere(monkeypatch, "other")
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(BusyRun), leased(claims, TIMES, "run x"):
                pass
            assert time.monotonic() - began < TIMES.expires
        assert claims.names() == ["0000001"]


@pytest.mark.parametrize("hours", [-30, 30])
def test_no_clock_of_another_machine_decides_anything(hours, tmp_path, monkeypatch):
    """What its files and its processes say about the time is never read."""
    claims = FolderClaims(tmp_path / "claims")
    real, ahead = time.time, 3600 * hours
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    with leased(claims, TIMES, "run x"):
        monkeypatch.setattr(time, "time", real)
        elsewhere(monkeypatch, "other")
        stamp = real() + ahead
        os.utime(tmp_path / "claims" / "0000001", (stamp, stamp))
        with pytest.raises(BusyRun), leased(claims, TIMES, "run x"):
            pass
    left_by_another_machine(claims)
    os.utime(tmp_path / "claims" / "0000004", (stamp, stamp))

    began = time.monotonic()
    with leased(claims, SHORT, "run x"):
        assert SHORT.expires <= time.monotonic() - began < 20


def test_of_many_who_want_what_is_left_one_gets_it(claims, monkeypatch):
    left_by_another_machine(claims)
    times = LeaseTimes(expires=3.0, beat=1.0, settle=0.2)  # six threads wait for one processor
    held, most, got, lock = [], [], [], threading.Lock()

    def work(number: int) -> None:
        try:
            with leased(claims, times, "run x"):
                with lock:
                    held.append(number)
                    most.append(len(held))
                time.sleep(0.3)
                with lock:
                    held.remove(number)
                    got.append(number)
        except BusyRun:
            pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert got
    assert set(most) == {1}


def test_a_holder_that_woke_up_in_time_keeps_it_and_who_came_gives_way(tmp_path, monkeypatch):
    """He was believed dead, and renewed his claim just before the next one was made."""
    claims = FolderClaims(tmp_path / "claims")
    content = left_by_another_machine(claims)
    create = FolderClaims.create

    def renewed_meanwhile(self: FolderClaims, name: str, mine: bytes) -> bool:
        made = create(self, name, mine)
        self.write("0000004", content.replace(b'"beat": 3', b'"beat": 4'))
        return made

    monkeypatch.setattr(FolderClaims, "create", renewed_meanwhile)
    with pytest.raises(BusyRun, match="process 4711 on node-7"), leased(claims, SHORT, "run x"):
        pass

    assert claims.names() == ["0000004"]


HOLDER = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from specs import spec_of
from workbench.atomic import write_text
from workbench.errors import LostRun
from workbench.progress import raise_if_stopped
from workbench.runs import lease
from workbench.runs.store import RunStore

lease._machine = lambda: "another"
root, expires, work = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
try:
    with RunStore(root, lease=lease.LeaseTimes(expires, 0.3)).working_on(spec_of()) as folder:
        print("held", flush=True)
        input()
        while work == "compute":
            raise_if_stopped()
        write_text(folder / "late.txt", "late")
        print("wrote", flush=True)
        input()
except LostRun as error:
    print("lost:", error, flush=True)
"""


@contextmanager
def holder(root: Path, *, expires: float = 1.5, work: str = "write") -> Iterator[subprocess.Popen]:
    """Run a process of another machine that holds a run and then waits to be told to go on."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), str(expires), work],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def go_on(child: subprocess.Popen) -> None:
    child.stdin.write("\n")
    child.stdin.flush()


@pytest.mark.parametrize("work", ["write", "compute"])
def test_who_was_asleep_and_was_followed_ends_and_writes_no_more(work, tmp_path):
    with holder(tmp_path, work=work) as child:
        child.send_signal(signal.SIGSTOP)
        go_on(child)
        with RunStore(tmp_path, lease=SHORT).working_on(spec_of()) as folder:
            child.send_signal(signal.SIGCONT)
            said = child.stdout.readline()
            assert not (folder / "late.txt").exists()
            assert os.listdir(folder / ".lock.claims") == ["0000002"]

    assert said.startswith(
        f"lost: run {spec_of().run_id}: this process no longer holds it: process {os.getpid()} on "
    )
    assert said.endswith("Ask for it again to get its result.\n")


def test_who_was_asleep_and_was_not_followed_goes_on(tmp_path):
    with holder(tmp_path) as child:
        child.send_signal(signal.SIGSTOP)
        time.sleep(2.0)
        go_on(child)
        child.send_signal(signal.SIGCONT)

        assert child.stdout.readline() == "wrote\n"


def test_a_killed_process_of_another_machine_is_followed(tmp_path):
    with holder(tmp_path) as child:
        child.kill()
        child.wait()

        began = time.monotonic()
        with RunStore(tmp_path, lease=SHORT).working_on(spec_of()):
            assert time.monotonic() - began >= SHORT.expires


def test_a_lock_that_a_dead_machine_left_keeps_nobody_out_for_good(tmp_path):
    store, folder = RunStore(tmp_path, lease=SHORT), tmp_path / spec_of().run_id
    folder.mkdir()
    left_by_another_machine(FolderClaims(folder / ".lock.claims"))
    with FileLock(folder / ".lock"):
        for _ in range(2):
            with store.working_on(spec_of()):
                pass


def test_a_store_of_one_machine_has_no_claims_and_no_threads(tmp_path):
    store, threads = RunStore(tmp_path), threading.active_count()

    with store.working_on(spec_of()) as folder, alone_in(tmp_path):
        assert sorted(os.listdir(folder)) == [".lock", "spec.json"]
        assert sorted(os.listdir(tmp_path)) == [".experiment.lock", spec_of().run_id]
        assert threading.active_count() == threads


def test_who_was_not_told_that_a_folder_is_shared_goes_by_its_claims(tmp_path):
    with RunStore(tmp_path, lease=TIMES).working_on(spec_of()) as folder:
        (folder / ".lock").unlink()  # as if locks reached no other machine
        with (
            pytest.raises(BusyRun, match=f"process {os.getpid()} on "),
            RunStore(tmp_path).working_on(spec_of()),
        ):
            pass


def test_a_plain_lock_keeps_out_who_shares_a_folder(tmp_path):
    with (
        RunStore(tmp_path).working_on(spec_of()),
        pytest.raises(BusyRun, match="another process is working on it"),
        RunStore(tmp_path, lease=TIMES).working_on(spec_of()),
    ):
        pass


def test_the_folder_of_an_experiment_is_held_in_the_same_way(tmp_path):
    with alone_in(tmp_path, TIMES):
        assert (tmp_path / ".experiment.lock.claims" / "0000001").is_file()
        with (
            pytest.raises(BusyRun, match=r"process \d+ on .* is working in it"),
            alone_in(tmp_path),
        ):
            pass

    assert os.listdir(tmp_path) == [".experiment.lock"]


def test_the_files_of_a_lease_are_none_of_the_run(tmp_path):
    store = RunStore(tmp_path, lease=TIMES)
    with store.working_on(spec_of()):
        store.write_predictions(spec_of().run_id, [])
        store.write_record(record(spec_of().run_id))

    run = store.find(spec_of().run_id)
    assert set(run.files) == {"spec.json", "predictions.jsonl"}
    assert run.damaged() == []


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(FolderClaims, "create", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with (
        pytest.raises(StoreError, match=r"cannot be written\. Read-only file system"),
        RunStore(tmp_path, lease=TIMES).working_on(spec_of()),
    ):
        pass


def test_times_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="expires after 10 s cannot be renewed every 5 s"):
        LeaseTimes(expires=10, beat=5)


def test_a_wish_to_stop_is_no_loss(claims):
    with pytest.raises(Interrupted, match="by hand"), leased(claims, TIMES, "run x"):
        raise Interrupted("by hand")

    assert claims.names() == []
