"""Run an experiment: every method and seed on one base, baselines included."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

from workbench.errors import (
    ConfigError,
    ModelError,
    PromptError,
    RunError,
    StoreError,
    WorkbenchError,
    unknown_name,
)
from workbench.fitting.base import Method, SupportsCheck, SupportsPrecisionCheck, SupportsSave
from workbench.fitting.reasoning import REASONING
from workbench.memory import return_freed_memory
from workbench.methods.catalog import make_method, method_name, with_options
from workbench.models.sentence_encoder import find_sentence_encoder
from workbench.options import declared_options
from workbench.progress import Interrupted, ProgressEvent
from workbench.runs.baselines import BASELINES, needs_neighbours
from workbench.runs.execute import RunRequest, execute, execute_baseline, is_finished, run_id_of
from workbench.runs.experiment import Experiment, RateSearch
from workbench.runs.failures import FailedRun
from workbench.runs.search import SearchOutcome, Trial, grid_around, next_rate
from workbench.runs.session import Session
from workbench.runs.store import RunStore, StoredRun
from workbench.runs.trimming import trim_lost_trial
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate

_ANSWER_ROOM = 32  # tokens left for an answer; a generated text has its own bound


class Watcher(Protocol):
    """Told about the runs of an experiment as they go."""

    def began(self, request: RunRequest, run_id: str, *, number: int, total: int) -> None:
        """A run starts; its folder is `run_id`."""

    def progressed(self, event: ProgressEvent) -> None:
        """The current run made a step."""

    def ended(self, request: RunRequest, run: StoredRun, *, found: bool) -> None:
        """A run is finished; `found` says that it was finished before.

        A trial ends "trained" and without metrics, or "failed".
        """

    def failed(self, failure: FailedRun) -> None:
        """A run of a row could not be made; the next one begins."""


@dataclass(frozen=True)
class RowRun:
    """A finished run, the row of the comparison it belongs to, and the search that led to it."""

    row: str
    run: StoredRun
    search: SearchOutcome | None = None


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
) -> RowsMade:
    """Return the finished runs of all requests, the baselines first, and those that failed.

    Raises:
        Interrupted: asked to stop; finished runs are kept and found again.
    """
    check_lengths(session)
    baselines = _baselines(session, store)
    asked = [(session, request) for request in requests]
    made = baselines + run_requests(store, asked, watcher=watcher, should_stop=should_stop)
    rows = [one for one in made if isinstance(one, RowRun)]
    return RowsMade(rows, [one for one in made if isinstance(one, FailedRun)])


def run_requests(
    store: RunStore,
    asked: Sequence[tuple[Session, RunRequest]],
    *,
    watcher: Watcher,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[RowRun | FailedRun]:
    """Return the finished run of each request, after the search it may ask for, or why it failed.

    Args:
        store: Where runs are found and go.
        asked: Each request with the session it is run in.
        watcher: Told about each run and step.
        should_stop: Asked between runs and steps.

    Raises:
        Interrupted: asked to stop; finished runs are kept and found again.
    """
    runner = _Runner(store, asked, watcher, should_stop)
    return [runner.made(session, request) for session, request in asked]


class _Runner:
    """Runs requests one after the other; each search is made once and serves all its seeds."""

    def __init__(
        self,
        store: RunStore,
        asked: Sequence[tuple[Session, RunRequest]],
        watcher: Watcher,
        should_stop: Callable[[], bool],
    ) -> None:
        self._store, self._watcher, self._should_stop = store, watcher, should_stop
        self._number = 0
        searches = {self._search_key(*pair): pair[1].search for pair in asked}
        self._total = len(asked) + sum(s.num_rates for s in searches.values() if s is not None)
        self._found: dict[tuple[int, str, str], SearchOutcome | str] = {}

    def made(self, session: Session, request: RunRequest) -> RowRun | FailedRun:
        """Return the finished run of a request, or why it failed: the others go on."""
        try:
            return self._row_run(session, request)
        except WorkbenchError as error:
            failed = FailedRun(request.row, request.seed, str(error), request.place)
        return_freed_memory()  # the error held on to what the run had in memory
        self._watcher.failed(failed)
        return failed

    def _row_run(self, session: Session, request: RunRequest) -> RowRun:
        if request.search is None:
            return RowRun(request.row, self._executed(session, request))
        key = self._search_key(session, request)
        if key not in self._found:
            try:
                self._found[key] = self._searched(session, request, request.search)
            except WorkbenchError as error:  # the same for the row's other seeds
                self._found[key] = str(error)
        outcome = self._found[key]
        if isinstance(outcome, str):
            raise RunError(outcome)
        method = with_options(request.method, outcome.best.options)
        run = self._executed(session, replace(request, method=method, search=None))
        return RowRun(request.row, run, outcome)

    def _searched(self, session: Session, request: RunRequest, search: RateSearch) -> SearchOutcome:
        """Return what the rates of a search reach on dev; each is a run of the store."""
        trial = replace(request, seed=search.seed, search=None, is_trial=True)
        if isinstance(search.rates, int):
            default = self._trial(session, trial, None)
            others = grid_around(default.learning_rate, search.rates)
            others.remove(default.learning_rate)
            trials = [default, *(self._trial(session, trial, rate) for rate in others)]
        else:
            trials = [self._trial(session, trial, rate) for rate in search.rates]
        if all(tried.loss is None for tried in trials):
            raise ModelError(
                f"{request.row}: training failed with every learning rate tried "
                f"({', '.join(f'{tried.learning_rate:g}' for tried in trials)}). Try lower ones, "
                "or precision 'fp32'."
            )
        num_extended = 0
        least, most = _rate_bounds(request.method)
        while num_extended < search.extend:
            rate = next_rate(trials, least=least, most=most)
            if rate is None:
                break
            self._total += 1
            num_extended += 1
            trials.append(self._trial(session, trial, rate))
        ordered = tuple(sorted(trials, key=lambda tried: tried.learning_rate))
        outcome = SearchOutcome(ordered, search.seed, num_extended)
        for tried in ordered:
            is_best = tried.run_id == outcome.best.run_id
            run = None if is_best else self._store.find(tried.run_id)
            if run is not None:
                trim_lost_trial(run)
        return outcome

    def _trial(self, session: Session, request: RunRequest, rate: float | None) -> Trial:
        """Return what a rate reaches on dev; None is the method's own rate."""
        if rate is not None:
            method = with_options(request.method, {"learning_rate": rate})
            request = replace(request, method=method)
        try:
            run = self._executed(session, request)
        except ModelError:  # a rate far too high, whose gradients are no numbers
            if rate is None:
                raise
            failed = self._store.find(run_id_of(session, request))
            if failed is None:
                raise
            self._watcher.ended(request, failed, found=False)
            return Trial(rate, False, failed.record.run_id, None, None, 0, 0, 0.0)
        cost = run.record.cost
        used = cost.learning_rate if rate is None else rate
        accuracy, loss = _dev_score(run)
        if used is None or loss is None:
            name = method_name(request.method)
            raise ConfigError(
                f"methods.{request.row}: '{name}' reports no learning rate or no dev score (run "
                f"{run.record.run_id}), so there is nothing to search. Delete that run if it is "
                "old, or set learning_rate."
            )
        return Trial(
            learning_rate=used,
            is_default=rate is None,
            run_id=run.record.run_id,
            accuracy=accuracy,
            loss=loss,
            num_items=cost.dev_items or len(session.task.dev),
            dev_evaluations=cost.dev_evaluations or 0,
            train_seconds=cost.train_seconds or 0.0,
        )

    def _executed(self, session: Session, request: RunRequest) -> StoredRun:
        """Return the run of a request, and tell the watcher about it."""
        if self._should_stop():
            raise Interrupted(f"stopped before run {self._number + 1} of {self._total}")
        run_id = run_id_of(session, request)
        self._watcher.began(request, run_id, number=self._number, total=self._total)
        self._number += 1
        steps: list[ProgressEvent] = []

        def progress(event: ProgressEvent) -> None:
            steps.append(event)
            self._watcher.progressed(event)

        run = execute(
            session, self._store, request, progress=progress, should_stop=self._should_stop
        )
        self._watcher.ended(request, run, found=not steps)
        return run

    @staticmethod
    def _search_key(session: Session, request: RunRequest) -> tuple[int, str, str]:
        return id(session), request.row, repr(request.method)


