"""What never asks whether to stop, loading a base above all, ended from outside."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from workbench.progress import Interrupted

_ASK_SECONDS = 0.2


@contextmanager
def interrupted_by(asked: Callable[[], bool]) -> Iterator[None]:
    """Raise `Interrupted` within the block, wherever it is, soon after `asked` returns True.

    Only for work of which nothing is kept, and only on the main thread, where signals arrive; on
    others the block goes on to its end. A library that swallows the error is interrupted again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        if not over.is_set():
            raise Interrupted("stopped while the base was loaded")

    def watch() -> None:
        while not over.wait(_ASK_SECONDS):
            if asked():
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, end)
    watcher = threading.Thread(target=watch, name="stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        with suppress(Interrupted):  # it may arrive here, after the last line of the block
            over.set()
        over.set()
        watcher.join()
        signal.signal(signal.SIGUSR1, previous)
