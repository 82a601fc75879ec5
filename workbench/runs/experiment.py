"""Run an experiment: every method and seed on one base, baselines included."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from workbench.errors import ConfigError, PromptError, unknown_name
from workbench.methods.catalog import make_method
from workbench.models.embeddings import find_sentence_encoder
from workbench.progress import Interrupted, ProgressEvent
from workbench.runs.baselines import BASELINES, NEAREST
from workbench.runs.execute import RunRequest, execute, execute_baseline, run_id_of
from workbench.runs.session import Session
from workbench.runs.spec import Experiment
from workbench.runs.store import RunStore, StoredRun

_ANSWER_ROOM = 32  # tokens left for an answer


class Watcher(Protocol):
    """Told about the runs of an experiment as they go."""

    def began(self, request: RunRequest, run_id: str, *, number: int, total: int) -> None:
        """A run starts; its folder is `run_id`."""

    def progressed(self, event: ProgressEvent) -> None:
        """The current run made a step."""

    def ended(self, request: RunRequest, run: StoredRun, *, found: bool) -> None:
        """A run is finished; `found` says that it was finished before."""


@dataclass(frozen=True)
class RowRun:
    """A finished run and the row of the comparison it belongs to."""

    row: str
    run: StoredRun


def requests_of(experiment: Experiment) -> list[RunRequest]:
    """Return the runs an experiment asks for, checked, in the order they are run.

    Raises:
        ConfigError: unknown methods or options, or a reference that is no row: all at once.
    """
    problems = []
    requests = []
    for row in experiment.methods:
        method, options = experiment.method_of(row)
        try:
            make_method(method, options)
        except ConfigError as error:
            problems.append(str(error))
        requests += [RunRequest(row, method, options, seed) for seed in experiment.seeds_of(row)]
    if experiment.reference not in experiment.methods:
        message = unknown_name("row", experiment.reference, experiment.methods)
        problems.append(f"reference: {message}")
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return requests


def run_experiment(
    session: Session,
    store: RunStore,
    requests: list[RunRequest],
    *,
    watcher: Watcher,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[RowRun]:
    """Return the finished runs of all requests, the baselines first.

    Raises:
        Interrupted: asked to stop; finished runs are kept and found again.
    """
    check_lengths(session)
    rows = _baselines(session, store)
    for number, request in enumerate(requests):
        if should_stop():
            raise Interrupted(f"stopped before run {number + 1} of {len(requests)}")
        run_id = run_id_of(session, request)
        watcher.began(request, run_id, number=number, total=len(requests))
        steps: list[ProgressEvent] = []

        def progress(event: ProgressEvent, steps: list[ProgressEvent] = steps) -> None:
            steps.append(event)
            watcher.progressed(event)

        run = execute(session, store, request, progress=progress, should_stop=should_stop)
        watcher.ended(request, run, found=not steps)
        rows.append(RowRun(request.row, run))
    return rows


def check_lengths(session: Session) -> None:
    """Refuse samples that do not fit the context even without demonstrations.

    Raises:
        PromptError: how many, and the ids of the first few.
    """
    encoder, task = session.encoder, session.task
    context = session.engine.info.context_length
    start = encoder.start()
    room = context - len(start.head_ids + start.shared_ids) - _ANSWER_ROOM
    too_long = [
        sample.id
        for sample in (*task.train, *task.dev, *task.test)
        if len(encoder.own_ids(sample.fields, start)) > room
    ]
    if too_long:
        raise PromptError(
            f"task '{task.name}': {len(too_long)} texts with their prompt exceed the context of "
            f"{context} tokens of '{session.engine.info.name}' (ids {', '.join(too_long[:3])}"
            f"{', …' if len(too_long) > 3 else ''}). Shorten or remove them, or use a model with a "
            "longer context."
        )


def _baselines(session: Session, store: RunStore) -> list[RowRun]:
    """Return the baselines' runs; the nearest-neighbour vote needs a sentence encoder."""
    rows = []
    for name in BASELINES:
        spec = session.spec(name, {}, 0)
        stored = store.find(spec.run_id)
        needed = stored is None and name == NEAREST and bool(session.task.labels)
        run = execute_baseline(session, store, name, find_sentence_encoder() if needed else None)
        if run is not None:
            rows.append(RowRun(name, run))
    return rows
