"""Folders of a process go with it, however it ends; those of the living stay."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from security.flows import ROWS
from security.raw import Visitor
from security.serving import running_app
from workbench.ui import own_folders

OWNER = """
import os, sys, time
from pathlib import Path
from workbench.ui.own_folders import own_folder, remove_when_stopped
folder = own_folder(Path(sys.argv[1]))
remove_when_stopped()
(folder / "mine").mkdir()
(folder / "mine" / "export.zip").write_bytes(b"x")
if "fork" in sys.argv and os.fork() == 0:
    time.sleep(60)
print(folder, flush=True)
if "end" not in sys.argv:
    time.sleep(60)
"""


@pytest.fixture
def place(tmp_path):
    """Return a folder with nothing in it."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def owner(parent, *how):
    """Start a process with a folder; return both."""
    command = [sys.executable, "-c", OWNER, str(parent), *how]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("how", ["end", "SIGTERM"])
def test_a_process_that_ends_takes_its_folder_along(place, how):
    process, folder = owner(place, how)
    if how == "SIGTERM":
        assert (folder / "mine" / "export.zip").exists()
        process.send_signal(signal.SIGTERM)

    code = process.wait(30)

    assert code == (0 if how == "end" else -signal.SIGTERM)
    assert list(place.iterdir()) == []
    process.stdout.close()


def test_what_a_killed_process_leaves_the_next_one_removes(place, monkeypatch):
    monkeypatch.setattr(own_folders, "_LOCKING_SECONDS", 0)
    living, kept = owner(place)
    killed, left = owner(place)
    killed.kill()
    killed.wait(30)
    assert (left / "mine" / "export.zip").exists()
    foreign = place / "workbench-of-somebody"
    foreign.mkdir()

    own = own_folders.own_folder(place)

    assert {*place.iterdir()} == {kept, own, foreign}
    assert (kept / "mine" / "export.zip").exists()
    living.kill()
    living.wait(30)
    for process in (living, killed):
        process.stdout.close()


def test_a_lock_that_is_about_to_be_taken_is_let_be(place):
    folder = place / "workbench-new"
    folder.mkdir()
    lock = folder / ".alive"
    lock.touch()

    own_folders.own_folder(place)
    assert folder.exists()

    os.utime(lock, (time.time() - 60, time.time() - 60))
    own_folders.own_folder(place)
    assert not folder.exists()


def test_a_link_to_elsewhere_is_not_followed(place):
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (elsewhere / ".alive").touch()
    os.utime(elsewhere / ".alive", (0, 0))
    parent = place / "parent"
    parent.mkdir()
    (parent / "workbench-link").symlink_to(elsewhere)

    own_folders.own_folder(parent)

    assert (elsewhere / "kept").exists()


def test_a_fork_that_is_stopped_leaves_its_parents_folder(place):
    process, folder = owner(place, "fork")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("the children of a process are not listed here")
    (child,) = children.read_text().split()

    os.kill(int(child), signal.SIGTERM)
    time.sleep(0.5)

    assert (folder / "mine" / "export.zip").exists()
    process.terminate()
    process.wait(30)
    assert not folder.exists()
    process.stdout.close()


@pytest.mark.parametrize("is_quiet", [True, False])
def test_only_parts_of_uploads_are_strays(place, is_quiet):
    whole = place / ("a" * 64)
    whole.mkdir()
    old, new = place / "tmpold", place / "tmpnew"
    for file in (whole / "tmpx.csv", old, new, place / ".alive"):
        file.touch()
        os.utime(file, (0, 0))
    os.utime(new)

    own_folders.remove_strays(place, is_quiet=is_quiet)

    assert {*place.iterdir()} == {whole, place / ".alive"} | (set() if is_quiet else {new})
    assert (whole / "tmpx.csv").exists()
    own_folders.remove_strays(place / "absent", is_quiet=True)


def test_an_app_that_is_stopped_leaves_no_upload_and_no_export(place, tiny_folder):
    temporary = place / "tmp"
    temporary.mkdir()
    app = running_app(place / "runs", "local", tiny_folder, scratch=place, TMPDIR=str(temporary))
    with app as address:
        visitor = Visitor(address, "")
        stored = Path(visitor.upload("rows.csv", ROWS.encode()))
        made = list(temporary.glob("workbench-*"))
        (made[0] / "export.zip").touch()
        visitor.close()
        assert stored.exists()
        assert stored.is_relative_to(place / "gradio")

    assert len(made) == 1
    assert not stored.exists()
    assert list(temporary.glob("workbench-*")) == []
    assert list((place / "gradio").glob("workbench-*")) == []
