"""Lend-by-the-call accelerators (ZeroGPU); everywhere else these do nothing."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from workbench.runs.experiment import Experiment
from workbench.runs.session import Session
from workbench.service.profile import Profile
from workbench.service.worker import work
from workbench.service.workspace import workspace_of
from workbench.serving.desk import ModelDesk
from workbench.tasks.base import Task

_SAVING_SECONDS = 15  # for the step that is being made and the checkpoint after it

Function = TypeVar("Function", bound=Callable[..., object])


def accelerated(function: Function, profile: Profile, *, seconds: float) -> Function:
    """Return a handler that runs with the accelerator lent for at most `seconds` a call.

    ZeroGPU forks a process per call and pickles arguments and results, so a handler given here
    takes and returns plain values only.
    """
    if profile.executor != "chunks":
        return function
    try:
        spaces = importlib.import_module("spaces")
    except ImportError:  # the same profile on a machine that lends nothing: for tests
        return function
    decorated: Function = spaces.GPU(duration=seconds)(function)
    return decorated


def chunk_runner(desk: ModelDesk, profile: Profile) -> Callable[[str], str]:
    """Return a function that runs one chunk of the job in a folder and says its state after it.

    "interrupted" means that the next chunk is due: going on is the same as resuming.
    """

    def open_alone(experiment: Experiment, task: Task) -> Session:
        session = desk.session(experiment, task)
        desk.forget_fitted()
        return session

    def run_chunk(folder: str) -> str:
        status = desk.call(
            lambda: work(
                Path(folder),
                workspace_of(Path(folder)).store,
                open_session=open_alone,
                seconds=profile.chunk_seconds,
                minutes=profile.caps.minutes,
            )
        )
        return status.state

    return accelerated(run_chunk, profile, seconds=profile.chunk_seconds + _SAVING_SECONDS)
