"""Methods compared, or one trained, from Python: the runs and the report of the commands."""

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from workbench.analysis.headline import headline
from workbench.analysis.report import flat_rows, terminal_table
from workbench.analysis.report_html import report_plots
from workbench.analysis.results import Comparison
from workbench.comparing import run_comparison
from workbench.errors import ConfigError, TaskError
from workbench.notebook.bases import OpenBase
from workbench.notebook.figures import Figure, shown_html
from workbench.notebook.stored import Run
from workbench.notebook.tasks import OpenTask
from workbench.presentation.blocks import Table
from workbench.progress import Interrupted
from workbench.runs.checks import check_experiment
from workbench.runs.experiment import Experiment
from workbench.runs.failures import raise_if_failed
from workbench.runs.finding import DEFAULT_FOLDER
from workbench.runs.rows import Watcher
from workbench.runs.store import RunStore
from workbench.stopping import stopping
from workbench.watching import RunProgress, Unwatched
from workbench.yaml_files import check_mapping

Methods = Sequence[str] | Mapping[str, Mapping[str, object] | None]
"""Rows of a comparison: names of methods, or each row's name with its options."""

FOLDER = DEFAULT_FOLDER / "default"  # where commands put what is asked for without a name
_REFERENCE = Experiment().reference


@dataclass(frozen=True, eq=False)
class Results:
    """A comparison: table, figures, answers, runs.

    Attributes:
        comparison: The whole of it as plain data.
        folder: Where its runs and its report lie.
    """

    comparison: Comparison
    folder: Path

    @property
    def headline(self) -> str:
        """Which row is best, and whether its lead is noise."""
        return headline(self.comparison)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to beware of, in sentences; runs that failed come first."""
        return self.comparison.warnings

    @property
    def report(self) -> Path:
        """The report as a page that opens offline; .md, .csv and .json lie beside it."""
        return self.folder / "report.html"

    def table(self) -> pd.DataFrame:
        """Return one row per run, as `report.csv` has it: figures are fractions, bytes, seconds.

        Runs that failed come last, with the reason in the column `failed`.
        """
        return pd.DataFrame(flat_rows(self.comparison))

    def answers(self) -> pd.DataFrame:
        """Return one row per test item: its target, and a column with the answer of each run."""
        details = self.comparison.details
        columns: dict[str, list[str | None]] = {
            "target": [one.target for one in details[0].answers]
        }
        for row, detail in zip(self.comparison.rows, details, strict=True):
            columns[self.comparison.label(row)] = [one.answer for one in detail.answers]
        names = [one.sample_id for one in details[0].answers]
        return pd.DataFrame(columns, index=pd.Index(names, name="sample_id"))

    def figures(self) -> list[Figure]:
        """Return the figures of the report: quality, costs, training, calibration."""
        return [Figure(plot) for plot in report_plots(self.comparison)]

    def run(self, row: str, *, seed: int | None = None) -> Run:
        """Return the run of a row; of several seeds that of the lowest unless one is named.

        Raises:
            ConfigError: no such row, or no run of it with that seed.
            StoreError: it was deleted or cannot be read.
        """
        found, _ = self.comparison.first_seed(row)
        seeds = {one.seed: one for one in self.comparison.rows if one.row == row}
        if seed is not None and seed not in seeds:
            known = ", ".join(map(str, sorted(seeds)))
            raise ConfigError(f"run: row '{row}' has no run with seed {seed}. Its seeds: {known}.")
        run_id = (found if seed is None else seeds[seed]).run_id
        return _stored(self.folder, run_id)

    def __repr__(self) -> str:
        return f"{self.headline} ({self.report})"

    def _repr_html_(self) -> str:
        columns, rows = terminal_table(self.comparison)
        cells = Table(title="", columns=columns, rows=[list(row) for row in rows])
        return shown_html(self.headline, tables=[cells], warnings=self.warnings)


def compare(
    base: OpenBase,
    task: OpenTask,
    methods: Methods | None = None,
    *,
    seeds: Sequence[int] = (0,),
    reference: str | None = None,
    out: str | Path = FOLDER,
    progress: bool = True,
) -> Results:
    """Run every method on one base and one task, write the report, and return the comparison.

    The same runs as `workbench evaluate` makes with the same experiment: what is finished in `out`
    is found again, and Ctrl-C leaves a checkpoint from which the same call goes on. A row that
    fails is a warning and stands in `Results.warnings`; the others are not lost.

    Args:
        base: From `open_base`.
        task: From `open_task`.
        methods: Names of methods, or names of rows with their options:
            `{"lora": {"rank": 16}, "lora, long": {"method": "lora", "steps": 300}}`. A row with
            `learning_rates` looks for its rate. Those of the default experiment unless given.
        seeds: Of every row that has no `seeds` of its own.
        reference: The row that others are compared with; zero_shot if it is there, else the first.
        out: Folder for runs and report.
        progress: Show on stderr how far it is.

    Raises:
        ConfigError: everything that is wrong with rows and options, a line each.
        WorkbenchError: task, wording and base do not fit one another, or `out` cannot be written.
        RunError: every run failed.
        KeyboardInterrupt: Ctrl-C was pressed; finished work is kept.
    """
    given: dict[str, object] = {"seeds": tuple(seeds) if isinstance(seeds, Sequence) else seeds}
    if methods is not None:
        given["methods"] = rows_of(methods)
    experiment = experiment_of(base, task, where="compare", **given)
    rows = list(experiment.methods)
    chosen = reference or (_REFERENCE if _REFERENCE in rows else rows[0])
    experiment = experiment.model_copy(update={"reference": chosen})
    comparison = _compared(base, task, experiment, Path(out), is_shown=progress)
    for failure in comparison.failed:
        warnings.warn(failure.sentence, RuntimeWarning, stacklevel=2)
    return Results(comparison, Path(out))


def train(
    base: OpenBase,
    task: OpenTask,
    method: str,
    *,
    seed: int = 0,
    out: str | Path = FOLDER,
    progress: bool = True,
    **options: object,
) -> Run:
    """Train one method, evaluate it, keep its adapter in PEFT's format, and return its run.

    The same run as `workbench train` makes, and as `compare` makes and finds. In one folder the
    report of the call made last takes the place of the one before; runs stay.

    Args:
        base: From `open_base`.
        task: From `open_task`.
        method: Its name: "prompt_tuning", "lora", …
        seed: What it draws from.
        out: Folder for the run and its report.
        progress: Show on stderr how far it is.
        **options: Its own, such as `steps` and `learning_rate`.

    Raises:
        ConfigError: unknown method or option, or a value that is not allowed.
        RunError: the run failed.
        KeyboardInterrupt: Ctrl-C was pressed; the training has a checkpoint.
    """
    experiment = experiment_of(
        base, task, where="train", methods={method: options}, seeds=[seed], reference=method
    )
    comparison = _compared(base, task, experiment, Path(out), is_shown=progress)
    raise_if_failed(comparison.failed)
    row, _ = comparison.first_seed(method)
    return _stored(Path(out), row.run_id)


def experiment_of(base: OpenBase, task: OpenTask, *, where: str, **rows: object) -> Experiment:
    """Return what is asked for on a base and a task.

    Raises:
        ConfigError: a line for each problem, which begins with `where`.
    """
    shared = {"task": task.choice, "template": task.template, "chat": task.chat}
    return check_mapping({**base.options, **shared, **rows}, Experiment, where=where)


def rows_of(methods: Methods) -> object:
    """Return rows with their options; one name alone is a row too. What is neither stays as it is.

    Whoever makes an experiment of it says what is wrong.
    """
    if isinstance(methods, str):
        return {methods: {}}
    if isinstance(methods, Mapping):
        return {row: dict(o) if isinstance(o, Mapping) else o for row, o in methods.items()}
    return {row: {} for row in methods} if isinstance(methods, Sequence) else methods


def _compared(
    base: OpenBase, task: OpenTask, experiment: Experiment, folder: Path, *, is_shown: bool
) -> Comparison:
    checked = check_experiment(experiment, folder)
    if checked.task.digest != task.task.digest:
        raise TaskError(
            f"task '{task.task.name}': its data are not those that open_task read. Open it again."
        )

    def work() -> Comparison:
        base.desk.forget_fitted()  # runs name their adapters as answers do
        session = base.desk.session(experiment, task.task)
        with stopping() as stop, _watcher(is_shown=is_shown) as watcher:
            return run_comparison(
                session,
                experiment,
                store=RunStore(folder),
                folder=folder,
                watcher=watcher,
                should_stop=stop.is_requested,
            )

    try:
        return base.desk.call(work)
    except Interrupted as stop:  # what a cell or a script is left by
        raise KeyboardInterrupt(
            f"stopped ({stop}). Finished work is kept; the same call goes on from there."
        ) from None


@contextmanager
def _watcher(*, is_shown: bool) -> Iterator[Watcher]:
    if not is_shown:
        yield Unwatched()
        return
    with RunProgress(terminal()) as watcher:
        yield watcher


def terminal() -> Console:
    """Return stderr as where progress goes: in a notebook plain lines, which need no widgets."""
    # Kernels ask for colours (FORCE_COLOR), which is taken for a terminal whose lines can move.
    return Console(stderr=True, force_jupyter=False, force_terminal=sys.stderr.isatty())


def _stored(folder: Path, run_id: str) -> Run:
    found = RunStore(folder).find(run_id)
    if found is None:
        raise ConfigError(f"run {run_id}: is not in {folder} any more. Run the same again.")
    return Run(found)
