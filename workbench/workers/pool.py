"""Which worker does what next. Knows nothing of how workers are started or spoken to.

A worker keeps one base in memory. Work goes first to workers that have its base, then to those that
have none, and only then does a worker change its base. What a dead worker was doing is done again
by another, from its checkpoint.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from workbench.errors import RunError, WorkbenchError
from workbench.progress import ProgressEvent
from workbench.workers.work import (
    Answer,
    Done,
    Failed,
    Give,
    Gone,
    Ready,
    Step,
    Stop,
    Unfit,
    Work,
)

MOST_ATTEMPTS = 3  # workers that may die of one piece of work
_BUSY_SECONDS = 2.0  # before asking again for what another driver is doing


class Crew(Protocol):
    """Workers, started and spoken to in some way."""

    def size(self) -> int:
        """Return how many workers there are, those that are starting too."""

    def give(self, worker: str, message: Give | Stop) -> None:
        """Send a message to a worker; one to a dead worker is lost."""

    def dismiss(self, worker: str) -> None:
        """End a worker that is not to be replaced."""

    def wait(self, seconds: float) -> Sequence[tuple[str, Answer]]:
        """Return what workers say, waiting so long for the first of it.

        A worker that died says so last, and another may take its place.
        """

    def now(self) -> float:
        """Return a time in seconds that only grows."""


class Teller(Protocol):
    """Told about work while it is done."""

    def began(self, work: Work, where: str) -> None:
        """A worker starts."""

    def progressed(self, work: Work, event: ProgressEvent) -> None:
        """Work that began made a step."""


class Nobody:
    """A teller that says nothing."""

    def began(self, work: Work, where: str) -> None:
        """Drop a beginning."""

    def progressed(self, work: Work, event: ProgressEvent) -> None:
        """Drop a step."""


@dataclass
class _Worker:
    """What the pool knows of a worker that is there.

    Attributes:
        where: Its name for people.
        base: Which base it has in memory, or "".
        known: Keys of what it was sent.
        work: What it is doing.
    """

    where: str
    base: str = ""
    known: set[str] = field(default_factory=set)
    work: Work | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of work: a result, or an error."""

    result: Any = None
    error: WorkbenchError | None = None


