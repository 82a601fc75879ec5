"""A visitor's grid: what is asked for, checked against the caps, and filled on the desk's base."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from workbench.errors import ConfigError, TaskError, without_folders
from workbench.fitting.base import FittedMethod
from workbench.predicting.texts import typed_samples
from workbench.runs.experiment import Experiment
from workbench.runs.session import Session, open_template
from workbench.service.command_line import grid_command
from workbench.service.profile import Profile
from workbench.service.ways import (
    Setting,
    answers_in_one_pass,
    experiment_of,
    rows_of,
    run_ids,
    ways_of,
)
from workbench.service.wordings import note_wording_figures, template_name, wording_choices
from workbench.service.workspace import Workspace
from workbench.serving.asking import LeftOut, Way, fit_way, spec_of
from workbench.serving.desk import ModelDesk
from workbench.serving.grid import (
    Grid,
    OpenedColumns,
    Wording,
    check_grid,
    fill_base,
    fit_columns,
    with_wording,
)
from workbench.tasks.base import Sample, Task

MOST_DEV_TEXTS = 500  # of the task's dev rows; caps allow fewer
_FIELD_MARK = "|||"


@dataclass(frozen=True)
class GridAsked:
    """What a visitor asks for: keys of wordings and ways, and texts.

    Attributes:
        wordings: Keys of wordings; the first is the one the others are compared with.
        ways: Keys of ways.
        texts: A text per line; two fields of a task are parted by "|||".
        num_dev: How many of the task's dev rows are asked about too, with their answers.
        bases: Names of bases, asked one after the other; none: that of the setting.
    """

    wordings: Sequence[str]
    ways: Sequence[str]
    texts: str = ""
    num_dev: int = 0
    bases: Sequence[str] = ()


@dataclass(frozen=True)
class Place:
    """A visitor, and what is allowed and shared where the page runs."""

    workspace: Workspace
    profile: Profile
    desk: ModelDesk


def wordings_of(place: Place, task: Task, keys: Sequence[str]) -> list[Wording]:
    """Return the chosen wordings, each once, called as in the list of wordings.

    Raises:
        ConfigError: none.
        StoreError: one that is not the visitor's.
    """
    titles = {key: title for title, key in wording_choices(place.workspace, task)}
    found: list[Wording] = []
    for key in dict.fromkeys(keys):
        title = titles.get(key, str(key))
        if any(title == known.name for known in found):
            title = f"{title} {key[-4:]}"
        template = open_template(template_name(place.workspace, key), task)
        found.append(Wording(title, template))
    if not found:
        raise ConfigError("wordings: none chosen. Choose at least one.")
    return found


def samples_asked(place: Place, task: Task, asked: GridAsked) -> list[Sample]:
    """Return the texts of a grid: those typed, then rows of dev.

    Raises:
        ConfigError: a text is too long, or there is none.
        TaskError: a line lacks one of the task's fields.
    """
    most = place.profile.caps.text_chars
    lines = [line for line in asked.texts.splitlines() if line.strip()]
    for number, line in enumerate(lines, start=1):
        if len(line) > most:
            raise ConfigError(f"text {number}: {len(line)} characters; at most {most} here.")
    parts = [[part.strip() for part in line.split(_FIELD_MARK)] for line in lines]
    names = task.field_names
    for number, found in enumerate(parts, start=1):
        if len(names) > 1 and len(found) != len(names):
            raise TaskError(
                f"text {number}: {len(found)} parts; task '{task.name}' needs {len(names)} "
                f"({', '.join(names)}). Put '{_FIELD_MARK}' between them."
            )
    texts = [
        dict(zip(names, found if len(names) > 1 else [line], strict=True))
        for found, line in zip(parts, lines, strict=True)
    ]
    samples = [*typed_samples(task, texts), *task.dev[: asked.num_dev]]
    if not samples:
        raise ConfigError("texts: none. Write one per line, or take some of the task's own.")
    return samples


def stream_grid(
    place: Place, experiment: Experiment, asked: GridAsked
) -> Iterator[tuple[Grid, list[Wording]]]:
    """Yield a visitor's grid as it fills, and its wordings.

    Each base that is asked takes the place of the one before in memory.

    Raises:
        WorkbenchError: something about the setting or the grid is wrong, or nothing can answer.
    """
    caps = place.profile.caps
    task = place.desk.task(experiment.task)
    ways = ways_of(place.workspace, asked.ways, most=caps.columns)
    _check_pace(place.profile, asked.ways)
    wordings = wordings_of(place, task, asked.wordings)
    experiments = [experiment.model_copy(update={"model": base}) for base in asked.bases]
    experiments = experiments or [experiment]
    num_columns = len(experiments) * len(wordings) * len(ways)
    if num_columns > caps.grid_columns:
        bases = f" x {len(experiments)} base models" if len(experiments) > 1 else ""
        raise ConfigError(
            f"grid: {len(wordings)} wordings x {len(ways)} ways{bases} are {num_columns} columns; "
            f"at most {caps.grid_columns} here. Take fewer of them."
        )
    grid = Grid(task, tuple(samples_asked(place, task, asked)))
    check_grid(grid, num_columns, most_cells=caps.cells)

    def fit(session: Session, way: Way) -> FittedMethod:
        anew = partial(fit_way, session, way, place.workspace.folder)
        return place.desk.fitted(spec_of(session, way).digest, anew)

    def opened(one: Experiment) -> OpenedColumns:
        session = place.desk.session(one, task)
        check_lengths(place.profile, session, wordings)
        return session, *fit_columns(session, wordings, ways, fit)

    def work(_: Callable[[], bool]) -> Iterator[Grid]:
        table = grid
        for one in experiments:
            for filled in fill_base(table, one.model, partial(opened, one)):
                table = filled
                yield shown_grid(table)

    for filled in place.desk.stream(work):
        yield filled, wordings


def shown_grid(grid: Grid) -> Grid:
    """Return a grid whose reasons name no folder of this machine."""
    shown = (LeftOut(one.label, without_folders(one.reason)) for one in grid.left_out)
    return replace(grid, left_out=tuple(shown))


def check_lengths(profile: Profile, session: Session, wordings: Sequence[Wording]) -> None:
    """Refuse wordings whose answers may be longer than a public page writes.

    With the caps on cells this bounds how long others wait for the base.

    Raises:
        ConfigError: says how long they may be.
    """
    if not profile.is_public or session.encoder.task.labels:  # labels are scored, not written
        return
    most = profile.caps.new_tokens
    for wording in wordings:
        tokens = with_wording(session, wording.template).encoder.answer_tokens
        if tokens > most:
            raise ConfigError(
                f"wording {wording.name}: writes answers of up to {tokens:,} tokens; at most "
                f"{most} here. Give it 'answer_tokens: {most}' or less."
            )


def note_figures_of(
    place: Place, asked: GridAsked, grid: Grid, wordings: Sequence[Wording]
) -> None:
    """Write beside each kept wording what a whole grid found with it.

    Raises:
        StoreError: the folder cannot be written.
    """
    for key, wording in zip(dict.fromkeys(asked.wordings), wordings, strict=True):
        figures = _figures(grid, wording.name)
        if figures:
            note_wording_figures(place.workspace, key, figures)


def command_of(place: Place, setting: Setting, asked: GridAsked) -> str:
    """Return the command that fills the same table in a terminal.

    Raises:
        WorkbenchError: see `stream_grid`.
    """
    runs = run_ids(asked.ways)
    others = [key for key in asked.ways if key not in {f"run:{one}" for one in runs}]
    rows = rows_of(place.workspace, others, seeds=[0]) if others else None
    experiment = experiment_of(place.workspace, place.profile, setting, methods=rows)
    task = place.desk.task(experiment.task)
    if rows is None:
        experiment = experiment.model_copy(update={"methods": {}})
    names = [template_name(place.workspace, key) for key in dict.fromkeys(asked.wordings)]
    texts = [line.strip() for line in asked.texts.splitlines() if line.strip()]
    workspace = place.workspace
    return grid_command(
        experiment,
        names,
        texts="texts.csv" if texts and len(task.field_names) > 1 else texts,
        num_dev=asked.num_dev,
        bases=asked.bases,
        runs=runs,
        folder=workspace.folder if workspace.is_public else workspace.root,
    )


def _figures(grid: Grid, wording: str) -> dict[str, float | str]:
    """Return the share of right answers by way, where right answers are known."""
    figures: dict[str, float | str] = {}
    bases = list(dict.fromkeys(column.base for column in grid.columns))
    for place, column in enumerate(grid.columns):
        estimate = grid.accuracy(place) if column.wording == wording else None
        if estimate is not None and estimate.value is not None:
            way = column.way if len(bases) == 1 else f"{column.way} on {column.base}"
            figures[f"right with {way}"] = estimate.value
            if grid.unscored(place):
                figures[f"texts without an answer with {way}"] = grid.unscored(place)
    if figures:
        figures["texts"] = sum(bool(sample.target) for sample in grid.samples)
        figures["base"] = ", ".join(bases)
    return figures


def _check_pace(profile: Profile, keys: Sequence[str]) -> None:
    """Refuse ways that write at length before they answer, where many people wait for one base."""
    slow = [key for key in keys if not answers_in_one_pass(key)]
    if profile.is_public and slow:
        names = ", ".join(key.partition(":")[2] for key in slow)
        raise ConfigError(
            f"ways: {names} write or vote before each answer, which takes too long for a grid on "
            "this public page. Ask them about one text in the tab Ask, or run the workbench on "
            "your own machine."
        )
