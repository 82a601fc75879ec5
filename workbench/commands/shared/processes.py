"""Several processes for the trainings of a command: started here, or by torchrun.

With `processes: N` in the experiment the command starts N - 1 further processes on this machine,
which load the same base and follow. Under torchrun there are as many as it started, on one machine
or several; those above the first only follow. As many as one, of N, runs their parts in turn.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import psutil
import torch
import typer

from workbench.errors import ConfigError, RunError, WorkbenchError
from workbench.models.loading import device_of
from workbench.options import whole_number
from workbench.runs.experiment import Experiment, store_experiment
from workbench.runs.joint_training import follow, lead
from workbench.runs.member_process import MEETING, StopWish, ready_file, take_card
from workbench.runs.session import Session, open_session
from workbench.tasks.base import Task
from workbench.training.ranks import WAIT_SECONDS, JoinedRanks, join

_MODULE = "workbench.runs.member_process"
_LOOPBACK = "127.0.0.1"
_INTERFACE = "GLOO_SOCKET_IFNAME"
_THREADS = "OMP_NUM_THREADS"
_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_ENDING_SECONDS = 10.0
_LOSS_SECONDS = 3.0  # until the system says how a process ended whose connection is gone
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Place:
    """Where a process stands that torchrun started.

    Attributes:
        rank: Among all.
        size: How many there are.
        local_rank: Among those on this machine.
        local_size: How many there are on it.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int


def place_here() -> Place | None:
    """Return where this process stands, None where nobody but a person started it.

    Raises:
        ConfigError: what the environment says are no numbers.
    """
    if not all(os.environ.get(name) for name in _TORCHRUN):
        return None
    size = os.environ["WORLD_SIZE"]
    given = {
        "RANK": os.environ["RANK"],
        "WORLD_SIZE": size,
        "LOCAL_RANK": os.environ.get("LOCAL_RANK", "0"),
        "LOCAL_WORLD_SIZE": os.environ.get("LOCAL_WORLD_SIZE", "1"),
    }
    numbers = [whole_number(value) for value in given.values()]
    found = [number for number in numbers if isinstance(number, int)]
    if len(found) < len(given) or not 0 <= found[0] < found[1] or min(found) < 0:
        said = ", ".join(f"{name}={value}" for name, value in given.items())
        raise ConfigError(
            f"processes: the environment says {said}, which is no place among processes. Start "
            "the command by torchrun, or without these variables."
        )
    return Place(*found)


def placed(experiment: Experiment) -> Experiment:
    """Return an experiment with as many processes as torchrun started, where it names none.

    Those above the first do not come back: they follow the first one until it ends.

    Raises:
        ConfigError: it names a number that those cannot share.
        typer.Exit: this process has followed, or it is told elsewhere why it could not.
    """
    place = place_here()
    if place is None:
        return experiment
    if experiment.processes == 1:
        experiment = experiment.model_copy(update={"processes": place.size})
    if experiment.processes % place.size:
        sizes = [n for n in range(1, experiment.processes + 1) if not experiment.processes % n]
        raise ConfigError(
            f"processes: {experiment.processes} asked for, and torchrun started {place.size} "
            f"(WORLD_SIZE), which cannot share them evenly. Start {_one_of(sizes)}."
        )
    if place.rank:
        _follow(place, experiment)
    return experiment


def _follow(place: Place, experiment: Experiment) -> NoReturn:
    code, wish = 0, StopWish()
    ranks = _join(place, experiment)
    try:
        follow(ranks, lambda: open_session(experiment), should_stop=wish)
    except WorkbenchError:
        code = 2
    finally:
        ranks.close()
    raise typer.Exit(code)


@contextmanager
def opened_session(experiment: Experiment, task: Task) -> Iterator[Session]:
    """Load base and wording, here and in the other processes of its trainings, for the block.

    Raises:
        ConfigError: fewer GPUs than processes, or processes that are not alike.
        RunError: a process could not be started.
        WorkbenchError: the session cannot be opened, here or elsewhere.
    """
    place = place_here()
    if max(1, experiment.processes if place is None else place.size) == 1:
        yield open_session(experiment, task)
        return
    with ExitStack() as stack:
        if place is None:
            ranks = stack.enter_context(_started(experiment))
        else:
            ranks = _join(place, experiment)
        stack.callback(ranks.end)
        yield lead(ranks, lambda: open_session(experiment, task))


