"""One text answered several ways, from Python."""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from workbench.errors import ConfigError
from workbench.fitting.base import FittedMethod
from workbench.models.base import GenerationOptions
from workbench.notebook.bases import OpenBase
from workbench.notebook.comparisons import FOLDER, Methods, experiment_of, rows_of
from workbench.notebook.figures import shown_html
from workbench.notebook.stored import Run
from workbench.notebook.tasks import OpenTask
from workbench.options import whole_number
from workbench.presentation.blocks import Cell, Table
from workbench.presentation.display import percent
from workbench.progress import Interrupted
from workbench.runs.experiment import Experiment, stored_experiment
from workbench.runs.runner import requests_of
from workbench.runs.session import Session
from workbench.runs.store import RunStore
from workbench.serving.asking import (
    Column,
    LeftOut,
    Way,
    answer,
    fit_way,
    fit_ways,
    spec_of,
)
from workbench.serving.row_ways import ways_of_rows
from workbench.stopping import stopping
from workbench.tasks.base import Sample

_MOST_TOKENS = 4096
_SHOWN_LABELS = 3


@dataclass(frozen=True, eq=False)
class Answers:
    """What each way answers to one text.

    Attributes:
        text: What was asked about, by field.
        columns: One for each way that could answer, with prompt, text, probabilities and times.
        left_out: The others, and why.
    """

    text: Mapping[str, str]
    columns: Sequence[Column]
    left_out: Sequence[LeftOut]

    def table(self) -> pd.DataFrame:
        """Return one row per way: answer, text, tokens of the prompt, and seconds.

        Where the task has labels there is a column `p(label)` for each, a probability.
        """
        return pd.DataFrame([_row(column) for column in self.columns])

    def prompts(self) -> dict[str, str]:
        """Return the prompt that each way sends; learned vectors stand as their number."""
        return {
            column.label: "".join(
                f"[{piece.num_tokens} learned vectors]" if piece.is_learned else piece.text
                for piece in column.pieces
            )
            for column in self.columns
        }

    def __repr__(self) -> str:
        found = (f"{one.label}: {_answer_of(one) or one.text.strip()}" for one in self.columns)
        return "\n".join(found)

    def _repr_html_(self) -> str:
        rows: list[list[Cell]] = [
            [one.label, _answer_of(one), _likely(one), one.text.strip()] for one in self.columns
        ]
        columns = ["way", "answer", "most likely labels", "text"]
        left_out = [f"{one.label}: left out: {one.reason}" for one in self.left_out]
        cautions = [f"{one.label}: {line}" for one in self.columns for line in one.cautions]
        return shown_html(
            " / ".join(self.text.values()),
            tables=[Table(title="", columns=columns, rows=rows)],
            warnings=[*left_out, *cautions],
        )


