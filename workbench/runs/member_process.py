"""The process of a training that another process leads: `python -m workbench.runs.member_process`.

It is started by `workbench.commands.shared.processes` with a folder that holds the experiment and
the file where the processes meet.
"""

import signal
import sys
from pathlib import Path
from types import FrameType

import torch

from workbench.errors import WorkbenchError
from workbench.models.loading import device_of
from workbench.runs.experiment import stored_experiment
from workbench.runs.joint_training import follow
from workbench.runs.session import open_session
from workbench.startup import collect_rarely
from workbench.training.ranks import join

MEETING = "meeting"


def main(folder: Path, rank: int, size: int) -> None:
    """Follow the process that started this one until it ends."""
    collect_rarely()
    experiment = stored_experiment(folder)
    if experiment is None:
        return
    wish = StopWish()
    card = take_card(rank, size, experiment.device)
    ready_file(folder, rank).touch()
    ranks = join(
        rank,
        size,
        parts=experiment.processes,
        rendezvous=(folder / MEETING).absolute().as_uri(),
        has_card=card is not None,
    )
    try:
        follow(ranks, lambda: open_session(experiment), should_stop=wish)
    finally:
        ranks.close()


def ready_file(folder: Path, rank: int) -> Path:
    """Return the file that says that a process is about to join the others."""
    return folder / f"ready-{rank}"


def take_card(number: int, of: int, device: str) -> int | None:
    """Let this process use a GPU of its own; return which, or None where there is none for each.

    Args:
        number: Of the process among those on this machine.
        of: How many there are on this machine.
        device: As an experiment asks for it.
    """
    if device_of(device) != "cuda":
        return None
    cards = torch.cuda.device_count()
    torch.cuda.set_device(number % cards)
    return number if of <= cards else None


class StopWish:
    """Set by Ctrl-C and by termination, which end a training for all its processes."""

    def __init__(self) -> None:
        self._is_asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def __call__(self) -> bool:
        """Return whether this process was asked to stop."""
        return self._is_asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._is_asked = True


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except WorkbenchError as error:
        sys.exit(f"error: {error}")
