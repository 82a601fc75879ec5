"""Workers as processes of this machine, spoken to through pipes."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from workbench.workers.serving_loop import WorkerLoop
from workbench.workers.work import Answer, Give, Gone, Ready, Stop, Unfit

if TYPE_CHECKING:
    from workbench.workers.bench import Bench

_END_SECONDS = 60.0  # for the step that is being made and the checkpoint after it
_GONE_SECONDS = 10.0  # for a process to end whose pipe is closed
_MOST_STARTS = 3  # in a row that end before the worker is ready


@dataclass
class _Member:
    """A worker's process, and this end of its pipe."""

    process: SpawnProcess
    pipe: Connection
    is_ready: bool = False


class LocalCrew:
    """So many processes of this machine; one that dies is replaced.

    Args:
        size: How many.
        store: Folder or address that others share; None if nobody does.
        local: Folder of the runs, or that those at an address are worked on in.
    """

    def __init__(self, size: int, store: str | None, local: Path) -> None:
        self._store, self._local = store, local
        self._threads = max(1, (os.cpu_count() or 1) // size)
        self._context = multiprocessing.get_context("spawn")
        self._members: dict[str, _Member] = {}
        self._num_failed_starts = 0
        for number in range(1, size + 1):
            self._start(f"worker {number}")

    def __enter__(self) -> "LocalCrew":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        # Whoever interrupts twice does not want to wait.
        self.close(0.0 if kind is KeyboardInterrupt else _END_SECONDS)

    def size(self) -> int:
        """Return how many workers there are."""
        return len(self._members)

    def give(self, worker: str, message: Give | Stop) -> None:
        """Send a message to a worker."""
        with suppress(OSError, KeyError):  # it is dead, which `wait` says
            self._members[worker].pipe.send(message)

    def dismiss(self, worker: str) -> None:
        """End a worker for good."""
        member = self._members.pop(worker, None)
        if member is not None:
            _end(member, seconds=0.0)

    def wait(self, seconds: float) -> Sequence[tuple[str, Answer]]:
        """Return what workers say; see `Crew.wait`."""
        pipes = {member.pipe: name for name, member in self._members.items()}
        said: list[tuple[str, Answer]] = []
        for pipe in wait(list(pipes), timeout=seconds):
            name = pipes[pipe]  # type: ignore[index]  # waits for sockets and handles too
            said += [(name, answer) for answer in self._heard(name)]
        return said

    def now(self) -> float:
        """Return the time in seconds."""
        return time.monotonic()

    def close(self, seconds: float = _END_SECONDS) -> None:
        """End all workers, each with a checkpoint if it writes one within so many seconds."""
        for member in self._members.values():
            with suppress(OSError):
                member.pipe.close()
        until = time.monotonic() + seconds
        for member in self._members.values():
            _end(member, seconds=max(0.0, until - time.monotonic()))
        self._members.clear()

    def _heard(self, name: str) -> list[Answer]:
        """Return all that a worker has said and nobody has heard."""
        member, said = self._members[name], []
        try:
            while member.pipe.poll():
                answer: Answer = member.pipe.recv()
                said.append(answer)
                if isinstance(answer, Ready):
                    member.is_ready, self._num_failed_starts = True, 0
                if isinstance(answer, Unfit):  # it will be dismissed, and nobody takes its place
                    break
        except (EOFError, OSError):
            said.append(self._replaced(name))
        return said

    def _replaced(self, name: str) -> Gone:
        """Start another worker in the place of one that is dead, and return how that one ended."""
        member = self._members.pop(name)
        _end(member, seconds=_GONE_SECONDS)
        reason = _ending(member.process.exitcode)
        member.pipe.close()
        if not member.is_ready:
            self._num_failed_starts += 1
        if self._num_failed_starts < _MOST_STARTS:
            self._start(name)
        return Gone(reason)

    def _start(self, name: str) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work,
            args=(theirs, name, self._threads, self._store, self._local),
            name=f"workbench {name}",
            daemon=True,
        )
        process.start()
        theirs.close()
        self._members[name] = _Member(process, ours)


def _end(member: _Member, *, seconds: float) -> None:
    """Wait for a process to leave, and end it if it does not."""
    member.process.join(seconds)
    if member.process.is_alive():
        member.process.kill()
        member.process.join()


def _ending(code: int | None) -> str:
    """Return how a process ended, in words."""
    if code is not None and code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"killed by {name}" + (", often for want of memory" if code == -9 else "")
    return f"exit code {code}"


def _work(pipe: Connection, where: str, threads: int, store: str | None, local: Path) -> None:
    """Be a worker: the target of its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the driver, which says stop
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    from workbench.startup import collect_rarely  # noqa: PLC0415

    collect_rarely()
    sending = threading.Lock()

    def tell(answer: Answer) -> None:
        with sending, suppress(OSError):  # the driver is dead; what follows ends us too
            pipe.send(answer)

    def make_bench() -> "Bench":
        from workbench.workers.bench import ready_bench  # noqa: PLC0415

        return ready_bench(where, store, local, "", tell)

    loop = WorkerLoop(make_bench, tell)
    signal.signal(signal.SIGTERM, lambda *_: loop.end())  # whoever ends a machine sends it to all

    def listen() -> None:
        try:
            while True:
                loop.take(pipe.recv())
        except (EOFError, OSError):
            loop.end()

    threading.Thread(target=listen, daemon=True).start()
    loop.run()