class Pool:
    """Hands work to the workers of a crew.

    Args:
        crew: The workers.
        shared: What work may share, by key; looked at when a worker needs it.
        version: What workers must be of.
    """

    def __init__(self, crew: Crew, shared: dict[str, Any], version: str) -> None:
        self._crew, self.shared, self._version = crew, shared, version
        self._workers: dict[str, _Worker] = {}
        self._waiting: dict[str, deque[Work]] = {}  # by base
        self._held: list[tuple[float, Work]] = []  # not to be begun before a time
        self._ended: deque[tuple[Work, Outcome]] = deque()
        self._deaths: dict[str, int] = {}  # by name of the work
        self._unfit: dict[str, None] = {}  # why workers were sent away
        self._notes: list[str] = []

    def num_waiting(self) -> int:
        """Return how much work has not begun."""
        return len(self._held) + sum(map(len, self._waiting.values()))

    def is_hungry(self) -> bool:
        """Return whether a worker may soon have nothing to do."""
        return self.num_waiting() < max(self._crew.size(), 1)

    def submit(self, work: Work) -> None:
        """Take work."""
        self._waiting.setdefault(work.base, deque()).append(work)

    def next(self, teller: Teller, *, patience: float = 0.2) -> tuple[Work, Outcome] | None:
        """Return work that ended and what became of it; None if none did within `patience` seconds.

        Raises:
            RunError: no worker is left that could do anything.
        """
        if not self._ended:
            self._assign(teller)
            for name, answer in self._crew.wait(patience):
                self._take(name, answer, teller)
            if not self._ended and not self._crew.size():
                reasons = " ".join(self._unfit) or "All of them died."
                raise RunError(f"no worker is left. {reasons}")
        return self._ended.popleft() if self._ended else None

    def stop(self, teller: Teller, *, seconds: float) -> bool:
        """Stop all that is going on; return whether everybody did so in time."""
        for name, worker in self._workers.items():
            if worker.work is not None:
                self._crew.give(name, Stop())
        until = self._crew.now() + seconds
        while any(worker.work for worker in self._workers.values()):
            if self._crew.now() > until:
                return False
            for name, answer in self._crew.wait(0.2):
                self._take(name, answer, teller)
        return True

    def take_notes(self) -> list[str]:
        """Return what is to be told once and was not yet."""
        notes, self._notes = self._notes, []
        return notes

    # Answers

    def _take(self, name: str, answer: Answer, teller: Teller) -> None:
        """Take what a worker says."""
        if isinstance(answer, Ready):
            self._welcome(name, answer)
            return
        worker = self._workers.get(name)
        if isinstance(answer, Gone):
            self._mourn(name, answer.reason)
        elif isinstance(answer, Unfit) and worker is None:  # before it was ready
            self._send_away(name, answer.reason)
        elif worker is None or worker.work is None:
            return
        elif isinstance(answer, Step):
            teller.progressed(worker.work, answer.event)
        else:
            work, worker.work = worker.work, None
            self._end(name, work, answer)

    def _welcome(self, name: str, answer: Ready) -> None:
        if answer.version == self._version:
            self._workers[name] = _Worker(answer.where)
            return
        self._send_away(
            name,
            f"{answer.where} has prompt-workbench {answer.version}, and here it is "
            f"{self._version}. Install the same on all machines.",
        )

    def _end(self, name: str, work: Work, answer: Answer) -> None:
        """Note how work ended."""
        if isinstance(answer, Done):
            self._ended.append((work, Outcome(answer.result)))
        elif isinstance(answer, Failed) and answer.is_busy:
            self._held.append((self._crew.now() + _BUSY_SECONDS, work))
        elif isinstance(answer, Failed):
            self._ended.append((work, Outcome(error=answer.error())))
        else:
            self._waiting.setdefault(work.base, deque()).appendleft(work)
            if isinstance(answer, Unfit):
                self._send_away(name, answer.reason)

    def _mourn(self, name: str, reason: str) -> None:
        """Note that a worker died: another goes on with what it did, unless several died of it."""
        worker = self._workers.pop(name, None)
        if worker is None:
            self._unfit[f"A worker ended while it started: {reason}"] = None
            return
        work = worker.work
        if work is None:
            return
        deaths = self._deaths[work.name] = self._deaths.get(work.name, 0) + 1
        if deaths < MOST_ATTEMPTS:
            self._notes.append(
                f"{worker.where} died ({reason}) while making {work.name}; it goes on elsewhere."
            )
            self._waiting.setdefault(work.base, deque()).appendleft(work)
            return
        message = (
            f"{work.name}: {deaths} workers died while making it, the last on {worker.where} "
            f"({reason}). If memory ran out, use weights_in_memory 'packed', fewer workers or a "
            "smaller micro_batch_size."
        )
        self._ended.append((work, Outcome(error=RunError(message))))

    def _send_away(self, name: str, reason: str) -> None:
        self._workers.pop(name, None)
        if reason not in self._unfit:
            self._unfit[reason] = None
            self._notes.append(reason)
        self._crew.dismiss(name)

    # Placement

    def _assign(self, teller: Teller) -> None:
        """Give work to all who have nothing to do."""
        now = self._crew.now()
        ripe = [work for time, work in self._held if time <= now]
        self._held = [(time, work) for time, work in self._held if time > now]
        for work in ripe:
            self.submit(work)
        idle = [(n, w) for n, w in self._workers.items() if w.work is None]
        # Those that have a wanted base first, then those that have none.
        for name, worker in sorted(idle, key=lambda one: self._eagerness(one[1])):
            found = self._work_for(worker)
            if found is not None:
                worker.work, worker.base = found, found.base or worker.base
                new = {key: self.shared[key] for key in found.shared if key not in worker.known}
                worker.known.update(new)
                teller.began(found, worker.where)
                self._crew.give(name, Give(found, new))

    def _eagerness(self, worker: _Worker) -> int:
        if self._waiting.get(worker.base):
            return 0
        return 1 if not worker.base else 2

    def _work_for(self, worker: _Worker) -> Work | None:
        """Return what a worker does next, and take it from those that wait."""
        wanted = [base for base, waiting in self._waiting.items() if waiting]
        held = {other.base for other in self._workers.values()}
        wanted.sort(key=lambda base: (base != worker.base, base in held))
        for base in wanted:
            work = self._first_free(self._waiting[base])
            if work is not None:
                return work
        return None

    def _first_free(self, waiting: deque[Work]) -> Work | None:
        """Return the first work of a name that nobody is at."""
        going_on = {w.work.name for w in self._workers.values() if w.work is not None}
        for place, work in enumerate(waiting):
            if work.name not in going_on:
                del waiting[place]
                return work
        return None
