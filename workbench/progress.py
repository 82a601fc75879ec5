"""Progress of long work, told to whoever shows it."""

from collections.abc import Callable, Mapping
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
