"""Room: what may lie below a folder, asked before every write, counted rarely."""

import os
import shutil
import signal
import threading
from collections import namedtuple

import pytest

from workbench import room
from workbench.atomic import write_bytes
from workbench.errors import RoomError
from workbench.room import Room, bound_room, check_room, is_bound, used_bytes

MB = 1_000_000


@pytest.fixture(autouse=True)
def _unbound():
    yield
    bound_room(())


@pytest.fixture
def visitors(tmp_path):
    """Return a folder of folders with a megabyte each and two and a half for all."""
    folder = tmp_path / "visitors"
    bound_room([Room(folder=folder, each_bytes=MB, total_bytes=5 * MB // 2)])
    return folder


def test_a_file_beyond_an_owners_room_is_refused_and_leaves_nothing(visitors):
    write_bytes(visitors / "anna" / "a", b"x" * 600_000)

    with pytest.raises(RoomError) as caught:
        write_bytes(visitors / "anna" / "deep" / "b.bin", b"x" * 600_000)

    assert str(caught.value) == (
        "space: b.bin needs 0.6 MB, and your runs and files take 0.6 of the 1 MB there are. Delete "
        "runs or files you no longer need under Runs, then go on; what is finished is kept."
    )
    assert [path.name for path in visitors.rglob("*")] == ["anna", "a"]


def test_one_owner_takes_no_room_from_another(visitors):
    write_bytes(visitors / "anna" / "a", b"x" * 900_000)

    write_bytes(visitors / "ben" / "a", b"x" * 900_000)


def test_all_owners_together_have_a_room_too(visitors):
    for name in ("anna", "ben"):
        write_bytes(visitors / name / "a", b"x" * 900_000)

    with pytest.raises(RoomError, match=r"all visitors together take 1\.8 of the 2\.5 MB"):
        write_bytes(visitors / "carl" / "a", b"x" * 900_000)


def test_a_replaced_file_counts_beside_the_new_one(visitors):
    """Both are there for a moment."""
    write_bytes(visitors / "anna" / "a", b"x" * 500_000)

    with pytest.raises(RoomError):
        write_bytes(visitors / "anna" / "a", b"x" * 500_000)


def test_what_was_deleted_is_room_again_at_once(visitors):
    write_bytes(visitors / "anna" / "a", b"x" * 900_000)
    with pytest.raises(RoomError):
        write_bytes(visitors / "anna" / "b", b"x" * 900_000)
    (visitors / "anna" / "a").unlink()

    write_bytes(visitors / "anna" / "b", b"x" * 900_000)


def test_files_of_a_byte_take_a_block_each(visitors):
    def fill():
        for number in range(MB // 4096):
            write_bytes(visitors / "anna" / f"{number}", b"x")

    with pytest.raises(RoomError):
        fill()

    assert used_bytes(visitors) <= MB


def test_what_happened_can_be_said_in_a_full_room(visitors):
    write_bytes(visitors / "anna" / "a", b"x" * 940_000)
    with pytest.raises(RoomError):
        write_bytes(visitors / "anna" / "b", b"x" * 20_000)

    write_bytes(visitors / "anna" / "run" / "record.json", b"x" * 2000)


def test_what_other_processes_wrote_is_found_before_a_large_file(visitors):
    check_room(visitors / "anna" / "a", 100)
    (visitors / "anna").mkdir(parents=True)
    (visitors / "anna" / "theirs").write_bytes(b"x" * 900_000)
    bound_room([Room(folder=visitors, each_bytes=3 * MB // 2, total_bytes=9 * MB)])
    check_room(visitors / "anna" / "a", 100)
    shutil.copy(visitors / "anna" / "theirs", visitors / "anna" / "more")

    with pytest.raises(RoomError):
        check_room(visitors / "anna" / "large", MB)


def test_counting_is_rare(visitors, monkeypatch):
    counted = []
    monkeypatch.setattr(room, "used_bytes", lambda folder: counted.append(folder) or 0)

    for number in range(50):
        check_room(visitors / "anna" / f"{number}", 100)

    assert counted == [visitors / "anna", visitors]


def test_the_disk_is_never_filled(visitors, monkeypatch):
    disk = namedtuple("disk", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk(100 * 10**9, 99.1 * 10**9, 9 * 10**8))

    with pytest.raises(RoomError, match="the disk of this server is nearly full"):
        write_bytes(visitors / "anna" / "a", b"x")


def test_elsewhere_nothing_is_bound(visitors, tmp_path):
    write_bytes(tmp_path / "mine" / "a", b"x" * 2 * MB)

    assert is_bound(visitors / "anna" / "a")
    assert not is_bound(tmp_path / "mine" / "a")


def test_links_are_counted_as_links(visitors, tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 2 * MB)
    visitors.mkdir()
    os.symlink(tmp_path / "large", visitors / "link")

    assert used_bytes(visitors) == 4096


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_forked_while_files_are_counted_can_write(visitors, monkeypatch):
    counting, forked = threading.Event(), threading.Event()

    def count(folder):
        counting.set()
        assert forked.wait(timeout=30)
        return used_bytes(folder)

    monkeypatch.setattr(room, "used_bytes", count)
    writer = threading.Thread(target=check_room, args=(visitors / "anna" / "a", 100))
    writer.start()
    assert counting.wait(timeout=30)
    child = os.fork()
    if not child:
        forked.set()
        signal.alarm(5)  # ends one that waits for ever
        check_room(visitors / "anna" / "b", 100)
        os._exit(0)
    forked.set()
    writer.join()

    assert os.waitpid(child, 0)[1] == 0
