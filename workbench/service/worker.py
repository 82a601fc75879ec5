"""What the process of a job does.

The same `work` runs inside a handler, a chunk at a time, where a machine lends its accelerator for
seconds only (ZeroGPU); going on after a chunk is the same as going on after a stop.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from workbench.analysis.answers import headline_metric_of
from workbench.analysis.comparison import Comparison
from workbench.comparing import run_comparison
from workbench.errors import StoreError, WorkbenchError
from workbench.progress import Interrupted, ProgressEvent, stopped_by
from workbench.runs.checks import check_experiment
from workbench.runs.execute import RunRequest
from workbench.runs.experiment import Experiment, stored_experiment
from workbench.runs.failures import FailedRun
from workbench.runs.session import Session, open_session
from workbench.runs.store import RunStore, StoredRun
from workbench.service import jobs
from workbench.service.interruption import interrupted_by
from workbench.service.job_locks import ROOT_LOCK, adopt, release, take
from workbench.service.job_status import (
    GoingRun,
    JobState,
    JobStatus,
    RowFailure,
    RowResult,
    now,
    read_status,
    write_status,
)
from workbench.service.labels import name_trained
from workbench.service.profile import detect_profile
from workbench.service.space import bound_visitors, forget_absent, keep_end
from workbench.service.workspace import workspace_of
from workbench.tasks.base import Task
from workbench.workers.placing import HERE, Placing, placing_of

_WRITE_SECONDS = 0.4  # between two writes of the status
_GRACE_SECONDS = 180  # for the step that is being made and the checkpoint after it
_SHOWN_FIGURES = ("loss", "dev_accuracy", "dev_loss", "learning_rate", "gradient_norm")

OpenSession = Callable[[Experiment, Task], Session]


class StatusWriter:
    """Writes how far a job is, at most a few times a second.

    Args:
        folder: Folder of the job.
        status: As it stands at the start.
    """

    def __init__(self, folder: Path, status: JobStatus) -> None:
        self._folder, self.status = folder, status
        self._began = self._stage_began = self._written = time.monotonic()
        self._seconds_before = status.seconds
        self._first_step = 0
        self._process = psutil.Process()

    def began(
        self, request: RunRequest, run_id: str, *, number: int, total: int, where: str
    ) -> None:
        """Note a run's start."""
        row = f"{request.row}, seed {request.seed}"
        going = GoingRun(run_id=run_id, row=row, number=number, where=where, stage="fit")
        self._update(
            going_on=[*self._others(run_id), going],
            row=row,
            run_id=run_id,
            number=number,
            total=total,
            stage="fit",
            done=0,
            steps=0,
            seconds_left=None,
            figures={},
        )

    def progressed(self, run_id: str, event: ProgressEvent) -> None:
        """Note a step; the time left follows from the steps of this stage so far."""
        if (run_id, event.stage) != (self.status.run_id, self.status.stage):
            self._stage_began, self._first_step = time.monotonic(), event.done - 1
        spent, made = time.monotonic() - self._stage_began, event.done - 1 - self._first_step
        left = spent / made * max(0, event.total - event.done) if made > 0 else None
        figures = {k: v for k, v in event.figures.items() if k in _SHOWN_FIGURES}
        if run_id == self.status.run_id:
            figures = self.status.figures | figures
        step = {"stage": event.stage, "done": event.done, "steps": event.total}
        going_on = [
            one.model_copy(update=step) if one.run_id == run_id else one
            for one in self.status.going_on
        ]
        current: dict[str, object] = {"run_id": run_id}
        current |= {
            name: getattr(one, name)
            for one in going_on
            if one.run_id == run_id
            for name in ("row", "number")
        }
        changes = {"going_on": going_on, "seconds_left": left, "figures": figures}
        is_old = time.monotonic() - self._written > _WRITE_SECONDS
        is_due = is_old or event.done in (0, event.total)
        self._update(is_written=is_due, **changes, **step, **current)

    def ended(self, request: RunRequest, run: StoredRun, *, found: bool) -> None:
        """Note a finished run; what a search tries is no row of the table."""
        others = self._others(run.record.run_id)
        if request.is_trial:
            self._update(going_on=others)
            return
        metric = headline_metric_of(run)
        value = run.record.metrics[metric].value
        result = RowResult(
            row=request.row,
            seed=request.seed,
            run_id=run.record.run_id,
            accuracy=value if metric == "accuracy" else None,
            metric=metric,
            value=value,
            found=found,
        )
        self._update(going_on=others, rows=[*self.status.rows, result])

    def failed(self, failure: FailedRun, run_id: str) -> None:
        """Note a run that could not be made."""
        found = RowFailure(row=failure.row, seed=failure.seed, reason=failure.reason)
        failures = [*self.status.failures, found]
        self._update(going_on=self._others(run_id), failures=failures)

    def finish(self, state: JobState, message: str = "") -> None:
        """Note how the job ended."""
        self._update(
            state=state, message=message, ended=now(), seconds_left=None, pid=None, going_on=[]
        )

    def _others(self, run_id: str) -> list[GoingRun]:
        """Return the runs that are going on beside one."""
        return [one for one in self.status.going_on if one.run_id != run_id]

    @property
    def seconds(self) -> float:
        """Computing time of the job so far."""
        return self._seconds_before + time.monotonic() - self._began

    def _update(self, *, is_written: bool = True, **changes: object) -> None:
        memory = self._process.memory_info().rss
        extra = {"seconds": round(self.seconds, 1), "memory_bytes": memory}
        self.status = self.status.model_copy(update=changes | extra)
        if is_written:
            write_status(self._folder, self.status)
            keep_end(self._folder / jobs.LOG)
            self._written = time.monotonic()


