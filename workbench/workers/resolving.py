"""What a base comes to on the machines that make the runs, when the driver's may be unlike them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from workbench.models.loading import BaseInfo
from workbench.progress import Progress, raise_if_stopped
from workbench.runs.experiment import Experiment
from workbench.runs.origin import from_anywhere
from workbench.runs.session import Session, open_session
from workbench.tasks.base import Task
from workbench.workers.bench import Bench
from workbench.workers.pool import Nobody, Pool


@dataclass(frozen=True)
class ResolveBase:
    """Load the base of an experiment and say what it came to; see `Work`.

    Attributes:
        experiment: Asks for it; device and products may be "auto".
        identity: Which weights are meant.
    """

    experiment: Experiment
    identity: str
    name: str = "the base"
    base: str = ""
    shared: tuple[str, ...] = ()

    def do(self, bench: Bench, progress: Progress, should_stop: Callable[[], bool]) -> BaseInfo:
        """Return what is known about the base there."""
        return bench.base(self.experiment, self.identity)


def as_held_here(experiment: Experiment) -> Experiment:
    """Return an experiment whose base a machine without a card can hold, as tokens need no more.

    On a card it would take the room of a worker's base.
    """
    here = {"device": "cpu", "compute_dtype": "auto", "weights_in_memory": "packed"}
    return experiment.model_copy(update=here)


def open_session_of_workers(pool: Pool, experiment: Experiment, task: Task) -> Session:
    """Return a session of the driver whose runs are those that the workers make.

    The first worker that has the same weights says what device and products the base has; all are
    asked for just these.

    Args:
        pool: Has the workers.
        experiment: Asks for base and wording.
        task: Its data.

    Raises:
        RunError: no worker has the base; names the reasons.
    """
    session = open_session(as_held_here(experiment), task)
    pool.submit(ResolveBase(from_anywhere(experiment), session.engine.info.identity))
    while (ended := pool.next(Nobody())) is None:
        raise_if_stopped()
    _, outcome = ended
    if outcome.error is not None:
        raise outcome.error
    return replace(session, experiment=experiment, base=outcome.result)
