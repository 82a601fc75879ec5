"""Where runs are made: in this process, by workers of this machine, or on a cluster."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workbench.errors import ConfigError
from workbench.options import whole_number
from workbench.runs.executor import Executor, LocalExecutor
from workbench.runs.experiment import Experiment
from workbench.runs.session import Session, open_session
from workbench.runs.shared_store import open_store
from workbench.runs.store import RunStore
from workbench.tasks.base import Task
from workbench.workers.cluster import connected
from workbench.workers.executor import PoolExecutor, check_workers, marked
from workbench.workers.local_crew import LocalCrew
from workbench.workers.pool import Crew, Pool
from workbench.workers.ray_crew import RayCrew
from workbench.workers.resolving import as_held_here, open_session_of_workers
from workbench.workers.serving_loop import code_version


@dataclass(frozen=True)
class Placed:
    """Who makes runs, started.

    Attributes:
        experiment: Says what the base is asked for by.
        open_session: Opens base, task and wording as they have them.
        pool: Has the workers; None where this process makes the runs.
    """

    experiment: Experiment
    open_session: Callable[[Experiment, Task], Session]
    pool: Pool | None = None

    def make_executor(self, store: RunStore, should_stop: Callable[[], bool]) -> Executor:
        """Return what makes runs in a store; see `MakeExecutor`."""
        if self.pool is None:
            return LocalExecutor(store, should_stop)
        return PoolExecutor(self.pool, self.experiment, store, should_stop)


@dataclass(frozen=True)
class Placing:
    """Who makes runs, and where they are kept.

    Attributes:
        workers: Processes of this machine; None makes runs in this process.
        cluster: Address of a Ray cluster.
        store: Folder or address that others share; the folder of the report unless given.
    """

    workers: int | None = None
    cluster: str | None = None
    store: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.cluster is not None:
            raise ConfigError("--workers and --cluster: runs are made by one of the two. Drop one.")
        if self.workers is not None:
            check_workers(self.workers)
        is_pooled = self.workers is not None or self.cluster is not None
        if is_pooled and os.environ.get("RANK") and os.environ.get("WORLD_SIZE", "1") != "1":
            raise ConfigError(
                "--workers and --cluster: not under torchrun, whose processes share one training "
                "after the other. Start the command without it."
            )

    @property
    def beginning(self) -> str:
        """What takes a while before the first run begins, for people who wait."""
        others = "" if self.cluster is None else ", and waiting for the first worker"
        return f"loading base model and task{others} …"

    def open_store(self, folder: Path) -> RunStore:
        """Return the store of an experiment whose report goes to a folder."""
        place = self._place(folder)
        return RunStore(folder) if place is None else open_store(place, folder)

    def as_checked(self, experiment: Experiment) -> Experiment:
        """Return an experiment as this machine can check it: its base may be made for others."""
        return experiment if self.cluster is None else as_held_here(experiment)

    @contextmanager
    def started(self, experiment: Experiment, folder: Path) -> Iterator[Placed]:
        """Start who makes the runs, for the block.

        Args:
            experiment: Says what the base is asked for by.
            folder: Of the report.

        Raises:
            ConfigError: no cluster is there.
        """
        place = self._place(folder)
        with ExitStack() as stack:
            if self.workers is not None:
                crew = stack.enter_context(LocalCrew(self.workers, place, folder.absolute()))
                yield Placed(experiment, open_session, _pool(crew))
            elif self.cluster is not None and place is not None:
                ray = stack.enter_context(connected(self.cluster))
                is_folder = "://" not in place
                mark = marked(self.open_store(folder)) if is_folder else nullcontext("")
                token = stack.enter_context(mark)
                pool = _pool(stack.enter_context(RayCrew(ray, experiment, place, token)))
                yield Placed(experiment, partial(open_session_of_workers, pool), pool)
            else:
                yield Placed(experiment, open_session)

    def _place(self, folder: Path) -> str | None:
        """Return the store that others share; None if only this machine works there."""
        if self.store is None and self.cluster is None:
            return None
        place = self.store or str(folder)
        return place if "://" in place else str(Path(place).absolute())


HERE = Placing()
"""Runs are made in this process."""


def placing_of(environment: Mapping[str, str]) -> Placing:
    """Return who makes the runs of a page's jobs, as whoever starts the page says it.

    `WORKBENCH_WORKERS` is a number of processes of this machine, `WORKBENCH_CLUSTER` the address of
    a Ray cluster.

    Raises:
        ConfigError: no such number, or both are given.
    """
    given = environment.get("WORKBENCH_WORKERS", "")
    workers = whole_number(given) if given else None
    if workers is not None and not isinstance(workers, int):
        raise ConfigError(f"WORKBENCH_WORKERS: {given[:40]!r} is no number of processes.")
    return Placing(workers, environment.get("WORKBENCH_CLUSTER") or None)


def _pool(crew: Crew) -> Pool:
    return Pool(crew, {}, code_version())
