"""Projections in a process of their own: UMAP compiles for seconds and would freeze an app.

The process is started with the first projection, kept for the next, and ended with the program.
It is not one of `multiprocessing`'s, which would first import the program's main file again, and
with it PyTorch and the page. Requests and answers are files of plain arrays in a folder that only
this program can read.
"""

import atexit
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np

from workbench.progress import Interrupted
from workbench.readings.vectors.projection import Method, Projection, check_rows, project

_POLL_SECONDS = 0.25
_REQUEST, _ANSWER, _FAILURE = "request.npz", "answer.npz", "failure.txt"


def never() -> bool:
    """Return False: nobody asks the work to stop."""
    return False


def ignore_waiting(seconds: float) -> None:
    """Drop word of how long it has taken."""


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
        seed: Of everything random.
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
        self._running: subprocess.Popen[str] | None = None

    def projection(self, ask: Callable[[Path], None], wait: Callable[[], None]) -> Projection:
        """Return the answer to the request that `ask` writes, calling `wait` until it is there."""
        while not self._turn.acquire(timeout=_POLL_SECONDS):
            wait()
        try:
            with tempfile.TemporaryDirectory(prefix="projection-") as folder:
                try:
                    ask(Path(folder))
                    return self._answer(Path(folder), wait)
                except BaseException:
                    self.end()  # what it is at is of no use to anybody now
                    raise
        finally:
            self._turn.release()

    def end(self) -> None:
        """Kill the process, if there is one."""
        running, self._running = self._running, None
        if running is not None:
            running.kill()
            running.wait()
            assert running.stdin is not None
            with suppress(OSError):  # what was not sent yet cannot be
                running.stdin.close()

    def _answer(self, folder: Path, wait: Callable[[], None]) -> Projection:
        running = self._started()
        assert running.stdin is not None
        running.stdin.write(f"{folder}\n")
        running.stdin.flush()
        while not (folder / _ANSWER).exists():
            wait()
            if (folder / _FAILURE).exists():
                raise RuntimeError((folder / _FAILURE).read_text(encoding="utf-8"))
            if running.poll() is not None and not (folder / _ANSWER).exists():
                raise RuntimeError(f"the projection's process ended with {running.returncode}")
            time.sleep(_POLL_SECONDS)
        with np.load(folder / _ANSWER) as found:
            return Projection(
                found["tokens"],
                found["vectors"],
                float(found["fidelity"]),
                int(found["num_compared"]),
            )

    def _started(self) -> subprocess.Popen[str]:
        if self._running is None or self._running.poll() is not None:
            self.end()
            self._running = subprocess.Popen(  # noqa: S603  our own interpreter and module only
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                env=os.environ | {"OMP_NUM_THREADS": "1"},  # t-SNE's wait for each other otherwise
            )
        return self._running


def serve() -> None:
    """Answer the requests in the folders named on standard input, until it is closed."""
    for line in sys.stdin:
        folder = Path(line.rstrip("\n"))
        try:
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
        except Exception:  # told to the sender, who raises it
            _tell(folder, traceback.format_exc())


def _tell(folder: Path, failure: str) -> None:
    if folder.exists():  # the sender may have stopped waiting
        written = folder / "unfinished.txt"
        written.write_text(failure, encoding="utf-8")
        os.replace(written, folder / _FAILURE)


_PROCESS = _ProjectionProcess()
atexit.register(_PROCESS.end)

if __name__ == "__main__":
    serve()
