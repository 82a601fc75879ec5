"""Run an experiment: every method and seed on one base, baselines included."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from workbench.errors import (
    BusyRun,
    ConfigError,
    PromptError,
    StoreError,
    WorkbenchError,
    unknown_name,
)
from workbench.fitting.base import Method, SupportsCheck, SupportsPrecisionCheck, SupportsSave
from workbench.fitting.reasoning import REASONING
from workbench.methods.catalog import make_method, method_name, with_options
from workbench.models.sentence_encoder import SentenceEncoder, find_sentence_encoder
from workbench.runs.baselines import BASELINES, needs_neighbours
from workbench.runs.execute import RunRequest, execute_baseline, is_finished
from workbench.runs.executor import LocalExecutor, MakeExecutor
from workbench.runs.experiment import Experiment, RateSearch
from workbench.runs.failures import FailedRun
from workbench.runs.rows import RowRun, Watcher, run_requests
from workbench.runs.session import Session
from workbench.runs.store import RunStore, StoredRun
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate
from workbench.training.options import TrainingOptions

_BUSY_SECONDS = 1.0  # between two looks at what another driver is making
_ANSWER_ROOM = 32  # tokens left for an answer; a generated text has its own bound


@dataclass(frozen=True)
class RowsMade:
    """What became of the rows of an experiment: the finished runs, and those that failed."""

    rows: list[RowRun]
    failed: list[FailedRun]


def requests_of(experiment: Experiment) -> list[RunRequest]:
    """Return the runs an experiment asks for, checked, in the order they are run.

    Raises:
        ConfigError: unknown methods or options, or a reference that is no row: all at once.
    """
    problems = []
    requests = []
    for row in experiment.methods:
        name, options = experiment.method_of(row)
        search = experiment.search_of(row)
        try:
            method = make_method(name, options)
            problems += _sharing_problems(row, method, experiment.processes)
            if not is_trained(method):
                problems += _search_problems(row, name, search)
                search = None
            elif search is not None and not isinstance(search.rates, int):
                for rate in search.rates:
                    with_options(method, {"learning_rate": rate})
        except ConfigError as error:
            problems.append(str(error))
            continue
        requests += [RunRequest(row, method, seed, search) for seed in experiment.seeds_of(row)]
    if experiment.reference not in experiment.methods:
        message = unknown_name("row", experiment.reference, experiment.methods)
        problems.append(f"reference: {message}")
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return requests


def _sharing_problems(row: str, method: Method, processes: int) -> list[str]:
    """Return what is wrong with a training that so many processes share."""
    if not isinstance(method, TrainingOptions) or method.batch_size >= processes:
        return []
    return [
        f"methods.{row}.batch_size: {method.batch_size} examples cannot be shared by {processes} "
        f"processes. Use a batch_size of {processes} or more, or at most {method.batch_size} "
        "processes."
    ]


def _search_problems(row: str, method: str, search: RateSearch | None) -> list[str]:
    """Return what is wrong with a search for a method that has nothing to search."""
    if search is None or not search.is_asked:
        return []
    return [
        f"methods.{row}.learning_rates: '{method}' trains nothing, so it has no learning rate to "
        "look for. Remove the key."
    ]


def run_experiment(
    session: Session,
    store: RunStore,
    requests: list[RunRequest],
    *,
    watcher: Watcher,
    should_stop: Callable[[], bool] = lambda: False,
    make_executor: MakeExecutor = LocalExecutor,
) -> RowsMade:
    """Return the finished runs of all requests, the baselines first, and those that failed.

    Raises:
        Interrupted: asked to stop; finished runs are kept and found again.
    """
    check_lengths(session)
    baselines = _baselines(session, store, should_stop)
    asked = [(session, request) for request in requests]
    made = baselines + run_requests(
        store, asked, watcher=watcher, should_stop=should_stop, make_executor=make_executor
    )
    rows = [one for one in made if isinstance(one, RowRun)]
    return RowsMade(rows, [one for one in made if isinstance(one, FailedRun)])


def is_trained(method: Method) -> bool:
    """Return whether a method trains and has a learning rate to be searched."""
    return isinstance(method, SupportsSave) and "learning_rate" in method.__dataclass_fields__


def check_methods(task: Task, template: PromptTemplate, rows: Mapping[str, Method]) -> None:
    """Refuse methods that say they cannot answer the task with the wording.

    Args:
        task: What is asked.
        template: Its wording.
        rows: Methods by the names of their rows.

    Raises:
        ConfigError: names all such rows, and what is wrong with each.
    """

    def check(method: Method) -> None:
        if isinstance(method, SupportsCheck):
            method.check(task, template)

    _check_rows(rows, check)


def check_precisions(precision: str, rows: Mapping[str, Method]) -> None:
    """Refuse methods that say they cannot start from a base in a precision.

    Raises:
        ConfigError: names all such rows, and what is wrong with each.
    """

    def check(method: Method) -> None:
        if isinstance(method, SupportsPrecisionCheck):
            method.check_precision(precision)

    _check_rows(rows, check)


def _check_rows(rows: Mapping[str, Method], check: Callable[[Method], None]) -> None:
    problems = []
    for row, method in rows.items():
        try:
            check(method)
        except WorkbenchError as error:
            problems += [_of_row(line, row, method) for line in str(error).splitlines()]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))


def _of_row(line: str, row: str, method: Method) -> str:
    """Return what a method says, as said of its row."""
    if line.startswith("methods."):
        return line
    for named in (REASONING, method_name(method)):
        if line.startswith((f"{named}:", f"{named}.")):
            return f"methods.{row}{line.removeprefix(named)}"
    return f"methods.{row}: {line}"


def check_lengths(session: Session) -> None:
    """Refuse samples that do not fit the context even without demonstrations.

    Raises:
        PromptError: how many, and the ids of the first few; or texts that cannot be encoded, or
            answers that cannot be told apart or written.
    """
    encoder, task = session.encoder, session.task
    start = encoder.start()
    lengths = encoder.own_lengths(start)
    encoder.check_answers()
    context = session.engine.info.context_length
    answer = encoder.answer_tokens if task.kind == "generation" else _ANSWER_ROOM
    room = context - len(start.head_ids + start.shared_ids) - answer
    too_long = [name for name, length in lengths if length > room]
    if too_long:
        raise PromptError(
            f"task '{task.name}': {len(too_long)} texts with their prompt exceed the context of "
            f"{context} tokens of '{session.engine.info.name}' (ids {', '.join(too_long[:3])}"
            f"{', …' if len(too_long) > 3 else ''}). Shorten or remove them, or use a model with a "
            "longer context."
        )


def baseline_when_free(
    session: Session,
    store: RunStore,
    name: str,
    encoder: SentenceEncoder | None,
    should_stop: Callable[[], bool],
) -> StoredRun | None:
    """Return the run of a baseline; on a shared store, when another driver has made it.

    Raises:
        BusyRun: another process makes it, and nobody else should or may be waited for.
        StoreError: it cannot be written.
    """
    while True:
        try:
            return execute_baseline(session, store, name, encoder)
        except BusyRun:
            if not store.is_shared or should_stop():
                raise
            time.sleep(_BUSY_SECONDS)


def _baselines(
    session: Session, store: RunStore, should_stop: Callable[[], bool]
) -> list[RowRun | FailedRun]:
    """Return the baselines' runs; those by nearest neighbours need a sentence encoder."""
    rows: list[RowRun | FailedRun] = []
    for name in BASELINES:
        spec = session.spec(name, {}, 0)
        needed = needs_neighbours(name, session.task) and not is_finished(store, spec)
        encoder = find_sentence_encoder() if needed else None
        try:
            run = baseline_when_free(session, store, name, encoder, should_stop)
        except StoreError as error:
            rows.append(FailedRun(name, 0, str(error)))
            continue
        if run is not None:
            rows.append(RowRun(name, run))
    return rows