def _dev_score(run: StoredRun) -> tuple[float | None, float | None]:
    """Return accuracy and loss on dev of the step a run kept.

    Records from before they held the score leave it to the history of the training.
    """
    cost = run.record.cost
    if cost.dev_loss is not None:
        return cost.dev_accuracy, cost.dev_loss
    for entry in run.history():
        if "dev_loss" in entry and entry["step"] == cost.best_step:
            return entry.get("dev_accuracy"), entry["dev_loss"]
    return None, None


def _rate_bounds(method: Method) -> tuple[float, float]:
    """Return the lowest and the highest learning rate a method takes."""
    rate = declared_options(type(method))["learning_rate"]
    least, most = rate.minimum, rate.maximum
    return 0.0 if least is None else float(least), inf if most is None else float(most)


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


def _baselines(session: Session, store: RunStore) -> list[RowRun | FailedRun]:
    """Return the baselines' runs; those by nearest neighbours need a sentence encoder."""
    rows: list[RowRun | FailedRun] = []
    for name in BASELINES:
        spec = session.spec(name, {}, 0)
        needed = needs_neighbours(name, session.task) and not is_finished(store, spec)
        encoder = find_sentence_encoder() if needed else None
        try:
            run = execute_baseline(session, store, name, encoder)
        except StoreError as error:
            rows.append(FailedRun(name, 0, str(error)))
            continue
        if run is not None:
            rows.append(RowRun(name, run))
    return rows