def work(
    folder: Path,
    store: RunStore,
    *,
    open_session: OpenSession = open_session,
    seconds: float | None = None,
    minutes: float | None = None,
    stopping: threading.Event | None = None,
    lock: int | None = None,
    placing: Placing = HERE,
) -> JobStatus:
    """Run a job until it is finished, asked to stop, or its time is up; return how it ended.

    Args:
        folder: Folder of the job.
        store: Where its runs go.
        open_session: Loads what the experiment needs besides its task, or hands over what is
            loaded already.
        seconds: Length of one chunk; the job then waits for the next one.
        minutes: Computing time of the whole job; it then stops with a checkpoint.
        stopping: Set when this process is told to end.
        lock: The job's lock where it was handed over.
        placing: Who makes its runs.
    """
    experiment = stored_experiment(folder)
    if experiment is None:
        raise StoreError(f"{folder}: no experiment in it.")
    with jobs.running(folder, lock, in_chunks=seconds is not None) as status:
        writer = StatusWriter(folder, status)
        is_over = jobs.should_stop(folder, deadline=_deadline(seconds, minutes, status.seconds))

        def is_asked() -> bool:
            return jobs.is_stop_requested(folder) or (stopping is not None and stopping.is_set())

        ended: tuple[JobState, str] = "failed", "a bug of ours; the log has the details"
        try:
            with interrupted_by(is_asked):
                checked = check_experiment(placing.as_checked(experiment))
            with placing.started(experiment, store.root) as ready:
                with interrupted_by(is_asked):
                    opened = open_session if placing is HERE else ready.open_session
                    session = opened(experiment, checked.task)
                with stopped_by(is_asked):  # at once; when its time is up, with what it does done
                    comparison = run_comparison(
                        session,
                        experiment,
                        store=store,
                        folder=folder,
                        watcher=writer,
                        should_stop=lambda: is_over() or is_asked(),
                        make_executor=ready.make_executor,
                    )
            ended = _how_finished(folder, status, comparison)
        except Interrupted as interruption:
            ended = _why_stopped(folder, writer.seconds, minutes, str(interruption))
        except WorkbenchError as error:
            ended = "failed", str(error)
        finally:  # after any other error as well, which goes on to the log
            writer.finish(*ended)
        return writer.status


def _deadline(seconds: float | None, minutes: float | None, spent: float) -> float | None:
    """Return when a chunk or the whole job has to end, by `time.monotonic`; None: never."""
    limits = [seconds, None if minutes is None else 60 * minutes - spent]
    shortest = min((limit for limit in limits if limit is not None), default=None)
    return None if shortest is None else time.monotonic() + shortest


def _how_finished(folder: Path, status: JobStatus, comparison: Comparison) -> tuple[JobState, str]:
    unnamed = ""
    if status.kind == "train":
        trained = [row.run_id for row in comparison.rows if not row.is_baseline]
        unnamed = name_trained(workspace_of(folder), folder, trained)
    failed = len(comparison.failed)
    if failed:
        return "failed", f"{failed} failed; resume tries again only what is missing"
    return "finished", unnamed


def _why_stopped(
    folder: Path, seconds: float, minutes: float | None, reason: str
) -> tuple[JobState, str]:
    if jobs.is_stop_requested(folder):
        return "stopped", f"{reason}; resume goes on from there"
    if minutes is not None and seconds >= 60 * minutes:
        return "stopped", f"the {minutes:g} minutes a job may take here are up ({reason})"
    return "interrupted", f"{reason}; resume goes on from there"


def end_at_the_latest(folder: Path, *, seconds: float) -> None:
    """End this process after a while even if its job hangs and never asks whether to stop."""

    def end() -> None:
        try:
            message = "it did not stop when its time was up, and was ended"
            changes = {"state": "stopped", "message": message, "ended": now(), "seconds": seconds}
            write_status(folder, read_status(folder).model_copy(update=changes))
        finally:
            os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def main(arguments: list[str]) -> int:
    """Run the job of a folder; start the next one when it ends, whatever it ends with.

    Args:
        arguments: The folder, and the locks of root and job where they were handed over.
    """
    folder = Path(arguments[0]).resolve()
    handed = [int(number) for number in arguments[1:]]
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    workspace, profile = workspace_of(folder), detect_profile()
    forget_absent(workspace.root, profile)
    bound_visitors(workspace.root, profile)
    root_lock = workspace.root / ROOT_LOCK
    held = (adopt(root_lock, handed[0]) if handed else None) or take(root_lock)
    if held is None:
        raise StoreError(f"{workspace.root}: a job is running there. Wait for it, or stop it.")
    try:
        minutes = profile.caps.minutes
        lock = handed[1] if handed else None
        if minutes is not None:
            end_at_the_latest(folder, seconds=60 * minutes + _GRACE_SECONDS)
        status = work(
            folder,
            workspace.store,
            minutes=minutes,
            stopping=stopping,
            lock=lock,
            # What a worker of a shared page writes would be held against no visitor's room.
            placing=HERE if profile.is_public else placing_of(os.environ),
        )
        return 0 if status.state == "finished" else 1
    finally:
        release(held)
        jobs.start_next(workspace.root)
