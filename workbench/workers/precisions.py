"""Precisions of one base measured by workers: each by one that measures nothing else meanwhile."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import WorkbenchError
from workbench.models.base import Precision
from workbench.progress import Progress, raise_if_stopped
from workbench.runs.measurements.precisions import AskedPrecisions, MeasuredPrecision
from workbench.runs.measurements.records import MeasurementStore, PrecisionRecord
from workbench.workers.bench import Bench
from workbench.workers.pool import Nobody, Outcome, Pool, Teller
from workbench.workers.work import UnfitWorker, Work

_ASKED = "asked precisions"

_Specs = Mapping[Precision, dict[str, Any]]


@dataclass(frozen=True)
class SpecsWork:
    """Say what the figures of some precisions are decided by; see `Work`."""

    precisions: tuple[Precision, ...]
    name: str = "the precisions' settings"
    base: str = ""
    shared: tuple[str, ...] = (_ASKED,)

    def do(self, bench: Bench, progress: Progress, should_stop: Callable[[], bool]) -> _Specs:
        """Return it by precision."""
        return {precision: _spec_there(bench, precision) for precision in self.precisions}


@dataclass(frozen=True)
class PrecisionWork:
    """Measure a base in one precision; see `Work`.

    Attributes:
        precision: The one.
        spec: What its figures are to be decided by.
    """

    precision: Precision
    spec: Mapping[str, Any]
    shared: tuple[str, ...] = (_ASKED,)

    @property
    def name(self) -> str:
        """The precision's."""
        return f"precision {self.precision}"

    @property
    def base(self) -> str:
        """Another one for each: a worker that holds none measures first."""
        return self.name

    def do(
        self, bench: Bench, progress: Progress, should_stop: Callable[[], bool]
    ) -> PrecisionRecord:
        """Return what was measured."""
        here = _spec_there(bench, self.precision)
        if here != self.spec:
            unlike = ", ".join(key for key in self.spec if self.spec[key] != here.get(key))
            raise UnfitWorker(
                f"{bench.where} would measure {self.precision} otherwise ({unlike}). Give all "
                "machines the same base and threads, or write compute_dtype and device into the "
                "experiment."
            )
        asked = bench.kept(_ASKED, _as_is)
        bench.release()
        try:
            return asked.measure(self.precision, bench.store.root, progress)
        finally:
            bench.release()


def measure_by_workers(
    pool: Pool,
    asked: AskedPrecisions,
    precisions: Sequence[Precision],
    store: MeasurementStore,
    *,
    teller: Teller,
) -> Iterator[MeasuredPrecision]:
    """Yield the base in each precision as it is measured, those that were found first.

    What decides the figures (device, products, threads) is asked of the first worker; all others
    have to come to the same.

    Args:
        pool: Has the workers.
        asked: What is measured.
        precisions: The ones.
        store: Of this machine; finished parts are found there and kept there.
        teller: Told about the steps.

    Raises:
        RunError: no worker is left.
        WorkbenchError: the first error of a precision, after the others were measured.
    """
    pool.shared[_ASKED] = asked
    pool.submit(SpecsWork(tuple(precisions)))
    _, outcome = _next(pool, Nobody())
    if outcome.error is not None:
        raise outcome.error
    specs: _Specs = outcome.result
    num_missing, error = 0, None
    for precision, spec in specs.items():
        found = store.find(precision, spec, PrecisionRecord)
        if found is not None:
            yield MeasuredPrecision(found, was_found=True)
            continue
        pool.submit(PrecisionWork(precision, spec))
        num_missing += 1
    for _ in range(num_missing):
        work, outcome = _next(pool, teller)
        if isinstance(work, PrecisionWork) and outcome.error is None:
            store.keep(work.precision, specs[work.precision], outcome.result)
            yield MeasuredPrecision(outcome.result, was_found=False)
        error = error or outcome.error
    if error is not None:
        raise error


def _next(pool: Pool, teller: Teller) -> tuple[Work, Outcome]:
    """Return the next work that ended, and what became of it."""
    while (ended := pool.next(teller)) is None:
        raise_if_stopped()
    return ended


def _spec_there(bench: Bench, precision: Precision) -> dict[str, Any]:
    asked: AskedPrecisions = bench.kept(_ASKED, _as_is)
    try:
        return asked.spec(precision)
    except WorkbenchError as error:
        raise UnfitWorker(f"{bench.where}: {error}") from error


def _as_is(asked: AskedPrecisions) -> AskedPrecisions:
    return asked
