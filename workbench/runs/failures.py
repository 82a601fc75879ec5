"""A run of a row that could not be made: which one, and why; the other rows are none the worse."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.errors import RunError


@dataclass(frozen=True)
class FailedRun:
    """What a report says in the place of a run.

    Attributes:
        row: Name of the row.
        seed: What it would have drawn from.
        reason: What went wrong, in a message.
        place: Where it would stand on an axis, in words; empty in a table.
    """

    row: str
    seed: int
    reason: str
    place: str = ""

    @property
    def name(self) -> str:
        """The row with its seed, and its place if it has one."""
        return f"{self.row}, seed {self.seed}" + (f" at {self.place}" if self.place else "")

    @property
    def sentence(self) -> str:
        """What to beware of."""
        return f"{self.name}: failed, and is left out of every figure and difference: {self.reason}"


def failures_text(failed: Sequence[FailedRun]) -> str:
    """Return all failures as one message that says what to do."""
    several = "runs" if len(failed) > 1 else "run"
    return (
        f"{len(failed)} {several} failed; the report has the others. Running the same again tries "
        "only what is missing.\n" + "\n".join(f"{one.name}: {one.reason}" for one in failed)
    )


def raise_if_failed(failed: Sequence[FailedRun]) -> None:
    """Raise `RunError` naming every run that failed; call it when the report is written."""
    if failed:
        raise RunError(failures_text(failed))
