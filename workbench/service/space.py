"""How much of the disk visitors of a public page may fill: what `workbench/room.py` is told."""

from dataclasses import replace
from pathlib import Path

from workbench.room import Room, bound_room
from workbench.service.profile import Profile
from workbench.service.workspace import VISITORS

_LOG_BYTES, _KEPT_LOG_BYTES = 200_000, 50_000


def bound_visitors(root: Path, profile: Profile, *, exports: Path | None = None) -> None:
    """Bound what this process writes for visitors; on one's own machine nothing is.

    Args:
        root: Folder of all runs.
        profile: Says how much.
        exports: Folder of files made for downloads, with a folder for each visitor.
    """
    caps = profile.caps
    runs = Room(
        folder=root.resolve() / VISITORS, each_bytes=caps.stored_bytes, total_bytes=caps.total_bytes
    )
    rooms = [runs]
    if exports is not None:
        advice = "Files made for downloads are removed after a while; try again later."
        rooms.append(replace(runs, folder=exports.resolve(), what="your downloads", advice=advice))
    bound_room(rooms if profile.is_public else ())


def keep_end(log: Path) -> None:
    """Cut a log that grew too long to its end; whoever appends to it goes on at the new end."""
    if log.is_file() and log.stat().st_size > _LOG_BYTES:
        with log.open("r+b") as stream:
            stream.seek(-_KEPT_LOG_BYTES, 2)
            end = stream.read()
            stream.seek(0)
            stream.write(end)
            stream.truncate()
