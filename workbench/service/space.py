"""How much of the disk visitors of a public page may fill: what `workbench/room.py` is told."""

import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from workbench.errors import RoomError
from workbench.room import Room, bound_room, check_room, count_anew, used_bytes
from workbench.service.profile import Profile
from workbench.service.workspace import VISITORS

ABSENT_DAYS = 7
_CROWDED, _ROOMY = 0.8, 0.6  # shares of what all visitors may take together
_UPLOADS_OF = 10  # visitors whose whole room may be on its way in or out at once
_ON_THE_WAY_SECONDS = 600.0  # from an upload to the click that keeps it
_LOG_BYTES, _KEPT_LOG_BYTES = 200_000, 50_000


def bound_visitors(
    root: Path, profile: Profile, *, exports: Path | None = None, uploads: Path | None = None
) -> None:
    """Bound what this process writes for visitors; on one's own machine nothing is.

    Args:
        root: Folder of all runs.
        profile: Says how much.
        exports: Folder of files made for downloads, with a folder for each visitor.
        uploads: Where files are kept on their way in and out.
    """
    caps = profile.caps
    runs = Room(
        folder=root.resolve() / VISITORS, each_bytes=caps.stored_bytes, total_bytes=caps.total_bytes
    )
    rooms = [runs]
    if exports is not None:
        advice = "Files made for downloads are removed after a while; try again later."
        rooms.append(replace(runs, folder=exports.resolve(), what="your downloads", advice=advice))
    if uploads is not None:
        rooms.append(
            Room(
                folder=uploads.resolve(),
                total_bytes=_UPLOADS_OF * caps.stored_bytes,
                what="files that were uploaded",
                advice="They are removed after a while; try again later.",
            )
        )
    bound_room(rooms if profile.is_public else ())


def make_room(path: Path, num_bytes: int) -> None:
    """Check for room among files that are on their way; the older ones go if there is none.

    Raises:
        RoomError: there is none all the same.
    """
    try:
        check_room(path, num_bytes)
    except RoomError:
        drop_old(path.parent, _ON_THE_WAY_SECONDS)
        count_anew()
        check_room(path, num_bytes)


def drop_old(folder: Path, seconds: float) -> None:
    """Delete what lies in a folder and was written longer ago."""
    before = time.time() - seconds
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):  # another request deletes it too
            if max(one.lstat().st_mtime for one in (path, *path.rglob("*"))) < before:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def forget_absent(root: Path, profile: Profile) -> int:
    """Delete what visitors left who were not here for long, if all together take most of the disk.

    Those who were away the longest go first, until there is room again; nobody's things go who was
    here within `ABSENT_DAYS`. Returns how many were forgotten.
    """
    folder, most = root.resolve() / VISITORS, profile.caps.total_bytes
    if not profile.is_public or not folder.is_dir():
        return 0
    used, forgotten = used_bytes(folder), 0
    if used <= _CROWDED * most:
        return 0
    seen = sorted((path.stat().st_mtime, path) for path in folder.iterdir())
    before = time.time() - 86_400 * ABSENT_DAYS
    for last, path in seen:
        if last >= before or used <= _ROOMY * most:
            break
        used -= used_bytes(path)
        shutil.rmtree(path, ignore_errors=True)
        forgotten += 1
    return forgotten


def keep_end(log: Path) -> None:
    """Cut a log that grew too long to its end; whoever appends to it goes on at the new end."""
    if log.is_file() and log.stat().st_size > _LOG_BYTES:
        with log.open("r+b") as stream:
            stream.seek(-_KEPT_LOG_BYTES, 2)
            end = stream.read()
            stream.seek(0)
            stream.write(end)
            stream.truncate()
