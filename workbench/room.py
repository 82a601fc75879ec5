"""Room on the disk: whether a file may be written, asked in the one place where files are written.

A public page shares its disk among strangers. Its processes say with `bound_room` what may lie
below which folder; every writer asks `check_room` first. Where nothing was said, nothing is bound.
"""

import os
import shutil
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from workbench.errors import RoomError

STATE_FILES = frozenset(
    ("error.log", "experiment.json", "origin.json", "record.json", "spec.json", "status.json")
)
"""Small files that say what was asked and what became of it: never refused, or nobody could tell
that something was."""

_BLOCK = 4096  # bytes of disk that even an empty file takes in lists and tables of the system
_STALE = (2.0, 50)  # a count is good for 2 s, or 50 times as long as it took: 2 % of the time
_FRESH = (0.0, 5)  # before something is refused
_LARGE_BYTES = 1_000_000  # files from here on are written rarely enough to count anew for each
_MOST_COUNTS = 1000
_MOST_MARGIN = 1_000_000  # bytes kept for state files; and a share of a small room
_MARGIN_SHARE = 20
_FREE_BYTES, _FREE_SHARE = 1_000_000_000, 20  # of the disk: the smaller of 1 GB and 5 %


@dataclass(frozen=True, kw_only=True)
class Room:
    """What may lie below a folder that has a folder for each owner.

    Attributes:
        folder: The folder of folders, absolute.
        total_bytes: What all of them may take together.
        each_bytes: What one owner's folder may take; None: where there are no owners.
        what: What lies there, in the words of a message to its owner.
        advice: What an owner without room can do, as sentences.
    """

    folder: Path
    total_bytes: int
    each_bytes: int | None = None
    what: str = "your runs and files"
    advice: str = (
        "Delete runs or files you no longer need under Runs, then go on; what is finished is kept."
    )


@dataclass
class _Count:
    used: int
    at: float
    seconds: float  # that counting took


@dataclass
class _Bounds:
    """The rooms of this process and what is known about how full they are."""

    rooms: tuple[Room, ...] = ()
    counts: dict[Path, _Count] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def room_of(self, path: Path) -> Room | None:
        return next((room for room in self.rooms if path.is_relative_to(room.folder)), None)

    def used(self, folder: Path, *, good_for: tuple[float, float]) -> int:
        """Return what a folder takes: as counted last with what was written since, or anew.

        Args:
            folder: Looked at.
            good_for: How long a count is good, in seconds and in times of what it took.
        """
        count, (seconds, times) = self.counts.get(folder), good_for
        began = time.monotonic()
        if count is None or began - count.at > max(seconds, times * count.seconds):
            if len(self.counts) >= _MOST_COUNTS:
                self.counts.clear()
            used = used_bytes(folder)
            count = _Count(used, time.monotonic(), time.monotonic() - began)
            self.counts[folder] = count
        return count.used


_bounds = _Bounds()


def _begin_after_fork() -> None:
    """Let a forked process count for itself: the thread that held the lock is not in it."""
    _bounds.lock, _bounds.counts = threading.Lock(), {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)


def bound_room(rooms: Iterable[Room]) -> None:
    """Let this process write no more than the rooms have; replaces what was said before."""
    with _bounds.lock:
        _bounds.rooms = tuple(rooms)
        _bounds.counts.clear()


def is_bound(path: Path) -> bool:
    """Return whether what this process writes at an absolute path is bound."""
    return _bounds.room_of(path) is not None


def count_anew() -> None:
    """Forget how full the rooms are; call it when something was deleted."""
    with _bounds.lock:
        _bounds.counts.clear()


def check_room(path: Path, num_bytes: int) -> None:
    """Refuse to write a file there is no room for; call it before every write.

    What is let through counts as written. A file that takes another one's place counts beside it,
    because both are there for a moment; what is gone is found out by counting again.

    Args:
        path: The file, absolute; below none of the rooms anything may be written.
        num_bytes: Its size, or what is added to it.

    Raises:
        RoomError: the owner's room, that of all owners or the disk is full.
    """
    room = _bounds.room_of(path)
    if room is None or path.name in STATE_FILES:
        return
    coming = _on_disk(num_bytes)
    owner = room.folder.joinpath(*path.relative_to(room.folder).parts[:1])
    most = {room.folder: room.total_bytes}
    if room.each_bytes is not None:
        most = {owner: ordinary_bytes(room.each_bytes)} | most
    with _bounds.lock:
        for folder, bound in most.items():
            is_own = folder == owner
            used = _bounds.used(folder, good_for=_STALE)
            if used + coming > bound or (is_own and coming >= _LARGE_BYTES):
                used = _bounds.used(folder, good_for=_FRESH)
            if used + coming > bound:
                raise _no_room(room, path, coming, used, is_own=is_own)
        _check_disk(room.folder)
        for folder in most:
            if folder in _bounds.counts:
                _bounds.counts[folder].used += coming


def ordinary_bytes(each_bytes: int) -> int:
    """Return how much of an owner's room there is for other files than state files."""
    return each_bytes - min(_MOST_MARGIN, each_bytes // _MARGIN_SHARE)


def used_bytes(folder: Path) -> int:
    """Return what the files below a folder take on a disk, each in whole blocks."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += _on_disk(os.lstat(os.path.join(place, name)).st_size)
            except OSError:  # replaced meanwhile
                continue
    return total


def free_bytes(folder: Path) -> int:
    """Return how much may be written to a folder's disk before what is kept free is touched."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    disk = shutil.disk_usage(there)
    return disk.free - min(_FREE_BYTES, disk.total // _FREE_SHARE)


def _check_disk(folder: Path) -> None:
    if free_bytes(folder) <= 0:
        raise RoomError(
            "space: the disk of this server is nearly full, and the rest is kept free. Try again "
            "later; whatever is finished is kept."
        )


def _no_room(room: Room, path: Path, coming: int, used: int, *, is_own: bool) -> RoomError:
    if is_own or room.each_bytes is None:
        most = room.each_bytes if is_own and room.each_bytes else room.total_bytes
        return RoomError(
            f"space: {path.name} needs {_mb(coming)} MB, and {room.what} take {_mb(used)} of the "
            f"{_mb(most)} MB there are. {room.advice}"
        )
    return RoomError(
        f"space: {path.name} needs {_mb(coming)} MB, and all visitors together take {_mb(used)} of "
        f"the {_mb(room.total_bytes)} MB this server has for them. Try again later, or run the "
        "workbench on your own machine; whatever is finished is kept."
    )


def _on_disk(num_bytes: int) -> int:
    return max(1, -(-num_bytes // _BLOCK)) * _BLOCK


def _mb(num_bytes: int) -> str:
    return f"{max(num_bytes / 1e6, 0.1):.1f}".removesuffix(".0")
