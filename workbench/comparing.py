"""An experiment from start to report: what the batch command, a job and a chunk of a job do."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from workbench.analysis.comparison import ComparedRun, Comparison, compare_runs
from workbench.analysis.report import write_report
from workbench.atomic import parse_json
from workbench.errors import StoreError, WorkbenchError
from workbench.presentation.reading import Reading
from workbench.readings.base import Subject, open_vocabulary
from workbench.readings.catalog import make_reader
from workbench.readings.loading import kind_of, load_prompt
from workbench.readings.scoring import Scorer
from workbench.runs.executor import LocalExecutor, MakeExecutor
from workbench.runs.experiment import (
    EXPERIMENT_FILE,
    Experiment,
    store_experiment,
    stored_experiment,
)
from workbench.runs.failures import raise_if_failed
from workbench.runs.folder_lock import alone_in
from workbench.runs.labels import NO_LABEL, read_label, write_label
from workbench.runs.origin import from_anywhere
from workbench.runs.rows import RowRun, Watcher
from workbench.runs.runner import requests_of, run_experiment
from workbench.runs.session import Session
from workbench.runs.store import RunStore
from workbench.runs.trimming import trim_report
from workbench.sealed import file_digest

_STATUS = "status.json"  # of a job, beside its experiment


class UnwrittenReport(StoreError):
    """A comparison whose report cannot be written.

    Args:
        comparison: Of the runs that are finished.
        reason: Why.
    """

    def __init__(self, comparison: Comparison, reason: str) -> None:
        super().__init__(reason)
        self.comparison = comparison


def run_comparison(
    session: Session,
    experiment: Experiment,
    *,
    store: RunStore,
    folder: Path,
    watcher: Watcher,
    should_stop: Callable[[], bool] = lambda: False,
    make_executor: MakeExecutor = LocalExecutor,
    name: str = "",
) -> Comparison:
    """Run an experiment, write its report into a folder, and return the comparison.

    A row that fails is named in the report and in the comparison; the others are not lost.

    Args:
        session: Base, task and wording of the experiment.
        experiment: Kept in the folder beside the report.
        store: Where its runs are found and go.
        folder: Where the report goes.
        watcher: Told about each run and step.
        should_stop: Asked between steps.
        make_executor: Makes what makes the runs.
        name: What to call the comparison; "" leaves the name it has.

    Raises:
        ConfigError: no name of the form that is allowed.
        Interrupted: asked to stop; finished runs are kept and found again.
        RunError: every run failed.
        StoreError: another process works in the folder.
        UnwrittenReport: runs are finished, and the folder cannot be written.
    """
    requests = requests_of(experiment)
    with alone_in(folder, store.lease):
        _keep(folder, experiment)
        if name:
            _name(folder, name)
        made = run_experiment(
            session,
            store,
            requests,
            watcher=watcher,
            should_stop=should_stop,
            make_executor=make_executor,
        )
        if not made.rows:
            raise_if_failed(made.failed)
        comparison = compare_runs(
            [ComparedRun(row.row, row.run, row.search) for row in made.rows],
            reference=experiment.reference,
            failed=made.failed,
        )
        comparison = replace(comparison, name=read_label(folder).name)
        try:
            write_report(comparison, folder, _first_looks(session, made.rows))
        except StoreError as error:
            raise UnwrittenReport(comparison, str(error)) from error
        trim_report(folder)
    return comparison


def _name(folder: Path, name: str) -> None:
    """Call the comparison of a folder by a name; one that cannot be written is no reason to end."""
    with suppress(StoreError):
        write_label(folder, replace(read_label(folder), name=name))


def _keep(folder: Path, experiment: Experiment) -> None:
    """Keep an experiment in its folder, whose file stays as it is where it says the same.

    A name belongs to what was evaluated under it, and goes with the experiment before.

    Where that cannot be written, neither can the report, which says so. A job of the page knows
    its file by a digest, so that stays even where paths and defaults are written otherwise.

    Raises:
        StoreError: the folder is that of a job which makes another experiment.
    """
    kept = None
    with suppress(StoreError):
        kept = stored_experiment(folder)
    if kept == experiment:
        return
    if kept is None or not _is_known_to_a_job(folder):
        with suppress(StoreError):
            store_experiment(folder, experiment)
            if kept is not None and _meant(kept) != _meant(experiment):
                write_label(folder, NO_LABEL)
    elif _meant(kept) != _meant(experiment):
        raise StoreError(
            f"{folder}: a job of the page keeps another experiment here. Use another folder with "
            "--out."
        )


def _is_known_to_a_job(folder: Path) -> bool:
    with suppress(OSError, ValueError):
        status = parse_json((folder / _STATUS).read_bytes())
        found = status.get("experiment_digest") if isinstance(status, dict) else None
        return bool(found == file_digest(folder / EXPERIMENT_FILE))
    return False


def _meant(experiment: Experiment) -> tuple[object, ...]:
    """Return what an experiment comes to, however its paths and its rows' options are written."""
    rows = [(r.row, repr(r.method), r.seed, r.search) for r in requests_of(experiment)]
    rest = from_anywhere(experiment).model_dump(exclude={"methods", "seeds", "search"})
    return rows, rest


def _first_looks(session: Session, rows: Sequence[RowRun]) -> list[Reading]:
    """Return the quickest reading of each soft prompt among the runs; the base is not run."""
    learned = [row for row in rows if kind_of(row.run) == "vectors"]
    if not learned:
        return []
    vocabulary = open_vocabulary(session)
    reader, found = make_reader("nearest"), []
    for row in learned:
        name = f"{row.row}, seed {row.run.spec.seed}"
        try:
            prompt = load_prompt(session, row.run, name)
            reading = reader.read(Subject(session, vocabulary, Scorer(session, 0), prompt))
        except WorkbenchError as error:  # the report is worth more than a look at one row
            reading = Reading(name="nearest", title=reader.title, verdict=str(error))
        kept = [table for table in reading.tables if table.slots][:1]
        found.append(
            reading.model_copy(update={"title": f"{reading.title}: {name}", "tables": kept})
        )
    return found
