"""Uploaded files that no handler has kept yet, by the addresses they came from.

Gradio puts them below its temporary folder, where they lie for a day. What a visitor keeps is
copied to a folder of the visitor's own, so the files here are nobody's.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from shutil import rmtree
from typing import Any

from gradio import route_utils, routes
from starlette.requests import Request

from workbench.service.profile import Bound
from workbench.ui.refusals import Refusal

_OVERHEAD = 8192  # bytes that a file and its folder take besides the content


@dataclass
class _Held:
    num_bytes: int
    addresses: set[str] = field(default_factory=set)  # those who uploaded the same content


class HeldFiles:
    """Files that were uploaded, oldest first.

    Args:
        bound: Bytes that may be held.
    """

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._files: dict[str, _Held] = {}
        self._own: Counter[str] = Counter()  # bytes of each address
        self._total = 0

    def make_room(self, address: str, num_bytes: int) -> Refusal | None:
        """Delete older files until a new one fits, or say that it never will."""
        most = min(self._bound.own, self._bound.total)
        if num_bytes > most:
            return Refusal(413, f"upload: at most {most / 1e6:g} MB may wait here. Send less.")
        while self._own[address] + num_bytes > self._bound.own:
            self._drop_oldest(address)
        while self._total + num_bytes > self._bound.total:
            self._drop_oldest(max(self._own, key=self._own.__getitem__))
        return None

    def note(self, address: str, paths: Sequence[str]) -> None:
        """Count files of an upload that is done."""
        for path in paths:
            with suppress(OSError):
                num_bytes = Path(path).stat().st_size + _OVERHEAD
                held = self._files.pop(path, None)
                if held is None:
                    held = _Held(num_bytes)
                    self._total += num_bytes
                if address not in held.addresses:
                    held.addresses.add(address)
                    self._own[address] += held.num_bytes
                self._files[path] = held

    def _drop_oldest(self, address: str) -> None:
        """Delete the oldest file of an address; another's with the same content stays."""
        path = next(path for path, held in self._files.items() if address in held.addresses)
        held = self._files[path]
        held.addresses.discard(address)
        self._own[address] -= held.num_bytes
        if not self._own[address]:
            del self._own[address]
        if not held.addresses:
            del self._files[path]
            self._total -= held.num_bytes
            with suppress(OSError):
                Path(path).unlink(missing_ok=True)
                Path(path).parent.rmdir()  # of this content alone


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
        return [_moved(Path(path), Path(folder)) for path in stored], [], []
    finally:
        rmtree(landing, ignore_errors=True)


def _moved(path: Path, folder: Path) -> str:
    """Put a file below the folder, in one named like the one it is in: by the content's hash."""
    target = folder / path.parent.name / path.name
    target.parent.mkdir(exist_ok=True)
    return str(path.replace(target))
