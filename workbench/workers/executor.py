"""Runs of a comparison made by workers: the same folders, the same numbers."""

import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from workbench.errors import ConfigError, StoreError, WorkbenchError
from workbench.progress import Interrupted, Progress, ProgressEvent
from workbench.runs.execute import RunRequest, execute, find_done
from workbench.runs.executor import Assignment, Listener, Made
from workbench.runs.experiment import Experiment
from workbench.runs.session import Session
from workbench.runs.spec import RunSpec
from workbench.runs.store import RunStore
from workbench.workers.bench import Bench, parts_of
from workbench.workers.pool import Pool
from workbench.workers.work import Work

_Asked = dict[int, tuple[Work, Assignment]]  # by the identity of the work
_MARK_SECONDS = 30 * 86_400.0  # after which a mark is that of a dead driver
_STOP_SECONDS = 120.0  # for the step that is being made and the checkpoint after it


@dataclass(frozen=True)
class RunWork:
    """A run to be made by a worker; see `Work`.

    Attributes:
        session: Key of its session's parts.
        base: Which base it needs.
        request: What to run.
        spec: What it must come to.
    """

    session: str
    base: str
    request: RunRequest
    spec: RunSpec

    @property
    def name(self) -> str:
        """The run's folder."""
        return self.spec.run_id

    @property
    def shared(self) -> tuple[str, ...]:
        """Its session."""
        return (self.session,)

    def do(self, bench: Bench, progress: Progress, should_stop: Callable[[], bool]) -> bool:
        """Make the run; return whether it was finished before."""
        session = bench.session(self.session)
        spec = session.spec_of(self.request.method, self.request.seed)
        if spec != self.spec:
            raise ConfigError(
                f"{self.name}: comes to another run on {bench.where} ({spec.run_id}). Adapters and "
                "runs that a row names must lie at the same path on all machines."
            )
        num_steps = 0

        def told(event: ProgressEvent) -> None:
            nonlocal num_steps
            num_steps += 1
            progress(event)

        execute(session, bench.store, self.request, progress=told, should_stop=should_stop)
        return not num_steps


class PoolExecutor:
    """Hands runs to the workers of a crew.

    Args:
        pool: Has the workers; several executors may use one, one after the other.
        experiment: What the base is asked for by.
        store: Where runs are found and go; the workers' own is at the same place.
        should_stop: Asked while workers work.
    """

    def __init__(
        self, pool: Pool, experiment: Experiment, store: RunStore, should_stop: Callable[[], bool]
    ) -> None:
        self._experiment, self._store, self._should_stop = experiment, store, should_stop
        self._pool = pool
        self._keys: dict[int, str] = {}  # of sessions, by identity
        self._sessions: list[Session] = []  # so that no identity is used again
        self._asked: _Asked = {}
        self._found: deque[tuple[Assignment, Made]] = deque()

    def is_hungry(self) -> bool:
        """Return whether a worker may soon have nothing to do."""
        return not self._found and self._pool.is_hungry()

    def submit(self, assignment: Assignment) -> None:
        """Take an assignment; it begins when a worker is free, unless it is done already."""
        done = find_done(self._store, assignment.spec, is_trial=assignment.request.is_trial)
        if done is not None:
            self._found.append((assignment, Made(done, was_found=True)))
            return
        key = self._key_of(assignment.session)
        base = self._pool.shared[key].base_key
        work = RunWork(key, base, assignment.request, assignment.spec)
        self._asked[id(work)] = work, assignment
        self._pool.submit(work)

    def next(self, listener: Listener) -> tuple[Assignment, Made]:
        """Return the next assignment that is done; see `Executor.next`."""
        teller = _Teller(listener, self._asked)
        while True:
            if self._should_stop():
                self._stop(teller)
            if self._found:
                listener.began(self._found[0][0], "")
                return self._found.popleft()
            ended = self._pool.next(teller)
            for note in self._pool.take_notes():
                teller.note(note)
            if ended is not None:
                break
        work, outcome = ended
        _, assignment = self._asked.pop(id(work))
        if outcome.error is not None:
            return assignment, Made(error=outcome.error)
        try:
            run = self._store.find(assignment.run_id)
        except WorkbenchError as error:
            return assignment, Made(error=error)
        if run is None:
            missing = (
                f"{assignment.run_id}: a worker made it, and it is not below {self._store.root}."
            )
            return assignment, Made(
                error=StoreError(f"{missing} Do all machines share the folder?")
            )
        return assignment, Made(run, was_found=bool(outcome.result))

    def _stop(self, teller: "_Teller") -> None:
        """Stop all workers, each with a checkpoint."""
        is_whole = self._pool.stop(teller, seconds=_STOP_SECONDS)
        late = "" if is_whole else "; some workers did not stop in time and go on from before"
        raise Interrupted(f"stopped with {len(self._asked)} runs not finished{late}")

    def _key_of(self, session: Session) -> str:
        """Return the key of what a worker needs to open an equal session."""
        key = self._keys.get(id(session))
        if key is None:
            key = self._keys[id(session)] = f"session {len(self._pool.shared)}"
            self._sessions.append(session)
            self._pool.shared[key] = parts_of(session, self._experiment)
        return key


class _Teller:
    """Tells a listener about assignments what a pool says about work."""

    def __init__(self, listener: Listener, asked: _Asked) -> None:
        self._listener, self._asked = listener, asked

    def began(self, work: Work, where: str) -> None:
        """Tell that a run begins."""
        self._listener.began(self._asked[id(work)][1], where)

    def progressed(self, work: Work, event: ProgressEvent) -> None:
        """Tell that a run made a step."""
        self._listener.progressed(self._asked[id(work)][1], event)

    def note(self, text: str) -> None:
        """Tell what belongs to no run, by way of any."""
        for _, assignment in self._asked.values():
            self._listener.progressed(assignment, ProgressEvent("workers", 0, 0, note=text))
            return


@contextmanager
def marked(store: RunStore) -> Iterator[str]:
    """Keep a file in a store for the block, by which workers know that it is theirs too.

    Raises:
        StoreError: the store cannot be written.
    """
    token = f".shared-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        _remove_old_marks(store)
        (store.root / token).write_bytes(b"")
    except OSError as error:
        raise StoreError(f"{store.root}: cannot be written ({error.strerror}).") from error
    try:
        yield token
    finally:
        with suppress(OSError):
            (store.root / token).unlink()


def _remove_old_marks(store: RunStore) -> None:
    """Remove what killed drivers have left; those of others that live are younger."""
    for path in store.root.glob(".shared-*"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - _MARK_SECONDS:
                path.unlink()


def check_workers(number: int) -> None:
    """Refuse a number of workers that no machine could have.

    Raises:
        ConfigError: says what is allowed.
    """
    cores = os.cpu_count() or 1
    if not 1 <= number <= cores:
        raise ConfigError(
            f"--workers {number}: this machine has {cores} cores; 1 to {cores} workers can share "
            "them."
        )
