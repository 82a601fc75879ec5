"""A worker as an actor of Ray: what runs on the machines of a cluster. Knows nothing of Ray."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from workbench.startup import collect_rarely
from workbench.workers.serving_loop import WorkerLoop
from workbench.workers.work import Answer, Give, Stop

if TYPE_CHECKING:
    from workbench.workers.bench import Bench

_END_SECONDS = 60.0  # for the step that is being made and the checkpoint after it


class RayWorker:
    """A worker's loop in a thread of its own, and methods that the driver calls from afar.

    Args:
        where: The worker's name for people.
        store: Folder or address where runs are found and go.
        token: Name of a file that the driver has put there, "" if none.
        folder: Where the driver stands; what rows name by relative paths is looked for there.
    """

    def __init__(self, where: str, store: str, token: str, folder: str = "") -> None:
        collect_rarely()
        if os.path.isdir(folder):
            os.chdir(folder)
        self._where, self._store, self._token = where, store, token
        self._said: list[Answer] = []
        self._given: dict[int, Give | Stop] = {}  # that came before their turn
        self._num_given = 0
        self._num_heard = 0  # answers that the driver has, and that are not kept any more
        self._change = threading.Condition()
        self._loop = WorkerLoop(self._make_bench, self._tell)
        self._ending = ThreadPoolExecutor(1).submit(self._loop.run)
        self._ending.add_done_callback(lambda _: self._wake())

    def give(self, number: int, message: Give | Stop) -> None:
        """Take a message of the driver; calls may overtake each other, so they are numbered."""
        with self._change:
            self._given[number] = message
            while self._num_given in self._given:
                self._loop.take(self._given.pop(self._num_given))
                self._num_given += 1

    def news(self, num_heard: int, seconds: float) -> list[Answer]:
        """Return what the worker said after the first so many answers, waiting for it.

        What a lost reply had in it is said again, because only what the driver has is dropped.

        Args:
            num_heard: How many answers the driver has.
            seconds: How long to wait for the first one; then there may be none.

        Raises:
            Exception: whatever ended the worker's thread.
        """
        with self._change:
            if num_heard < self._num_heard:  # an old call that came late: nobody waits for it
                return []
            del self._said[: num_heard - self._num_heard]
            self._num_heard = num_heard
            self._change.wait_for(lambda: self._said or self._ending.done(), timeout=seconds)
            said = list(self._said)
        if not said and self._ending.done():
            self._ending.result()
        return said

    def end(self) -> None:
        """Stop what is going on, with a checkpoint, and wait for that."""
        self._loop.end()
        wait([self._ending], timeout=_END_SECONDS)

    def _tell(self, answer: Answer) -> None:
        with self._change:
            self._said.append(answer)
            self._change.notify_all()

    def _wake(self) -> None:
        with self._change:
            self._change.notify_all()

    def _make_bench(self) -> "Bench":
        from workbench.workers.bench import ready_bench  # noqa: PLC0415  it loads the stack
        from workbench.workers.cluster import check_token_here, local_folder  # noqa: PLC0415

        check_token_here(self._where)
        local = local_folder(self._store)
        return ready_bench(self._where, self._store, local, self._token, self._tell)
