"""Projections in a process of their own: UMAP compiles for seconds and would freeze an app.

The process is started with the first projection, kept for the next, and ended with the program or
with a projection that fails. It is not one of `multiprocessing`'s, which would first import the
program's main file again, and with it PyTorch and the page. Requests and answers are files of plain
arrays in a folder that only this program can read.
"""

import atexit
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast
from zipfile import BadZipFile

import numpy as np

from workbench.progress import Interrupted
from workbench.readings.vectors.projection import Method, Projection, check_rows, project
from workbench.sealed import is_old, remove

_POLL_SECONDS = 0.25
_DAY_SECONDS = 86_400
_FOLDER = "workbench-projection-"
_REQUEST, _ANSWER = "request.npz", "answer.npz"


def never() -> bool:
    """Return False: nobody asks the work to stop."""
    return False


def ignore_waiting(seconds: float) -> None:
    """Do nothing about the time that has passed."""


def project_apart(
    tokens: np.ndarray,
    vectors: np.ndarray,
    *,
    method: Method,
    seed: int = 0,
    should_stop: Callable[[], bool] = never,
    waiting: Callable[[float], None] = ignore_waiting,
) -> Projection:
    """Return what `project` does, computed in the one process that this program keeps for it.

    Args:
        tokens: (n, D).
        vectors: (m, D).
        method: How to project.
        seed: What everything random is drawn from.
        should_stop: Asked four times a second; True ends the process.
        waiting: Told as often how many seconds have passed; what it raises ends the process too.

    Raises:
        ValueError: the rows cannot be projected.
        Interrupted: it was asked to stop.
        RuntimeError: the process failed or was killed, for memory perhaps.
    """
    check_rows(tokens, vectors, method)
    begun = time.monotonic()

    def ask(folder: Path) -> None:
        np.savez(
            folder / _REQUEST,
            tokens=np.asarray(tokens, dtype=np.float32),
            vectors=np.asarray(vectors, dtype=np.float32),
            method=np.array(method),
            seed=np.array(seed),
        )

    def wait() -> None:
        if should_stop():
            raise Interrupted("the projection was stopped")
        waiting(time.monotonic() - begun)

    return _PROCESS.projection(ask, wait)


class _ProjectionProcess:
    """The process; serves one request after the other."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._running: _Running | None = None

    def projection(self, ask: Callable[[Path], None], wait: Callable[[], None]) -> Projection:
        """Return the answer to the request that `ask` writes, calling `wait` until it is there."""
        while not self._turn.acquire(timeout=_POLL_SECONDS):
            wait()
        try:
            _clear_left_folders()
            with tempfile.TemporaryDirectory(prefix=_FOLDER) as folder, ExitStack() as unless:
                unless.callback(self.end)  # what it is at is of no use to anybody then
                ask(Path(folder))
                answer = self._answer(Path(folder), wait) or self._answer(Path(folder), wait)
                if answer is None:
                    raise RuntimeError(f"the projection's answer in {folder} was damaged twice")
                unless.pop_all()  # answered: the process stays for the next projection
                return answer
        finally:
            self._turn.release()

    def end(self) -> None:
        """Kill the process, if there is one."""
        running, self._running = self._running, None
        if running is not None:
            running.process.kill()
            running.process.wait()
            running.said.close()
            with suppress(OSError):  # what was not sent yet cannot be
                running.requests.close()

    def _answer(self, folder: Path, wait: Callable[[], None]) -> Projection | None:
        """Return the answer to the request in a folder; None if its file is damaged."""
        running = self._started()
        running.requests.write(f"{folder}\n")
        running.requests.flush()
        while not (folder / _ANSWER).exists():
            wait()
            code = running.process.poll()
            if code is not None and not (folder / _ANSWER).exists():
                running.said.seek(0)
                raise RuntimeError(
                    f"the projection's process ended with {code}\n{running.said.read()}"
                )
            time.sleep(_POLL_SECONDS)
        try:
            # Opened here, because numpy leaves a file open that is no zip; arrays have checksums.
            with (folder / _ANSWER).open("rb") as stream, np.load(stream) as found:
                return Projection(
                    found["tokens"],
                    found["vectors"],
                    float(found["fidelity"]),
                    int(found["num_compared"]),
                )
        except (BadZipFile, EOFError, KeyError, OSError, ValueError):
            remove(folder / _ANSWER)
            return None

    def _started(self) -> "_Running":
        if self._running is None or self._running.process.poll() is not None:
            self.end()
            # A file, because a pipe that nobody reads fills up and then holds the process.
            said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  closed in `end`
            process = subprocess.Popen(  # noqa: S603  our own interpreter and module only
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                text=True,
                encoding="utf-8",
                env=os.environ | {"OMP_NUM_THREADS": "1"},  # t-SNE's wait for each other otherwise
            )
            self._running = _Running(process, cast(IO[str], process.stdin), said)
        return self._running


@dataclass(frozen=True)
class _Running:
    """A process, where it reads requests, and the file it complains to."""

    process: subprocess.Popen[str]
    requests: IO[str]
    said: IO[str]


def _clear_left_folders() -> None:
    """Delete what programs that were killed left behind, once it is a day old."""
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        if is_old(left, seconds=_DAY_SECONDS):
            remove(left)


def serve() -> None:
    """Answer the requests in the folders named on standard input, until it is closed.

    What goes wrong ends the process; the sender reads it from standard error and raises it.
    """
    for line in sys.stdin:
        folder = Path(line.rstrip("\n"))
        with np.load(folder / _REQUEST) as request:
            method = cast(Method, str(request["method"]))  # the sender checked it
            found = project(
                request["tokens"], request["vectors"], method=method, seed=int(request["seed"])
            )
        written = folder / "unfinished.npz"
        np.savez(
            written,
            tokens=found.tokens,
            vectors=found.vectors,
            fidelity=np.array(found.fidelity),
            num_compared=np.array(found.num_compared),
        )
        os.replace(written, folder / _ANSWER)  # whole or not there


_PROCESS = _ProjectionProcess()
atexit.register(_PROCESS.end)

if __name__ == "__main__":
    serve()
