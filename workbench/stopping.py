"""Ctrl-C and termination as a wish that long work hears between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from workbench.progress import stopped_by


class _StopRequest:
    """Set by the first Ctrl-C; the second one interrupts at once."""

    def __init__(self) -> None:
        self._requested = False

    def is_requested(self) -> bool:
        """Return whether Ctrl-C was pressed."""
        return self._requested

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True


@contextmanager
def stopping() -> Iterator[_StopRequest]:
    """Let Ctrl-C and termination end the work at once, a training with a checkpoint.

    On another thread than the main one, which alone hears them, nothing is changed.
    """
    request = _StopRequest()
    is_heard = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if is_heard else ()
    previous = {number: signal.signal(number, request) for number in numbers}
    try:
        with stopped_by(request.is_requested):
            yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
