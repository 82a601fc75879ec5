"""Runs along an axis: over the number of examples, over an option of one row, or over wordings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from workbench.errors import ConfigError, unknown_name
from workbench.methods.catalog import with_options
from workbench.runs.baselines import MAJORITY
from workbench.runs.execute import RunRequest
from workbench.runs.executor import LocalExecutor, MakeExecutor
from workbench.runs.experiment import Experiment
from workbench.runs.failures import FailedRun
from workbench.runs.rows import RowRun, Watcher, run_requests
from workbench.runs.runner import baseline_when_free, check_lengths, is_trained, requests_of
from workbench.runs.session import Session, open_template
from workbench.runs.store import RunStore
from workbench.tasks.base import Task
from workbench.tasks.nested import with_train_size

Place = int | float | str
_DEMONSTRATIONS = "k"  # option of every method that shows labelled examples


@dataclass(frozen=True)
class PlacedRequest:
    """A run and where it stands.

    Attributes:
        line: Name of the line it is part of.
        place: On the axis; None for a line that is the same everywhere.
        session: Base and task to run on.
        request: What to run.
    """

    line: str
    place: Place | None
    session: Session
    request: RunRequest


def curve_points(
    session: Session, experiment: Experiment, sizes: Sequence[int]
) -> list[PlacedRequest]:
    """Return the runs of a learning curve, row by row and the smaller sizes first.

    Each size is a split of its own, contained in the larger ones. Rows that use no labelled
    example are run once, demonstrations are as many as there are examples at most, and rows that
    need training begin above 0.

    Raises:
        ConfigError: a size is no size of this training split, or the experiment is wrong.
    """
    requests = requests_of(experiment)
    check_sizes(sizes, session.task)
    seed = experiment.task.split_seed
    sessions = {
        size: _with_task(session, with_train_size(session.task, size, seed=seed))
        for size in sorted(sizes)
    }
    points = []
    for request in requests:
        if not request.method.labelled_examples(session.task):
            points.append(PlacedRequest(request.row, None, session, request))
            continue
        for size, smaller in sessions.items():
            found = _request_at(request, size)
            if found is not None:
                found = replace(found, place=f"{size} examples")
                points.append(PlacedRequest(request.row, size, smaller, found))
    return points


def wording_points(
    session: Session, experiment: Experiment, names: Sequence[str]
) -> list[PlacedRequest]:
    """Return the runs of every row with every wording, row by row.

    Args:
        session: Base and task.
        experiment: Its rows and seeds.
        names: Wordings of the task, or paths of YAML files.

    Raises:
        ConfigError: fewer than two different wordings, an unknown one, or the experiment is wrong.
        PromptError: a wording does not fit the task, or a text does not fit the context with it.
    """
    check_wordings(names)
    requests = requests_of(experiment)
    sessions = {}
    for name in names:
        encoder = replace(session.encoder, template=open_template(name, session.task))
        worded = experiment.model_copy(update={"template": name})
        sessions[name] = replace(session, encoder=encoder, experiment=worded)
        check_lengths(sessions[name])
    return [
        PlacedRequest(request.row, name, worded, replace(request, place=f"wording {name}"))
        for request in requests
        for name, worded in sessions.items()
    ]


def sweep_requests(
    experiment: Experiment, row: str, values: Mapping[str, Sequence[Place | None]]
) -> list[tuple[str, Place, RunRequest]]:
    """Return line, place and request of one row's runs with every combination of option values.

    The first option is the axis; each combination of the others is a line. Nothing is loaded.

    Args:
        experiment: Has the row with its other options and its seeds.
        row: Its name.
        values: Option to values.

    Raises:
        ConfigError: no such row, or a value that its method does not take; all at once.
    """
    if row not in experiment.methods:
        raise ConfigError(f"sweep: {unknown_name('row', row, experiment.methods)}")
    problems = []
    for option, given in values.items():
        repeated = [value for value in dict.fromkeys(given) if list(given).count(value) > 1]
        if repeated:
            problems.append(f"sweep: {option} has the value {repeated[0]} twice. Give it once.")
    if "learning_rate" in values and "learning_rates" in experiment.methods[row]:
        problems.append(
            f"sweep: methods.{row}.learning_rates: a row that looks for its learning rate cannot "
            "be swept over it. Remove the key."
        )
    axis, *others = values
    found = []
    for combination in product(*values.values()):
        chosen = dict(zip(values, combination, strict=True))
        line = ", ".join(f"{name} {_written(chosen[name])}" for name in others) or row
        options = experiment.methods[row] | chosen
        try:
            requests = requests_of(
                experiment.model_copy(update={"methods": {row: options}, "reference": row})
            )
        except ConfigError as error:
            problems += str(error).splitlines()
            continue
        place = chosen[axis]
        is_number = isinstance(place, int | float) and not isinstance(place, bool)
        shown = place if is_number and place is not None else _written(place)
        where = ", ".join(f"{name} {_written(value)}" for name, value in chosen.items())
        found += [(line, shown, replace(request, place=where)) for request in requests]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return found


def run_points(
    store: RunStore,
    points: Sequence[PlacedRequest],
    *,
    watcher: Watcher,
    should_stop: Callable[[], bool] = lambda: False,
    make_executor: MakeExecutor = LocalExecutor,
) -> list[tuple[PlacedRequest | None, RowRun | FailedRun]]:
    """Return the finished run of each point, or why it failed.

    The first, without a point, is the majority class's.

    Raises:
        Interrupted: asked to stop; finished runs are kept and found again.
        ConfigError: no points.
    """
    if not points:
        raise ConfigError(
            "curve: nothing to run: every row trains, and 0 is the only size. Add sizes above 0."
        )
    session = max((point.session for point in points), key=lambda s: len(s.task.train))
    check_lengths(session)
    found: list[tuple[PlacedRequest | None, RowRun | FailedRun]] = []
    majority = baseline_when_free(session, store, MAJORITY, None, should_stop)
    if majority is not None:
        found.append((None, RowRun(MAJORITY, majority)))
    asked = [(point.session, point.request) for point in points]
    rows = run_requests(
        store, asked, watcher=watcher, should_stop=should_stop, make_executor=make_executor
    )
    return found + list(zip(points, rows, strict=True))


def check_wordings(names: Sequence[str]) -> None:
    """Refuse fewer than two different wordings.

    Raises:
        ConfigError: says so.
    """
    if len(set(names)) != len(names) or len(names) < 2:
        raise ConfigError(
            f"wordings: {', '.join(names) or 'none'} given; two or more different ones are needed. "
            "Example: plain,brief"
        )


def check_sizes(sizes: Sequence[int], task: Task) -> None:
    """Refuse sizes that are none of a training split.

    Raises:
        ConfigError: all of them at once.
    """
    problems = []
    if len(set(sizes)) != len(sizes) or not sizes:
        problems.append("curve: sizes are different numbers, at least one. Example: 0,8,32,128")
    wrong = [size for size in sizes if not 0 <= size <= len(task.train)]
    if wrong:
        problems.append(
            f"curve: sizes {', '.join(map(str, wrong))}: the training split of '{task.name}' has "
            f"{len(task.train)} examples. Use sizes from 0 to {len(task.train)}, or a larger "
            "task.limit_train."
        )
    if problems:
        raise ConfigError("\n".join(problems))


def _request_at(request: RunRequest, size: int) -> RunRequest | None:
    """Return what to run with so many labelled examples; None if the row needs some."""
    method = request.method
    wanted = getattr(method, _DEMONSTRATIONS, None)
    if size == 0 and (is_trained(method) or wanted is None or _calibrates_on_texts(method)):
        return None
    if wanted is None or wanted <= size:
        return request
    return replace(request, method=with_options(method, {_DEMONSTRATIONS: size}))


def _calibrates_on_texts(method: object) -> bool:
    """Return whether a method needs training texts even without their labels."""
    inputs = getattr(method, "calibration_inputs", None)
    return inputs == "training_texts" and bool(getattr(method, "calibrate", False))


def _with_task(session: Session, task: Task) -> Session:
    if len(task.train) == len(session.task.train):
        return session
    return replace(session, encoder=replace(session.encoder, task=task), experiment=None)


def _written(value: object) -> str:
    return "null" if value is None else str(value)
