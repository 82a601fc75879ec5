"""What driver and workers say to each other. All of it can be pickled; none of it needs torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from workbench import errors
from workbench.errors import BusyRun, RunError, WorkbenchError
from workbench.progress import Progress, ProgressEvent

if TYPE_CHECKING:
    from workbench.workers.bench import Bench


class UnfitWorker(WorkbenchError):
    """A worker cannot come to the numbers that are asked for; others may."""


class Work(Protocol):
    """Something to be done once, by one worker."""

    @property
    def name(self) -> str:
        """What it makes; no two workers do work of one name at a time."""

    @property
    def base(self) -> str:
        """Which base it needs in memory; "" if none."""

    @property
    def shared(self) -> tuple[str, ...]:
        """Keys of what it shares with other work, which each worker is sent once."""

    def do(self, bench: "Bench", progress: Progress, should_stop: Callable[[], bool]) -> object:
        """Do it; what is returned goes back to the driver and is small.

        Raises:
            Interrupted: asked to stop.
            UnfitWorker: this worker cannot.
            WorkbenchError: nobody can.
        """


# From the driver


@dataclass(frozen=True)
class Give:
    """Do this next; `shared` has what the worker does not have yet."""

    work: Work
    shared: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stop:
    """Stop what is going on, with a checkpoint."""


# From a worker


@dataclass(frozen=True)
class Ready:
    """A worker is there.

    Attributes:
        where: Its name for people.
        version: Version of its package and of what specs mean to it.
    """

    where: str
    version: str


@dataclass(frozen=True)
class Step:
    """The work that is going on made a step."""

    event: ProgressEvent


@dataclass(frozen=True)
class Done:
    """The work is done."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """The work failed, for whoever tries it."""

    kind: str
    message: str

    @property
    def is_busy(self) -> bool:
        """Whether another process, of another driver, is doing it."""
        return issubclass(self._type, BusyRun)

    def error(self) -> WorkbenchError:
        """Return the error as it was raised."""
        return self._type(self.message)

    @property
    def _type(self) -> type[WorkbenchError]:
        found = getattr(errors, self.kind, RunError)
        return found if issubclass(found, WorkbenchError) else RunError


@dataclass(frozen=True)
class Stopped:
    """The work was stopped, as asked."""


@dataclass(frozen=True)
class Unfit:
    """The worker cannot do the work and is to be sent away."""

    reason: str


@dataclass(frozen=True)
class Gone:
    """The worker died."""

    reason: str


Answer = Ready | Step | Done | Failed | Stopped | Unfit | Gone
Tell = Callable[[Answer], None]
