"""A finished run as Python shows it: figures, answers, training, and where its adapter lies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.analysis.answers import read_answers
from workbench.errors import StoreError
from workbench.notebook.figures import shown_html
from workbench.presentation.blocks import Table
from workbench.presentation.quantities import metric_of, metric_text
from workbench.runs.finding import DEFAULT_FOLDER, find_stored_run
from workbench.runs.store import StoredRun

_COLUMNS = ["value", "low", "high", "num_scored", "num_unscored"]


@dataclass(frozen=True, eq=False)
class Run:
    """A run and its folder.

    Attributes:
        stored: Spec and record: what was asked and what happened.
    """

    stored: StoredRun

    @property
    def run_id(self) -> str:
        """Name of its folder; ends in the digest of its spec."""
        return self.stored.record.run_id

    @property
    def digest(self) -> str:
        """Hash of everything that decides its numbers; equal for every door."""
        return self.stored.spec.digest

    @property
    def method(self) -> str:
        """Name of its method; `options` and `seed` say the rest."""
        return self.stored.spec.method

    @property
    def options(self) -> dict[str, Any]:
        """The options of its method, defaults filled in."""
        return dict(self.stored.spec.options)

    @property
    def seed(self) -> int:
        """What it draws from."""
        return self.stored.spec.seed

    @property
    def status(self) -> str:
        """How it ended: "finished", or why not."""
        return self.stored.record.status

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.stored.folder

    @property
    def adapter(self) -> Path | None:
        """Folder of what it learned, in PEFT's format; None where it learned nothing."""
        found = self.stored.adapter_folder
        return found if found.is_dir() else None

    def metrics(self) -> pd.DataFrame:
        """Return its metrics by name, as fractions with their 95 % interval and counts of items."""
        found = self.stored.record.metrics
        rows = [[getattr(one, name) for name in _COLUMNS] for one in found.values()]
        return pd.DataFrame(rows, columns=_COLUMNS, index=pd.Index(list(found), name="metric"))

    def answers(self) -> pd.DataFrame:
        """Return its answers to the test split: id, target, answer, whether right, and scores.

        Where labels were scored there is a column `p(label)` for each, a probability.

        Raises:
            StoreError: they cannot be read.
        """
        rows = [
            {
                "sample_id": one.sample_id,
                "target": one.target,
                "answer": one.answer,
                "is_correct": one.is_correct,
                "score": one.score,
                **{f"p({label})": p for label, p in (one.probabilities or {}).items()},
            }
            for one in read_answers(self.stored)
        ]
        return pd.DataFrame(rows)

    def history(self) -> pd.DataFrame:
        """Return the steps and dev evaluations of its training; empty where nothing was trained.

        Raises:
            DamagedFile: it is not what was written.
        """
        return pd.DataFrame(self.stored.history())

    def __repr__(self) -> str:
        return f"{self.run_id} · {self.status}"

    def _repr_html_(self) -> str:
        record = self.stored.record
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return shown_html(
            repr(self),
            lines=[options] if options else [],
            tables=[_metric_table(self.stored)],
            warnings=[*record.warnings, *record.cautions],
        )


def _metric_table(run: StoredRun) -> Table:
    """Return a run's metrics as people read them."""
    found = run.record.metrics
    rows = [[metric_of(name).title, metric_text(name, found[name])] for name in found]
    return Table(title="", columns=["metric", "value [95 %]"], rows=[list(row) for row in rows])


def open_run(name: str | Path, *, runs: str | Path = DEFAULT_FOLDER) -> Run:
    """Return a stored run.

    Args:
        name: Its folder, its id, or the digest that its id ends in.
        runs: Folder to look below, however deep.

    Raises:
        StoreError: there is none.
        DamagedFile: it cannot be read.
    """
    found = find_stored_run(str(name), Path(runs))
    if found is None:
        raise StoreError(
            f"open_run: no run '{name}' (looked below {runs}). Give the id of a run (see: "
            "workbench runs), the digest that it ends in, or its folder."
        )
    return Run(found)
