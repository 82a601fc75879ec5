"""How many visitors' folders an address may begin in a day.

A token that nobody has seen is a new visitor, and costs nothing to make up. Looking around makes no
folder, so a visitor who only looks or asks is not counted.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from workbench.service.profile import Bound

_DAY_SECONDS = 86_400.0
_CALL_SECONDS = 3600.0  # longer than a call waits and works, after which it makes no folder
_LOOK_SECONDS = 10.0  # between two looks at the folders of everybody
_MOST_ASKED = 64  # tokens of an address that may make a folder yet: those in the queue and at work


@dataclass
class _Made:
    """What an address has begun of late.

    Attributes:
        asked: Folders that were not there when they were asked for, and when that was.
        begun: When those that came to be were first seen.
    """

    asked: dict[Path, float] = field(default_factory=dict)
    begun: list[float] = field(default_factory=list)

    def look(self, now: float) -> None:
        """Count the folders that came to be, and forget what is over."""
        there = [folder for folder in self.asked if folder.exists()]
        self.begun = [at for at in self.begun if now - at < _DAY_SECONDS] + [now] * len(there)
        recent = {one: at for one, at in self.asked.items() if now - at < _CALL_SECONDS}
        self.asked = {one: at for one, at in recent.items() if one not in there}


class Newcomers:
    """Counts the folders that addresses begin; those asked for in one moment may all be made.

    Args:
        bound: Folders in a day.
        clock: Seconds since some moment.
    """

    def __init__(self, bound: Bound, clock: Callable[[], float] = time.monotonic) -> None:
        self._bound, self._clock = bound, clock
        self._addresses: dict[str, _Made] = {}
        self._looked = clock()
        self._lock = threading.Lock()

    def may_begin(self, folder: Path, address: str) -> bool:
        """Return whether a visitor from an address may have a folder: an old one, or a new one."""
        if folder.exists():
            return True
        with self._lock:
            now = self._clock()
            made = self._addresses.setdefault(address, _Made())
            made.look(now)
            made.asked[folder] = now
            if len(made.asked) > _MOST_ASKED:
                del made.asked[next(iter(made.asked))]
            if now - self._looked > _LOOK_SECONDS:
                self._look_at_all(now)
            total = sum(len(one.begun) for one in self._addresses.values())
            return len(made.begun) < self._bound.own and total < self._bound.total

    def _look_at_all(self, now: float) -> None:
        self._looked = now
        for made in self._addresses.values():
            made.look(now)
        self._addresses = {
            address: made for address, made in self._addresses.items() if made.asked or made.begun
        }
