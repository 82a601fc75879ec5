"""The disk of a shared server: what was left long ago goes first, and what is here is kept."""

import os
import time
from dataclasses import replace

import pytest

from visitors import ANNA, BEN, keep_rows, store_run, visitor
from workbench.errors import RoomError, StoreError
from workbench.room import bound_room
from workbench.runs.experiment import Experiment
from workbench.service import jobs
from workbench.service.profile import CPU_SPACE, LOCAL
from workbench.service.space import (
    ABSENT_DAYS,
    bound_visitors,
    drop_old,
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


def test_uploads_on_their_way_make_room_for_new_ones_when_they_are_old(tmp_path):
    uploads = tmp_path / "uploads"
    caps = replace(CPU_SPACE.caps, stored_bytes=100_000)  # and ten times that for uploads
    bound_visitors(tmp_path, replace(CPU_SPACE, caps=caps), uploads=uploads)
    for name, age in (("old", 3600), ("new", 1)):
        (uploads / name).mkdir(parents=True)
        for path in (uploads / name / "rows.csv", uploads / name):
            if path.suffix:
                path.write_bytes(b"x" * 450_000)
            os.utime(path, (time.time() - age, time.time() - age))

    make_room(uploads / "upload", 450_000)

    assert [path.name for path in uploads.iterdir()] == ["new"]
    (uploads / "newer").write_bytes(b"x" * 450_000)
    with pytest.raises(RoomError, match=r"uploaded take 0\.9 of the 1 MB there are"):
        make_room(uploads / "upload", 450_000)


def test_only_what_is_old_is_dropped(tmp_path):
    (tmp_path / "new").write_text("x")
    (tmp_path / "old" / "deep").mkdir(parents=True)
    (tmp_path / "old" / "deep" / "new").write_text("x")
    os.utime(tmp_path / "old", (0, 0))

    drop_old(tmp_path, 60)
    assert len(list(tmp_path.iterdir())) == 2

    drop_old(tmp_path, -1)
    assert list(tmp_path.iterdir()) == []


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
