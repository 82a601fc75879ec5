"""What a worker does from its start to its end, however it is spoken to."""

import hashlib
import queue
import threading
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import workbench
from workbench.errors import WorkbenchError
from workbench.progress import ProgressEvent
from workbench.workers.work import Give, Step, Stop, Tell, Unfit

if TYPE_CHECKING:
    from workbench.workers.bench import Bench

_STEP_SECONDS = 0.2  # between two steps of one stage that are told


class WorkerLoop:
    """Does what it is given, one piece after the other, in a thread of its own.

    Args:
        make_bench: Makes what it works with; called in that thread, because it takes seconds.
        tell: Takes what is to be said to the driver; called from that thread.
    """

    def __init__(self, make_bench: "Callable[[], Bench]", tell: Tell) -> None:
        self._make_bench, self._tell = make_bench, tell
        self._given: queue.SimpleQueue[Give | None] = queue.SimpleQueue()
        self._is_stopping = threading.Event()

    def take(self, message: Give | Stop) -> None:
        """Take a message of the driver; from any thread."""
        if isinstance(message, Stop):
            self._is_stopping.set()
        else:
            self._is_stopping.clear()
            self._given.put(message)

    def end(self) -> None:
        """Stop what is going on, with a checkpoint, and end."""
        self._is_stopping.set()
        self._given.put(None)

    def run(self) -> None:
        """Work until `end` is called; a worker that cannot begin says why instead."""
        try:
            bench = self._make_bench()
        except WorkbenchError as error:
            self._tell(Unfit(str(error)))
            return
        while (message := self._given.get()) is not None:
            bench.take(message.shared)
            self._tell(bench.do(message.work, _thinned(self._tell), self._is_stopping.is_set))


def _thinned(tell: Tell) -> Callable[[ProgressEvent], None]:
    """Return a progress that tells a few steps a second; notes, first and last steps always."""
    last: tuple[str, float] = ("", 0.0)

    def progress(event: ProgressEvent) -> None:
        nonlocal last
        now = time.monotonic()
        is_new = event.stage != last[0] or event.done >= event.total
        if event.note or is_new or now - last[1] > _STEP_SECONDS:
            last = event.stage, now
            tell(Step(event))

    return progress


@cache
def code_version() -> str:
    """Return the package's version and a digest of its code; equal code comes to equal numbers."""
    folder = Path(workbench.__file__).parent
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        sha.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{version('prompt-workbench')} ({sha.hexdigest()[:12]})"
