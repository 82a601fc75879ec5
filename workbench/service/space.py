"""How much of the disk visitors of a public page may fill: what `workbench/room.py` is told."""

import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from workbench.errors import RoomError
from workbench.room import Room, bound_room, check_room, count_anew, used_bytes
from workbench.service.profile import Profile
from workbench.service.workspace import VISITORS

ABSENT_DAYS = 7
UPLOADED = "uploaded"
"""Name of the folder of uploads below the one that Gradio serves files from."""
DOWNLOADS = "downloads"
"""Name of the folder of downloads there, with a folder for each owner."""
_CROWDED, _ROOMY = 0.8, 0.6  # shares of what all visitors may take together
_UPLOADS_OF = 10  # visitors whose whole room may be on its way in, and out, at once
_DOWNLOADS_OF = 2  # visitors of one address whose whole room may be on its way out at once
_MOST_DOWNLOADS = 100  # of one address
_NEW_SECONDS = 60.0  # in which a download is fetched
_LOG_BYTES, _KEPT_LOG_BYTES = 200_000, 50_000


def bound_visitors(
    root: Path, profile: Profile, *, exports: Path | None = None, uploads: Path | None = None
) -> None:
    """Bound what this process writes for visitors; on one's own machine nothing is.

    Args:
        root: Folder of all runs.
        profile: Says how much.
        exports: Folder of files made for downloads, with a folder for each owner.
        uploads: Where files are kept on their way in, in `UPLOADED`.
    """
    caps = profile.caps
    runs = Room(
        folder=root.resolve() / VISITORS, each_bytes=caps.stored_bytes, total_bytes=caps.total_bytes
    )
    rooms = [runs]
    on_the_way = _UPLOADS_OF * caps.stored_bytes
    if exports is not None:
        rooms.append(
            Room(
                folder=exports.resolve(),
                each_bytes=_DOWNLOADS_OF * caps.stored_bytes,
                total_bytes=on_the_way,
                what="downloads of your address",
                advice="Older ones make room for new ones; try again in a minute.",
            )
        )
    if uploads is not None:
        rooms.append(
            Room(
                folder=uploads.resolve() / UPLOADED,
                total_bytes=on_the_way,
                what="files that were uploaded",
                advice="They are removed after a while; try again later.",
            )
        )
    bound_room(rooms if profile.is_public else ())


def make_room(folder: Path, num_bytes: int) -> None:
    """Check for room in the folder of one owner of downloads; older ones go if there is none.

    Those of the owner go first, the oldest before others, then such as are not new any more of
    whoever has most.

    Args:
        folder: The owner's, which has a folder for each download.
        num_bytes: Of what is to be written there.

    Raises:
        RoomError: there is none all the same.
    """
    before = time.time() - 86_400
    gone = [path for path in folder.parent.glob("*/*") if _written(path) < before]
    for path in (*gone, *_oldest_first(folder)[:-_MOST_DOWNLOADS]):
        shutil.rmtree(path, ignore_errors=True)
    for path in itertools.chain(_oldest_first(folder), _dispensable(folder.parent)):
        try:
            check_room(folder / "download", num_bytes)
        except RoomError:
            shutil.rmtree(path, ignore_errors=True)
            count_anew()
        else:
            break
    else:
        check_room(folder / "download", num_bytes)
    count_anew()  # it is checked again when it is written


def _dispensable(folder: Path) -> Iterator[Path]:
    """Yield downloads of all owners: of whoever has most, the oldest that is not new."""
    before, gone = time.time() - _NEW_SECONDS, set[Path]()
    while True:
        owners = sorted(folder.glob("*"), key=used_bytes, reverse=True)
        paths = (path for owner in owners for path in _oldest_first(owner) if path not in gone)
        path = next((path for path in paths if _written(path) < before), None)
        if path is None:
            return
        gone.add(path)
        yield path


def _oldest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"), key=_written)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # gone meanwhile
        return 0.0


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
