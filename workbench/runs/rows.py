"""The rows of a comparison as chains: a row's search first, then the runs that it led to."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

from workbench.errors import ConfigError, ModelError, WorkbenchError
from workbench.fitting.base import Method
from workbench.memory import return_freed_memory
from workbench.methods.catalog import method_name, with_options
from workbench.options import declared_options
from workbench.progress import ProgressEvent
from workbench.runs.execute import RunRequest
from workbench.runs.executor import (
    Assignment,
    Chain,
    LocalExecutor,
    Made,
    MakeExecutor,
    drive,
)
from workbench.runs.experiment import RateSearch
from workbench.runs.failures import FailedRun
from workbench.runs.search import SearchOutcome, Trial, grid_around, next_rate
from workbench.runs.session import Session
from workbench.runs.store import RunStore, StoredRun
from workbench.runs.trimming import trim_lost_trial
from workbench.training.options import TrainingOptions


class Watcher(Protocol):
    """Told about the runs of an experiment as they go; several may be going on."""

    def began(
        self, request: RunRequest, run_id: str, *, number: int, total: int, where: str
    ) -> None:
        """A run starts; its folder is `run_id`, and `where` names its worker, "" if it is here."""

    def progressed(self, run_id: str, event: ProgressEvent) -> None:
        """A run that began made a step."""

    def ended(self, request: RunRequest, run: StoredRun, *, found: bool) -> None:
        """A run is finished; `found` says that it was finished before.

        A trial ends "trained" and without metrics, or "failed".
        """

    def failed(self, failure: FailedRun, run_id: str) -> None:
        """A run of a row could not be made; the next one begins. "" where none began."""


@dataclass(frozen=True)
class RowRun:
    """A finished run, the row of the comparison it belongs to, and the search that led to it."""

    row: str
    run: StoredRun
    search: SearchOutcome | None = None


Asked = tuple[Session, RunRequest]


def run_requests(
    store: RunStore,
    asked: Sequence[Asked],
    *,
    watcher: Watcher,
    should_stop: Callable[[], bool] = lambda: False,
    make_executor: MakeExecutor = LocalExecutor,
) -> list[RowRun | FailedRun]:
    """Return the finished run of each request, after the search it may ask for, or why it failed.

    Args:
        store: Where runs are found and go.
        asked: Each request with the session it is run in.
        watcher: Told about each run and step.
        should_stop: Asked between runs and steps.
        make_executor: Makes what makes the runs.

    Raises:
        Interrupted: asked to stop; finished runs are kept and found again.
    """
    rows = _Rows(store, asked, watcher)
    drive(rows.chains(), make_executor(store, should_stop), rows)
    return rows.made()


class _Rows:
    """Chains of the requests; each search is made once and serves all its seeds."""

    def __init__(self, store: RunStore, asked: Sequence[Asked], watcher: Watcher) -> None:
        self._store, self._asked, self._watcher = store, asked, watcher
        self._numbers: dict[Assignment, int] = {}
        self._made: dict[int, RowRun | FailedRun] = {}
        self._groups: dict[object, list[int]] = {}
        for place, (session, request) in enumerate(asked):
            key = _search_key(session, request) if request.search else place
            self._groups.setdefault(key, []).append(place)
        searches = [asked[places[0]][1].search for places in self._groups.values()]
        self._total = len(asked) + sum(search.num_rates for search in searches if search)

    def chains(self) -> Sequence[Chain]:
        """Return a chain for each search with its runs, and for each run without one."""
        return [self._chain(places) for places in self._groups.values()]

    def made(self) -> list[RowRun | FailedRun]:
        """Return what became of each request, in their order."""
        return [self._made[place] for place in range(len(self._asked))]

    # As a listener of the executor

    def began(self, assignment: Assignment, where: str) -> None:
        """Number the run, and tell the watcher; one that begins again keeps its number."""
        number = self._numbers.setdefault(assignment, len(self._numbers))
        self._watcher.began(
            assignment.request, assignment.run_id, number=number, total=self._total, where=where
        )

    def progressed(self, assignment: Assignment, event: ProgressEvent) -> None:
        """Tell the watcher."""
        self._watcher.progressed(assignment.run_id, event)

    # Chains

    def _chain(self, places: Sequence[int]) -> Chain:
        session, first = self._asked[places[0]]
        search = None
        if first.search is not None:
            try:
                search = yield from self._searched(session, first, first.search)
            except WorkbenchError as error:  # the same for all its seeds
                for place in places:
                    self._fail(place, error)
                return
        asked = self._assignments(places, search)
        if not asked:
            return
        made = yield list(asked.values())
        for (place, assignment), one in zip(asked.items(), made, strict=True):
            try:
                run = one.run_or_raise()
            except WorkbenchError as error:
                self._fail(place, error, assignment.run_id)
            else:
                self._watcher.ended(assignment.request, run, found=one.was_found)
                self._made[place] = RowRun(assignment.request.row, run, search)

    def _assignments(
        self, places: Sequence[int], search: SearchOutcome | None
    ) -> dict[int, Assignment]:
        """Return what is to be run at places, with the rate that a search found."""
        found = {}
        for place in places:
            session, request = self._asked[place]
            try:
                if search is not None:
                    method = with_options(request.method, search.best.options)
                    request = replace(request, method=method, search=None)
                found[place] = _assignment(session, request)
            except WorkbenchError as error:
                self._fail(place, error)
        return found

    def _fail(self, place: int, error: WorkbenchError, run_id: str = "") -> None:
        """Note why a request failed: the others go on."""
        _, request = self._asked[place]
        failed = FailedRun(request.row, request.seed, str(error), request.place)
        self._made[place] = failed
        return_freed_memory()
        self._watcher.failed(failed, run_id)

    def _searched(
        self, session: Session, request: RunRequest, search: RateSearch
    ) -> Generator[Sequence[Assignment], Sequence[Made], SearchOutcome]:
        """Return what the rates of a search reach on dev; each is a run of the store.

        The rates of a grid are one wave (two around a rate that the base decides), each rate that
        it grows by is the next.
        """
        trial = replace(request, seed=search.seed, search=None, is_trial=True)
        trials: list[Trial] = []
        if isinstance(search.rates, int):
            own = _own_rate(request.method)
            if own is None:  # the base decides it, so it is tried first
                trials = yield from self._trials(session, trial, [None])
                own = trials[0].learning_rate
            others = [rate for rate in grid_around(own, search.rates) if rate != own]
            rates = others if trials else [None, *others]
        else:
            rates = list(search.rates)
        trials += yield from self._trials(session, trial, rates)
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
            trials += yield from self._trials(session, trial, [rate])
        ordered = tuple(sorted(trials, key=lambda tried: tried.learning_rate))
        outcome = SearchOutcome(ordered, search.seed, num_extended)
        for tried in ordered:
            is_best = tried.run_id == outcome.best.run_id
            run = None if is_best else self._store.find(tried.run_id)
            if run is not None:
                trim_lost_trial(run)
        return outcome

    def _trials(
        self, session: Session, request: RunRequest, rates: Sequence[float | None]
    ) -> Generator[Sequence[Assignment], Sequence[Made], list[Trial]]:
        """Return what rates reach on dev; None is the method's own rate."""
        wave = []
        for rate in rates:
            given = {} if rate is None else {"learning_rate": rate}
            method = with_options(request.method, given)
            wave.append(_assignment(session, replace(request, method=method)))
        made = yield wave
        return [
            self._trial(assignment, rate, one)
            for assignment, rate, one in zip(wave, rates, made, strict=True)
        ]

    def _trial(self, assignment: Assignment, rate: float | None, made: Made) -> Trial:
        """Return what a rate reached on dev."""
        try:
            run = made.run_or_raise()
        except ModelError:  # a rate far too high, whose gradients are no numbers
            if rate is None:
                raise
            failed = self._store.find(assignment.run_id)
            if failed is not None:
                self._watcher.ended(assignment.request, failed, found=False)
            elif not self._store.is_shared:  # at an address what failed stays where it was made
                raise
            return Trial(rate, False, assignment.run_id, None, None, 0, 0, 0.0)
        self._watcher.ended(assignment.request, run, found=made.was_found)
        cost = run.record.cost
        used = cost.learning_rate if rate is None else rate
        accuracy, loss = _dev_score(run)
        if used is None or loss is None:
            name = method_name(assignment.request.method)
            raise ConfigError(
                f"methods.{assignment.request.row}: '{name}' reports no learning rate or no dev "
                f"score (run {run.record.run_id}), so there is nothing to search. Delete that run "
                "if it is old, or set learning_rate."
            )
        return Trial(
            learning_rate=used,
            is_default=rate is None,
            run_id=run.record.run_id,
            accuracy=accuracy,
            loss=loss,
            num_items=cost.dev_items or len(assignment.session.task.dev),
            dev_evaluations=cost.dev_evaluations or 0,
            train_seconds=cost.train_seconds or 0.0,
        )


def _assignment(session: Session, request: RunRequest) -> Assignment:
    """Return an assignment whose spec is settled, or raise what is wrong with it."""
    assignment = Assignment(session, request)
    _ = assignment.spec
    return assignment


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


def _own_rate(method: Method) -> float | None:
    """Return the learning rate a method takes as it is; None if its base has to be asked."""
    if not isinstance(method, TrainingOptions):
        return None
    return method.learning_rate or method.default_rate


def _rate_bounds(method: Method) -> tuple[float, float]:
    """Return the lowest and the highest learning rate a method takes."""
    rate = declared_options(type(method))["learning_rate"]
    least, most = rate.minimum, rate.maximum
    return 0.0 if least is None else float(least), inf if most is None else float(most)
