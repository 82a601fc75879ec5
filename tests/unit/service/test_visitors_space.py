"""The disk of a shared server: what was left long ago goes first, and what is here is kept."""

import os
import time
from dataclasses import replace

import pytest

from visitors import ANNA, BEN, keep_rows, store_run, visitor
from workbench.errors import RoomError, StoreError
from workbench.room import bound_room, check_room
from workbench.runs.experiment import Experiment
from workbench.service import jobs
from workbench.service.profile import CPU_SPACE, LOCAL
from workbench.service.space import (
    ABSENT_DAYS,
    DOWNLOADS,
    UPLOADED,
    bound_visitors,
    forget_absent,
    keep_end,
    make_room,
)
from workbench.service.workspace import open_workspace

DAY = 86_400
CARL = "carl-carl-carl-carl"


@pytest.fixture(autouse=True)
def _unbound():
    yield
    bound_room(())


def crowded(total):
    return replace(CPU_SPACE, caps=replace(CPU_SPACE.caps, total_bytes=total))


def left(root, token, *, days, size=100_000):
    """Let a visitor leave a file and go away for so many days."""
    workspace = visitor(root, token)
    workspace.folder.mkdir(parents=True)
    (workspace.folder / "rows").write_bytes(b"x" * size)
    away = time.time() - days * DAY
    os.utime(workspace.folder, (away, away))
    return workspace.folder


def test_who_was_away_the_longest_is_forgotten_first_and_no_more_than_needed(tmp_path):
    long, longer = left(tmp_path, ANNA, days=20), left(tmp_path, BEN, days=40)
    here = left(tmp_path, CARL, days=ABSENT_DAYS - 1)

    assert forget_absent(tmp_path, crowded(350_000)) == 1

    assert [path.is_dir() for path in (long, longer, here)] == [True, False, True]


def test_nobody_is_forgotten_who_was_here_lately(tmp_path):
    here = left(tmp_path, ANNA, days=ABSENT_DAYS - 1)

    assert forget_absent(tmp_path, crowded(1000)) == 0

    assert here.is_dir()


@pytest.mark.parametrize("profile", [crowded(10**9), LOCAL], ids=["there is room", "at home"])
def test_where_nothing_is_crowded_nothing_is_forgotten(tmp_path, profile):
    gone = left(tmp_path, ANNA, days=1000)

    assert forget_absent(tmp_path, profile) == 0

    assert gone.is_dir()


def test_a_visit_is_noted(tmp_path):
    folder = left(tmp_path, ANNA, days=30)

    open_workspace(tmp_path, ANNA, is_public=True)

    assert forget_absent(tmp_path, crowded(1000)) == 0
    assert folder.is_dir()


def test_a_visit_makes_no_folder(tmp_path):
    open_workspace(tmp_path, ANNA, is_public=True)

    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def downloads(tmp_path):
    """Return a function that makes a download, in a room of 200 kB for each owner, 1 MB for all."""
    folder = tmp_path / "downloads"
    caps = replace(CPU_SPACE.caps, stored_bytes=100_000)
    bound_visitors(tmp_path, replace(CPU_SPACE, caps=caps), exports=folder)

    def make(owner, name, *, size=90_000, age=0):
        path = folder / owner / name
        path.mkdir(parents=True)
        (path / "run.zip").write_bytes(b"x" * size)
        os.utime(path, (time.time() - age, time.time() - age))
        return path

    return make


def test_an_owners_older_downloads_make_room_for_a_new_one(tmp_path, downloads):
    others = downloads("b", "kept", age=1000)
    old, new = downloads("a", "old", age=30), downloads("a", "new", age=10)

    make_room(old.parent, 90_000)

    assert [path.exists() for path in (old, new, others)] == [False, True, True]
    make_room(old.parent, 180_000)
    assert [path.exists() for path in (new, others)] == [False, True]
    with pytest.raises(RoomError, match=r"downloads of your address take .* of the 0\.2 MB"):
        make_room(old.parent, 300_000)


def test_who_has_most_gives_way_when_all_downloads_are_full(tmp_path, downloads):
    mine = downloads("a", "mine", size=10_000, age=100)
    full = [downloads(owner, name, age=90) for owner in "vwxyz" for name in ("one", "two")]

    make_room(tmp_path / "downloads" / "new", 90_000)

    assert mine.exists()
    assert sum(path.exists() for path in full) == 9


def test_new_downloads_of_others_stay(tmp_path, downloads):
    full = [downloads(owner, name, size=100_000) for owner in "vwxyz" for name in ("one", "two")]

    with pytest.raises(RoomError, match="all visitors together"):
        make_room(tmp_path / "downloads" / "new", 90_000)

    assert all(path.exists() for path in full)


def test_downloads_are_few_and_none_is_older_than_a_day(tmp_path, downloads, monkeypatch):
    monkeypatch.setattr("workbench.service.space._MOST_DOWNLOADS", 10)
    old = downloads("b", "old", age=DAY + 1)
    for number in range(12):
        downloads("a", str(number), size=1, age=number)

    make_room(tmp_path / "downloads" / "a", 1)

    assert not old.exists()
    left = {path.name for path in (tmp_path / "downloads" / "a").iterdir()}
    assert left == {str(number) for number in range(10)}


def test_downloads_take_no_room_of_uploads(tmp_path, downloads):
    caps = replace(CPU_SPACE.caps, stored_bytes=100_000)
    served = tmp_path / "served"
    exports = served / DOWNLOADS
    bound_visitors(tmp_path, replace(CPU_SPACE, caps=caps), exports=exports, uploads=served)
    for owner in "abcde":
        for name in ("one", "two"):
            (exports / owner / name).mkdir(parents=True)
            (exports / owner / name / "run.zip").write_bytes(b"x" * 98_000)

    check_room(served / UPLOADED / "upload", 900_000)

    (served / UPLOADED).mkdir()
    (served / UPLOADED / "upload").write_bytes(b"x" * 900_000)
    with pytest.raises(RoomError):
        check_room(served / UPLOADED / "upload", 900_000)


def test_a_log_keeps_its_end_while_somebody_writes_it(tmp_path):
    log = tmp_path / "worker.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"begin" + b"x" * 300_000 + b"end")
        keep_end(log)
        writer.write(b"more")

    assert log.stat().st_size < 60_000
    assert log.read_bytes().endswith(b"endmore")


def test_a_visitor_can_get_rid_of_everything(tmp_path):
    anna = visitor(tmp_path, ANNA)
    keep_rows(anna, tmp_path)
    run = store_run(anna.folder)
    job = jobs.submit(
        anna,
        CPU_SPACE,
        Experiment(model=CPU_SPACE.models[0]),
        kind="train",
        title="x",
    )
    with pytest.raises(StoreError, match="1 unfinished"):
        jobs.delete_ended(anna)
    jobs.stop(anna, job.status.job_id)

    assert jobs.delete_ended(anna) == 1
    assert anna.delete_files() > 0
    assert anna.run(run)
    anna.delete_run(run)

    assert anna.stored_bytes() == 0
