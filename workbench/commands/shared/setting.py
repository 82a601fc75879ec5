"""The experiment that a command is asked for, and the folder it lives in."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.errors import ConfigError, WorkbenchError
from workbench.options import whole_number
from workbench.runs.experiment import Experiment, asked_mapping, where_asked
from workbench.runs.finding import DEFAULT_FOLDER
from workbench.yaml_files import check_mapping, sound_part

_KEYS = {  # of an experiment, by the name of the option that changes it
    "task": "task.name",
    "train": "task.train",
    "dev": "task.dev",
    "test": "task.test",
    "text_column": "task.text_column",
    "text_b_column": "task.text_b_column",
    "label_column": "task.label_column",
    "id_column": "task.id_column",
    "separator": "task.separator",
    "limit_train": "task.limit_train",
    "limit_dev": "task.limit_dev",
    "limit_test": "task.limit_test",
    "model": "model",
    "precision": "precision",
    "template": "template",
    "chat": "chat",
    "reference": "reference",
    "processes": "processes",
}


def resolve_experiment(
    path: Path | None, settings: Sequence[str] | None, **options: object
) -> Experiment:
    """Return the experiment of a file, `--set` settings and command-line options.

    Args:
        path: The file; None starts from the defaults.
        settings: Each `key=value`, read as YAML.
        options: Values of `shared/options.py` by name; None leaves the experiment as it is.

    Raises:
        ConfigError: every problem at once.
    """
    rows, seeds = options.pop("methods", None), options.pop("seeds", None)
    changes = {_KEYS[name]: value for name, value in options.items()}
    if seeds is not None:
        changes["seeds"] = _seeds(str(seeds))
    data = asked_mapping(path, settings or (), changes)
    where = where_asked(path)
    try:
        experiment = check_mapping(data, Experiment, where=where)
    except ConfigError as error:
        raise _with_the_rest(error, data, rows) from error
    return experiment if rows is None else _only_rows(experiment, str(rows))


def _with_the_rest(error: ConfigError, data: Mapping[str, object], rows: object) -> ConfigError:
    """Return an error of form with what else is wrong: rows, and files that are not there."""
    from workbench.runs.checks import check_rows_and_files  # nobody waits for it otherwise

    sound = sound_part(data, Experiment)
    if sound is None:
        return error
    given = data.get("methods")
    is_whole = isinstance(given, dict) and given.keys() == sound.methods.keys()
    if not is_whole or sound.reference != data.get("reference"):  # it may name what is left out
        sound = sound.model_copy(update={"reference": next(iter(sound.methods))})
    try:
        check_rows_and_files(sound if rows is None else _only_rows(sound, str(rows)))
    except WorkbenchError as more:
        return ConfigError(f"{error}\n{more}")
    return error


def experiment_folder(path: Path | None, out: Path | None) -> Path:
    """Return where runs and report go: --out, else a folder named after the experiment."""
    return out or DEFAULT_FOLDER / (path.stem if path else "default")


def select_rows(experiment: Experiment, rows: str | None) -> Experiment:
    """Return the experiment with only the given rows (comma-separated)."""
    return experiment if rows is None else _only_rows(experiment, rows)


def _only_rows(experiment: Experiment, rows: str) -> Experiment:
    """Keep rows by name; a method that the experiment does not have gets its default options.

    A name that is neither is said with whatever else is wrong, by the checks of the rows.
    """
    names = [name.strip() for name in rows.split(",") if name.strip()]
    kept = {name: experiment.methods.get(name, {}) for name in dict.fromkeys(names)}
    if not kept:
        raise ConfigError("--methods: no row named. Example: --methods zero_shot,lora")
    reference = experiment.reference if experiment.reference in kept else next(iter(kept))
    return experiment.model_copy(update={"methods": kept, "reference": reference})


def _seeds(text: str) -> list[int]:
    parts = text.split(",")
    seeds = [seed for part in parts if isinstance(seed := whole_number(part), int)]
    if len(seeds) < len(parts):
        raise ConfigError(
            f"--seeds {text}: whole numbers separated by commas are needed. Example: --seeds 0,1,2"
        )
    if min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise ConfigError(f"--seeds {text}: seeds are different numbers from 0 up.")
    return seeds
