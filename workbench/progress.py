"""Progress of long work, told to whoever shows it, and the wish to stop, asked while it goes on."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


class Interrupted(Exception):
    """Long work was asked to stop; what is finished is stored and will be found again."""


@dataclass(frozen=True)
class ProgressEvent:
    """A step of something long: what, how far, and figures worth showing.

    `note` is a sentence to be told once, of what was found damaged and how the work goes on.
    """

    stage: str
    done: int
    total: int
    figures: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


Progress = Callable[[ProgressEvent], None]


def ignore_progress(event: ProgressEvent) -> None:
    """Drop a progress event."""


def _never() -> bool:
    return False


# Of a context and not of the engine, because others use the same engine in other threads.
_asked: ContextVar[Callable[[], bool]] = ContextVar("asked_to_stop", default=_never)


@contextmanager
def stopped_by(should_stop: Callable[[], bool]) -> Iterator[None]:
    """Let everything within the block end soon after `should_stop` returns True.

    Whatever computes for long asks by `raise_if_stopped`, however deep it is called: a pass of the
    base between two layers, an encoder between two texts. Doors open such a block for people who
    want to leave; what only has to end in time (a chunk of a job) is asked between whole steps, by
    a parameter, or it would begin the same step again and again. A block in another ends for both.
    """
    outer = _asked.get()
    token = _asked.set(lambda: outer() or should_stop())
    try:
        yield
    finally:
        _asked.reset(token)


@contextmanager
def never_stopped() -> Iterator[None]:
    """Let what is within the block be finished, because others need it too."""
    token = _asked.set(_never)
    try:
        yield
    finally:
        _asked.reset(token)


def raise_if_stopped() -> None:
    """End what is being computed, if it was asked to stop.

    Raises:
        Interrupted: it was; what was being computed is lost, what was finished is not.
    """
    if _asked.get()():
        raise Interrupted("asked to stop")