def _join(place: Place, experiment: Experiment) -> JoinedRanks:
    card = take_card(place.local_rank, place.local_size, experiment.device)
    ranks = join(place.rank, place.size, parts=experiment.processes, has_card=card is not None)
    ranks.threads = _threads(place.local_size)
    return ranks


def _threads(processes: int) -> int | None:
    """Return how many threads each of so many processes takes; None where that is said already."""
    if os.environ.get(_THREADS):
        return None
    return max(1, torch.get_num_threads() // processes)


@dataclass(frozen=True)
class _Member:
    """A process that was started, its rank, and the file it complains to."""

    rank: int
    process: subprocess.Popen[bytes]
    said: IO[str]

    def end_words(self, size: int) -> str:
        """Return how it ended, "" while it goes on."""
        code = self.process.poll()
        if code is None:
            return ""
        self.said.seek(0)
        lines = [line for line in self.said.read().splitlines() if line.strip()]
        how = f"ended with exit code {code}{f' ({lines[-1].strip()})' if lines else ''}"
        if code < 0:
            how = f"was ended by signal {-code}"
            how += ", which the system sends where memory is short" if code == -9 else ""
        return f"process {self.rank + 1} of {size} {how}"


@contextmanager
def _started(experiment: Experiment) -> Iterator[JoinedRanks]:
    """Start the other processes on this machine and join them, for the block."""
    size = experiment.processes
    cards = torch.cuda.device_count() if device_of(experiment.device) == "cuda" else size
    if cards < size:
        raise ConfigError(
            f"processes: {size} need a GPU each, and this machine has {cards}. Use at most {cards} "
            "here, device 'cpu', or torchrun on several machines."
        )
    os.environ.setdefault(_INTERFACE, _loopback())
    with tempfile.TemporaryDirectory(prefix="workbench-processes-") as name, ExitStack() as stack:
        folder = Path(name)
        store_experiment(folder, experiment)
        threads = _threads(size)
        members = [
            stack.enter_context(_member(folder, rank, size, threads)) for rank in range(1, size)
        ]
        _wait_until_ready(folder, members, size)
        card = take_card(0, size, experiment.device)
        ranks = join(0, size, rendezvous=(folder / MEETING).as_uri(), has_card=card is not None)
        ranks.threads = threads
        ranks.whose_loss = lambda: _loss_words(members, size)
        stack.callback(ranks.end)
        yield ranks


@contextmanager
def _member(folder: Path, rank: int, size: int, threads: int | None) -> Iterator[_Member]:
    """Start a process that follows, and end it after the block."""
    # A file, because a pipe that nobody reads fills up and then holds the process.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(  # noqa: S603  our own interpreter and module only
            [sys.executable, "-m", _MODULE, str(folder), str(rank), str(size)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=os.environ | ({} if threads is None else {_THREADS: str(threads)}),
            start_new_session=True,  # Ctrl-C is for the first process, which tells the others
        )
        try:
            yield _Member(rank, process, said)
        finally:
            try:
                process.wait(_ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(folder: Path, members: list[_Member], size: int) -> None:
    """Wait until all processes are about to join, because joining cannot be interrupted.

    Raises:
        RunError: one ended before, or takes too long.
    """
    end = time.monotonic() + WAIT_SECONDS
    while not all(ready_file(folder, member.rank).exists() for member in members):
        ended = [words for member in members if (words := member.end_words(size))]
        if ended or time.monotonic() > end:
            for member in members:
                member.process.kill()
            reason = ended[0] if ended else f"no start within {WAIT_SECONDS:g} seconds"
            raise RunError(f"processes: {reason}, before there was any training.")
        time.sleep(_POLL_SECONDS)


def _loss_words(members: list[_Member], size: int) -> str:
    """Return which process ended and how, "" if none did within some seconds."""
    end = time.monotonic() + _LOSS_SECONDS
    while time.monotonic() < end:
        for member in members:
            if words := member.end_words(size):
                return words
        time.sleep(_POLL_SECONDS)
    return ""


def _loopback() -> str:
    """Return the name of the interface that other machines do not reach."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.family == socket.AF_INET and one.address == _LOOPBACK for one in addresses):
            return name
    return "lo"


def _one_of(numbers: list[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} or {numbers[-1]}"
