"""Who makes the runs: this process, one after the other, or workers side by side.

The runs that depend on one another are a chain: the trials of a search, then what the grid grows
by, then the runs with the rate that won. A chain yields waves of runs and gets what became of them;
chains know nothing of each other, so an executor may make them in any order and place.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from workbench.errors import BusyRun, WorkbenchError
from workbench.progress import Interrupted, ProgressEvent
from workbench.runs.execute import RunRequest, execute
from workbench.runs.session import Session
from workbench.runs.spec import RunSpec
from workbench.runs.store import RunStore, StoredRun

_BUSY_SECONDS = 1.0  # between two looks at what another driver is making


@dataclass(frozen=True, eq=False)
class Assignment:
    """A run to be made, once, by whoever is free.

    Attributes:
        session: Base, task and wording.
        request: What to run.
    """

    session: Session
    request: RunRequest

    @cached_property
    def spec(self) -> RunSpec:
        """What the run comes to; whoever makes it must come to the same."""
        return self.session.spec_of(self.request.method, self.request.seed)

    @property
    def run_id(self) -> str:
        """Name of the run's folder."""
        return self.spec.run_id


@dataclass(frozen=True)
class Made:
    """What became of an assignment.

    Attributes:
        run: The run; None if it failed.
        error: Why it failed.
        was_found: Whether it was finished before.
    """

    run: StoredRun | None = None
    error: WorkbenchError | None = None
    was_found: bool = False

    def run_or_raise(self) -> StoredRun:
        """Return the run.

        Raises:
            WorkbenchError: why there is none.
        """
        if self.error is not None:
            raise self.error
        assert self.run is not None
        return self.run


class Listener(Protocol):
    """Told about assignments while they are carried out."""

    def began(self, assignment: Assignment, where: str) -> None:
        """A run starts; `where` names the worker, or is "" for this process."""

    def progressed(self, assignment: Assignment, event: ProgressEvent) -> None:
        """A run made a step."""


class Executor(Protocol):
    """Makes runs. Whatever it is, runs, folders and numbers are the same."""

    def is_hungry(self) -> bool:
        """Return whether it could begin more than it was given."""

    def submit(self, assignment: Assignment) -> None:
        """Take an assignment; it begins when there is room."""

    def next(self, listener: Listener) -> tuple[Assignment, Made]:
        """Return the next assignment that is done, and what became of it.

        Raises:
            Interrupted: asked to stop; every training that was going on has a checkpoint.
        """


MakeExecutor = Callable[[RunStore, Callable[[], bool]], Executor]
"""Makes an executor for a store, given what says whether to stop."""

Chain = Generator[Sequence[Assignment], Sequence[Made], None]
"""Runs that follow from one another: yields the next ones, is sent what became of them."""


class LocalExecutor:
    """Makes runs in this process, in the order they come.

    Args:
        store: Where runs are found and go.
        should_stop: Asked between runs and steps.
    """

    def __init__(self, store: RunStore, should_stop: Callable[[], bool]) -> None:
        self._store, self._should_stop = store, should_stop
        self._waiting: deque[Assignment] = deque()

    def is_hungry(self) -> bool:
        """Return whether nothing is left to begin."""
        return not self._waiting

    def submit(self, assignment: Assignment) -> None:
        """Take an assignment."""
        self._waiting.append(assignment)

    def next(self, listener: Listener) -> tuple[Assignment, Made]:
        """Make the first of the assignments; see `Executor.next`."""
        while True:
            if self._should_stop():
                raise Interrupted("stopped before the next run")
            assignment = self._waiting.popleft()
            listener.began(assignment, "")
            made = self._made(assignment, listener)
            if not isinstance(made.error, BusyRun) or not self._store.is_shared:
                return assignment, made
            # Another driver of the shared store makes it: the others first, then what it came to.
            self._waiting.append(assignment)
            time.sleep(_BUSY_SECONDS)

    def _made(self, assignment: Assignment, listener: Listener) -> Made:
        num_steps = 0

        def progress(event: ProgressEvent) -> None:
            nonlocal num_steps
            num_steps += 1
            listener.progressed(assignment, event)

        try:
            run = execute(
                assignment.session,
                self._store,
                assignment.request,
                progress=progress,
                should_stop=self._should_stop,
            )
        except WorkbenchError as error:
            return Made(error=without_frames(error))
        return Made(run, was_found=not num_steps)


@dataclass
class _Wave:
    """The runs of a chain that are being made."""

    chain: Chain
    asked: Sequence[Assignment]
    made: dict[Assignment, Made] = field(default_factory=dict)


def drive(chains: Iterable[Chain], executor: Executor, listener: Listener) -> None:
    """Carry out chains to their ends; a chain begins when the executor has nothing else to begin.

    Raises:
        Interrupted: asked to stop.
    """
    waves: dict[Assignment, _Wave] = {}
    left: Iterator[Chain] = iter(chains)
    is_more = True
    while True:
        while is_more and executor.is_hungry():
            chain = next(left, None)
            if chain is None:
                is_more = False
            else:
                _advance(_Wave(chain, ()), executor, waves)
        if not waves:
            return
        assignment, made = executor.next(listener)
        wave = waves.pop(assignment)
        wave.made[assignment] = made
        if len(wave.made) == len(wave.asked):
            _advance(wave, executor, waves)


def _advance(wave: _Wave, executor: Executor, waves: dict[Assignment, _Wave]) -> None:
    """Send a chain what became of its runs, and submit those that it wants next."""
    try:
        if wave.asked:
            asked = wave.chain.send([wave.made[assignment] for assignment in wave.asked])
        else:
            asked = next(wave.chain)
    except StopIteration:
        return
    following = _Wave(wave.chain, asked)
    for assignment in asked:
        waves[assignment] = following
        executor.submit(assignment)


def without_frames(error: WorkbenchError) -> WorkbenchError:
    """Return an error that holds on to nothing of what a run had in memory."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
