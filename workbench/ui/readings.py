"""What a visitor may open, the reading that is asked for, and the command that reads the same."""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError
from workbench.models.adapters.reading import check_imported
from workbench.presentation.reading import Reading
from workbench.progress import ProgressEvent
from workbench.readings.catalog import reader_class
from workbench.readings.inspector import Learned, controls, learned_adapters, learned_runs
from workbench.runs.experiment import Experiment
from workbench.runs.origin import own_experiment
from workbench.service.command_line import shared_settings
from workbench.service.ways import EXAMPLES, imported_names, ways_of
from workbench.service.workspace import Workspace
from workbench.ui.context import AppContext, SettingValues

MOST_AGAINST = 6
_IMPORT = "import:"  # begins the key of an adapter from elsewhere


@dataclass(frozen=True)
class Asked:
    """What is asked for: keys of what is read and held against it, and the reading; raw values."""

    what: object
    against: object
    reading: str
    options: Mapping[str, Any] = field(default_factory=dict)


Steps = Callable[[SettingValues, Asked], Iterator[ProgressEvent | Reading]]
"""`reading_steps` of a context, with the accelerator lent where it is lent by the call."""


def things_to_open(context: AppContext, values: SettingValues) -> tuple[Workspace, list[Learned]]:
    """Return everything the visitor may open on the base of the setting.

    Runs first, the newest first, then imported adapters, the package's own, and the two controls.
    """
    workspace, experiment = context.experiment(values)
    base = context.desk.setting(experiment).base
    folders = {
        f"{_IMPORT}{folder}": (f"imported {name}", workspace.imports / folder)
        for folder, name in imported_names(workspace).items()
    }
    if experiment.model == Experiment().model:
        for name, title in EXAMPLES.items():
            (way,) = ways_of(workspace, [f"example:{name}"], most=1)
            folders[f"example:{name}"] = (title, Path(str(way.options["adapter"])))
    found = [*learned_runs(workspace.runs(), base), *learned_adapters(folders), *controls()]
    return workspace, found


def keys_to_open(context: AppContext, token: object) -> set[str]:
    """Return the keys of everything the visitor may open, whatever base it was learned on."""
    workspace = context.workspace(token)
    return {
        *(f"run:{run.record.run_id}" for run in workspace.runs()),
        *(f"{_IMPORT}{folder}" for folder in imported_names(workspace)),
        *(f"example:{name}" for name in EXAMPLES),
        *(one.key for one in controls()),
    }


def opened(
    found: Sequence[Learned], what: object, against: object
) -> tuple[Learned, Sequence[Learned]]:
    """Return what is read, and what is held against it, of what the visitor may see.

    Raises:
        ConfigError: a key that is not among them, or too many.
        ModelError: an imported adapter that is damaged.
    """
    keys = against or []
    if not isinstance(keys, list | tuple):
        raise ConfigError(f"against: {str(keys)[:60]!r} is no list. Choose from the list.")
    if len(keys) > MOST_AGAINST:
        raise ConfigError(f"against: {len(keys)} chosen; at most {MOST_AGAINST} here.")
    chosen, *others = (_known(found, key) for key in (what, *keys))
    for one in (chosen, *others):
        if one.key.startswith(_IMPORT) and one.folder is not None:
            check_imported(one.folder)
    return chosen, [one for one in others if one != chosen]


def reading_steps(
    context: AppContext, values: SettingValues, asked: Asked
) -> Iterator[ProgressEvent | Reading]:
    """Yield how far a reading is, and last the reading.

    Raises:
        WorkbenchError: a key, a reading or an option that cannot be had, or no space left.
    """
    reader, where = reader_class(asked.reading), f"readings.{asked.reading}"
    context.profile.check_options(reader, asked.options, where=where)
    workspace, found = things_to_open(context, values)
    workspace.check_space(context.profile.caps.stored_bytes)
    chosen, others = opened(found, asked.what, asked.against)
    _, experiment = context.experiment(values)
    experiment = _where_made(context, experiment, (chosen, *others))
    subject = context.inspector.subject(experiment, chosen, others)
    yield from context.inspector.stream(
        subject, asked.reading, asked.options, folder=workspace.folder / "readings"
    )


def _where_made(
    context: AppContext, experiment: Experiment, chosen: Sequence[Learned]
) -> Experiment:
    """Return the experiment to read on: the first run's own task and wording, or the page's.

    The base is the page's, which has one in memory: a run of another precision is refused.

    Raises:
        ConfigError: the run was made in another precision, or with products in another dtype.
        StoreError: its data or wording are not at hand any more.
    """
    run = next((one.run for one in chosen if one.run is not None), None)
    if run is None:
        return experiment
    base, info = run.spec.base, context.desk.info(experiment)
    if (base.precision, base.compute_dtype) != (info.precision, info.compute_dtype):
        choose = "Choose the run's precision in the setting, or read it with"
        advice = "Read it with" if base.precision == info.precision else choose
        raise ConfigError(
            f"run {run.record.run_id}: was made in {base.precision} (products in "
            f"{base.compute_dtype}), and the page's base is in {info.precision} (products in "
            f"{info.compute_dtype}). {advice}: "
            f"workbench inspect {run.record.run_id}"
        )
    own = own_experiment(run, open_task=context.desk.task)
    return experiment.model_copy(
        update={"task": own.task, "template": own.template, "chat": own.chat}
    )


def inspect_command(
    chosen: Learned,
    others: Sequence[Learned],
    reading: str,
    options: Mapping[str, Any],
    *,
    runs: Path,
    experiment: Experiment,
) -> str:
    """Return the `workbench inspect` line of a reading.

    Args:
        chosen: What is read.
        others: What is held against it.
        reading: Name of the reading.
        options: Of the reading.
        runs: Folder to look for runs below.
        experiment: The page's; what is read on unless a run brings its own.
    """
    words = ["workbench", "inspect", _word(chosen)]
    for one in others:
        words += ["--against", _word(one)]
    words += ["--readings", reading]
    for name, value in options.items():
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        words += ["--set", f"{reading}.{name}={shown}"]
    if any(one.run is not None for one in (chosen, *others)):
        words += ["--runs", _relative(runs)]
    else:
        words += [word for one in shared_settings(experiment) for word in ("--on", one)]
    return " ".join(map(shlex.quote, words))


def _known(found: Sequence[Learned], key: object) -> Learned:
    chosen = next((one for one in found if one.key == key), None)
    if chosen is None:
        raise ConfigError(
            f"what to open: {str(key)[:60]!r} is nothing of yours on this base. Choose from the "
            "list."
        )
    return chosen


def _word(one: Learned) -> str:
    """Return how a command names what is opened."""
    if one.run is not None:
        return one.run.record.run_id
    return one.key if one.folder is None else _relative(one.folder)


def _relative(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