def ask(
    base: OpenBase,
    task: OpenTask,
    text: str | Mapping[str, str],
    methods: Methods | None = None,
    *,
    runs: Sequence[Run] = (),
    max_new_tokens: int = 40,
    out: str | Path = FOLDER,
) -> Answers:
    """Answer one text several ways in one batch, as `workbench ask` does, and return the answers.

    Trained methods answer with the runs that `compare` or `train` left in `out`; those that have
    none there are in `Answers.left_out`.

    Args:
        base: From `open_base`.
        task: From `open_task`.
        text: The text; of a task with two, each by its field.
        methods: As for `compare`, each with its first seed; those of the comparison made last in
            `out` unless this or `runs` is given.
        runs: Finished runs that answer as well, wherever they lie.
        max_new_tokens: The most tokens of an answer, from 1 to 4,096.
        out: Folder with the runs of trained methods.

    Raises:
        ConfigError: fields that the task does not have, unknown methods or options, a run that was
            made on something else, or no way can answer.
        PromptError: the text does not fit the context.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    sample = Sample("question", _fields(task, text), target="")
    if whole_number(max_new_tokens) not in range(1, _MOST_TOKENS + 1):
        raise ConfigError(f"ask: max_new_tokens is {max_new_tokens}; 1 to {_MOST_TOKENS:,} can be.")
    folder = Path(out)
    asked = _asked(base, task, methods, folder) if methods is not None or not runs else None

    def work() -> Answers:
        session = base.desk.session(asked or experiment_of(base, task, where="ask"), task.task)
        ways, missing = (
            ([], []) if asked is None else ways_of_rows(session, asked, RunStore(folder))
        )
        ways += [_way_of(run) for run in runs]
        if not ways:
            reasons = " ".join(f"{row.label}: {row.reason}" for row in missing)
            raise ConfigError(f"ask: no way can answer. {reasons} Train one with compare or train.")
        fit = partial(_fitted, base, session, folder)
        fitted, left_out = fit_ways(session, ways, fit, sample, max_new_tokens)
        decoding = GenerationOptions(max_new_tokens=max_new_tokens)
        with stopping() as stop:
            *_, columns = answer(session, fitted, sample, decoding, should_stop=stop.is_requested)
        if stop.is_requested():
            raise Interrupted("while answering")
        return Answers(sample.fields, columns, [*missing, *left_out])

    try:
        return base.desk.call(work)
    except Interrupted as stop:
        raise KeyboardInterrupt(f"stopped ({stop}).") from None


def _asked(base: OpenBase, task: OpenTask, methods: Methods | None, folder: Path) -> Experiment:
    """Return the rows that are asked, checked: those given, or of the comparison made last."""
    kept = stored_experiment(folder) if methods is None else None
    given: dict[str, object] = {} if methods is None else {"methods": rows_of(methods)}
    if kept is not None:
        given = {name: getattr(kept, name) for name in ("methods", "search", "seeds")}
    experiment = experiment_of(base, task, where="ask", **given)
    rows = list(experiment.methods)
    requests_of(experiment.model_copy(update={"reference": rows[0]}))  # the cheap checks come first
    return experiment


def _fields(task: OpenTask, text: str | Mapping[str, str]) -> dict[str, str]:
    """Return a text as the fields of a task.

    Raises:
        ConfigError: they are others than the task has.
    """
    names = task.task.field_names
    given = {names[0]: text} if isinstance(text, str) else text
    is_text = isinstance(given, Mapping) and all(isinstance(one, str) for one in given.values())
    if not is_text or set(given) != set(names):
        asked = ", ".join(f'"{name}": "…"' for name in names)
        raise ConfigError(
            f"ask: task '{task.task.name}' has the fields {', '.join(names)}, each a text; given: "
            f"{reprlib.repr(text)}. Give {{{asked}}}."
        )
    return {name: given[name] for name in names}


def _way_of(run: Run) -> Way:
    label = f"{run.stored.record.row}, seed {run.seed}, {run.digest[:4]}"
    return Way(label, run.method, run.options, run.seed, run.stored)


def _fitted(base: OpenBase, session: Session, folder: Path, way: Way) -> FittedMethod:
    """Return a way's fitted method, which stays on the base for the next text."""
    anew = partial(fit_way, session, way, folder)
    return base.desk.fitted(spec_of(session, way).digest, anew)


def _answer_of(column: Column) -> str | None:
    return None if column.prediction is None else column.prediction.answer


def _likely(column: Column) -> str:
    """Return the most likely labels with their probabilities."""
    found = (column.prediction.probabilities if column.prediction else None) or {}
    ranked = sorted(found.items(), key=lambda one: -one[1])[:_SHOWN_LABELS]
    return ", ".join(f"{label} {percent(p)}" for label, p in ranked)


def _row(column: Column) -> dict[str, object]:
    found = (column.prediction.probabilities if column.prediction else None) or {}
    return {
        "way": column.label,
        "answer": _answer_of(column),
        "text": column.text,
        "prompt_tokens": column.conditioning.num_tokens,
        "first_token_seconds": column.first_token_seconds,
        "seconds": column.seconds,
        **{f"p({label})": p for label, p in found.items()},
    }
