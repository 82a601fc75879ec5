"""Uploaded files that no handler has kept yet, by the addresses they came from.

Gradio puts them below its temporary folder, where they lie for a day. What a visitor keeps is
copied to a folder of the visitor's own, so the files here are nobody's.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from shutil import rmtree
from typing import Any

from gradio import route_utils, routes
from gradio.blocks import Blocks
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from workbench.service.profile import Bound
from workbench.service.space import UPLOADED
from workbench.ui.refusals import Refusal

STORED = "workbench.stored"
"""Key of a request's scope: what is told the paths of an upload once they are stored."""

_OVERHEAD = 8192  # bytes that a file and its folder take besides the content
_BLOCK = 4096  # bytes of which a disk gives a file some
_MOST_OF_A_FORM = 20  # files; the page sends them one by one
_DAY = 86_400.0  # seconds that an upload waits for a call
_SWEPT_FROM = 1000  # paths that Gradio remembers


@dataclass
class _Held:
    num_bytes: int
    at: float
    addresses: set[str] = field(default_factory=set)  # those who uploaded the same content


@dataclass
class _Own:
    """What an address has: paths, oldest first, and their bytes."""

    paths: dict[str, None] = field(default_factory=dict)
    num_bytes: int = 0


class HeldFiles:
    """Files that were uploaded.

    Args:
        num_bytes: How much may be held.
        num_files: How many may be held; a file of several addresses counts for each.
        clock: Tells the time in seconds.
    """

    def __init__(
        self, num_bytes: Bound, num_files: Bound, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bytes, self._most, self._clock = num_bytes, num_files, clock
        self._files: dict[str, _Held] = {}  # that came last is last
        self._own: dict[str, _Own] = {}
        self._total = self._num_files = 0

    def make_room(self, address: str, num_bytes: int) -> Refusal | None:
        """Delete older files until a new one fits, or say that it never will."""
        most = min(self._bytes.own, self._bytes.total)
        if num_bytes > most:
            return Refusal(413, f"upload: at most {most / 1e6:g} MB may wait here. Send less.")
        self._fit(address, num_bytes)
        return None

    def note(self, address: str, paths: Sequence[str]) -> None:
        """Count files of an upload that is done; older ones make room for them."""
        now = self._clock()
        for path in paths:
            with suppress(OSError):
                num_bytes = Path(path).stat().st_size + _OVERHEAD
                held = self._files.pop(path, None)
                if held is None:
                    held = _Held(num_bytes, now)
                    self._total += num_bytes
                held.at = now
                self._files[path] = held
                own = self._own.setdefault(address, _Own())
                if address not in held.addresses:
                    held.addresses.add(address)
                    own.num_bytes += held.num_bytes
                    self._num_files += 1
                own.paths.pop(path, None)
                own.paths[path] = None  # the last
        while self._files and now - next(iter(self._files.values())).at > _DAY:
            path, held = next(iter(self._files.items()))
            for who in tuple(held.addresses):
                self._drop(who, path)
        self._fit(address, 0)

    def give_up(self, num_bytes: int) -> None:
        """Delete the oldest files of whoever has most, until the disk has so many bytes more."""
        num_bytes += _BLOCK
        while num_bytes > 0 and self._own:
            num_bytes -= self._drop_oldest(self._greediest())

    def _fit(self, address: str, num_bytes: int) -> None:
        own = self._own.get(address, _Own())
        while own.paths and (
            own.num_bytes + num_bytes > self._bytes.own or len(own.paths) > self._most.own
        ):
            self._drop_oldest(address)
        while self._total + num_bytes > self._bytes.total:
            self._drop_oldest(self._greediest())
        while self._num_files > self._most.total:
            self._drop_oldest(max(self._own, key=lambda who: len(self._own[who].paths)))

    def _greediest(self) -> str:
        return max(self._own, key=lambda who: self._own[who].num_bytes)

    def _drop_oldest(self, address: str) -> int:
        return self._drop(address, next(iter(self._own[address].paths)))

    def _drop(self, address: str, path: str) -> int:
        """Delete a file of an address; another's with the same content stays.

        Returns how many bytes that frees on the disk.
        """
        held, own = self._files[path], self._own[address]
        held.addresses.discard(address)
        del own.paths[path]
        own.num_bytes -= held.num_bytes
        self._num_files -= 1
        if not own.paths:
            del self._own[address]
        if held.addresses:
            return 0
        del self._files[path]
        self._total -= held.num_bytes
        _delete(Path(path))
        return -(-(held.num_bytes - _OVERHEAD) // _BLOCK) * _BLOCK


class GradioMemory:
    """The paths of files that Gradio remembers to delete; it never forgets those that are gone."""

    def __init__(self) -> None:
        self._sweep_at = _SWEPT_FROM

    def sweep(self, blocks: Blocks) -> None:
        """Let it forget files that are gone, once that may be half of what it remembers."""
        if sum(map(len, blocks.temp_file_sets)) < self._sweep_at:
            return
        for paths in blocks.temp_file_sets:
            for path in list(paths):
                if not Path(path).is_file():
                    paths.discard(path)
        self._sweep_at = max(_SWEPT_FROM, 2 * sum(map(len, blocks.temp_file_sets)))


def land_uploads_apart() -> None:
    """Let Gradio store files of an upload where others lie only once the upload is as it should be.

    It forgets what it stored of a form with parts that it does not expect, or with no end.
    """
    vars(routes)["upload_fn"] = _landed


async def _landed(
    request: Request, folder: str, *arguments: Any, **options: Any
) -> tuple[list[str], list[str], list[str]]:
    landing = Path(folder) / f"landing-{token_hex(8)}"
    try:
        stored, _, _ = await route_utils.upload_fn(request, str(landing), *arguments, **options)
        if len(stored) > _MOST_OF_A_FORM:
            raise MultiPartException(
                f"files: {len(stored)} in one upload; at most {_MOST_OF_A_FORM}. Send them in "
                "several uploads."
            )
        # Whoever counts them is told here: the answer may never be taken.
        moved = _moved(dict.fromkeys(map(Path, stored)), Path(folder) / UPLOADED)
        note = request.scope.get(STORED)
        if note is not None:
            note([*moved.values()])
        return [moved[Path(path)] for path in stored], [], []
    finally:
        rmtree(landing, ignore_errors=True)


def _moved(paths: Iterable[Path], folder: Path) -> dict[Path, str]:
    """Put files below the folder, each in one named like the one it is in: by the content's hash.

    Returns where they are now; if one cannot be moved, those that were stay nowhere.
    """
    moved: dict[Path, str] = {}
    new: list[Path] = []
    try:
        for path in paths:
            target = folder / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            is_new = not target.exists()  # otherwise somebody has it
            moved[path] = str(path.replace(target))
            new += [target] if is_new else []
    except OSError:
        for target in new:
            _delete(target)
        raise
    return moved


def _delete(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()  # of this content alone
