"""The batch commands that do the same as the page: to copy, to repeat, to put into a script."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from pydantic import BaseModel

from workbench.methods.catalog import method_class
from workbench.runs.experiment import Experiment, ResourceChoice, TaskChoice
from workbench.yaml_files import yaml_text

_TASK_FLAGS = {
    "train": "--train",
    "dev": "--dev",
    "test": "--test",
    "text_column": "--text-column",
    "text_b_column": "--text-b-column",
    "label_column": "--label-column",
    "id_column": "--id-column",
    "separator": "--separator",
    "limit_train": "--limit-train",
    "limit_dev": "--limit-dev",
    "limit_test": "--limit-test",
}
_TASK_SETTINGS = ("kind", "references_column", "split_seed")
_FLAGS = {"model": "--model", "precision": "--precision", "template": "--template"}
_SETTINGS = ("revision", "compute_dtype", "device", "weights_in_memory", "reference", "processes")


def evaluate_command(experiment: Experiment, out: Path, name: str = "") -> str:
    """Return the `workbench evaluate` line that runs an experiment; only what is not default.

    Paths are written relative to the working directory where they lie below it.

    Args:
        experiment: What is run.
        out: Folder of runs and report.
        name: What the comparison is called; may be empty.
    """
    default = Experiment()
    words = ["workbench", "evaluate"]
    if experiment.task != default.task and experiment.task.name is not None:
        words += ["--task", experiment.task.name]  # any other flag of the task needs it too
    words += _changed(experiment.task, default.task, _TASK_FLAGS)
    words += _settings(experiment.task, default.task, _TASK_SETTINGS, prefix="task.")
    words += _changed(experiment, default, _FLAGS)
    words += ["--chat"] if experiment.chat else []
    words += _settings(experiment, default, _SETTINGS)
    if experiment.resources is not None:
        names = ("num_cpus", "num_gpus", "labels")
        words += _settings(experiment.resources, ResourceChoice(), names, prefix="resources.")
    if experiment.seeds != default.seeds:
        words += ["--seeds", ",".join(map(str, experiment.seeds))]
    words += _row_settings(experiment)
    words += ["--methods", ",".join(experiment.methods), "--out", _shown(out)]
    words += ["--name", name] if name else []
    return " ".join(map(shlex.quote, words))


def ask_command(experiment: Experiment, texts: Sequence[str], out: Path) -> str:
    """Return the `workbench ask` line that asks an experiment's rows about a text."""
    words = ["workbench", "ask"]
    words += ["--text-b", texts[1]] if len(texts) > 1 else []
    words += [word for one in shared_settings(experiment) for word in ("--set", one)]
    words += _row_settings(experiment)
    words += ["--methods", ",".join(experiment.methods), "--out", _shown(out)]
    words += ["--", texts[0]]  # a text may start like an option
    return " ".join(map(shlex.quote, words))


def grid_command(
    experiment: Experiment,
    wordings: Sequence[str],
    *,
    texts: Sequence[str] | str,
    num_dev: int,
    bases: Sequence[str],
    runs: Sequence[str],
    folder: Path,
) -> str:
    """Return the `workbench grid` line that fills the same table.

    Args:
        experiment: Setting, and the ways that are no runs as its rows; there may be none.
        wordings: Names, or paths of files.
        texts: One field each; or the name of a file that has them.
        num_dev: How many of the task's dev rows are asked about too.
        bases: Names of bases; none: the experiment's.
        runs: Ids of finished runs.
        folder: Where these lie.
    """
    default = Experiment()
    words = ["workbench", "grid", "--wordings", ",".join(map(_shown, wordings))]
    names = ("name", *_TASK_FLAGS)
    words += _settings(experiment.task, TaskChoice(name=""), names, prefix="task.")
    words += _settings(experiment.task, default.task, _TASK_SETTINGS, prefix="task.")
    words += ["--models", ",".join(map(_shown, bases))] if bases else []
    setting = experiment.model_copy(update={"model": default.model}) if bases else experiment
    words += _settings(setting, default, ("model", "precision", "chat", *_SETTINGS))
    words += _row_settings(experiment)
    words += ["--methods", ",".join(experiment.methods)] if experiment.methods else []
    words += ["--trained", ",".join(runs), "--runs", _shown(folder)] if runs else []
    words += ["--dev", str(num_dev)] if num_dev else []
    if isinstance(texts, str):
        words += ["--rows", texts]
    elif texts:
        words += ["--", *texts]
    return " ".join(map(shlex.quote, words))


def shared_settings(experiment: Experiment) -> list[str]:
    """Return an experiment's base, task and wording as `key=value`; only what is not default."""
    default = Experiment()
    names = ("name", *_TASK_FLAGS)
    return [
        *_changes(experiment.task, TaskChoice(name=""), names, prefix="task."),
        *_changes(experiment.task, default.task, _TASK_SETTINGS, prefix="task."),
        *_changes(experiment, default, (*_FLAGS, "chat", *_SETTINGS)),
    ]


def _row_settings(experiment: Experiment) -> list[str]:
    """Return `--set methods.<row>.<option>=value` of all that a row does not have by default."""
    words = []
    for row, options in experiment.methods.items():
        method, _ = experiment.method_of(row)
        default = {field.name: field.default for field in fields(method_class(method))}
        default |= {"method": row, "seeds": list(experiment.seeds)}
        for key, value in options.items():
            if key not in default or value != default[key]:
                words += ["--set", f"methods.{row}.{key}={_yaml(value)}"]
    return words


def _changed(given: BaseModel, default: BaseModel, flags: Mapping[str, str]) -> list[str]:
    """Return flag and value of every field that differs from the default."""
    changed = [key for key in flags if getattr(given, key) != getattr(default, key)]
    return [word for key in changed for word in (flags[key], _shown(getattr(given, key)))]


def _settings(
    given: BaseModel, default: BaseModel, keys: Sequence[str], *, prefix: str = ""
) -> list[str]:
    """Return `--set key=value` of every field that differs from the default."""
    settings = _changes(given, default, keys, prefix=prefix)
    return [word for setting in settings for word in ("--set", setting)]


def _changes(
    given: BaseModel, default: BaseModel, keys: Sequence[str], *, prefix: str = ""
) -> list[str]:
    """Return `key=value` of every field that differs from the default."""
    changed = [key for key in keys if getattr(given, key) != getattr(default, key)]
    return [f"{prefix}{key}={_yaml(_plain(getattr(given, key)))}" for key in changed]


def _yaml(value: object) -> str:
    """Return a value as YAML, which `--set` reads."""
    text = yaml_text(
        value,
        default_style='"' if isinstance(value, str) else None,
        default_flow_style=True,
        width=math.inf,
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _plain(value: object) -> object:
    return _shown(value) if isinstance(value, Path) else value


def _shown(value: object) -> str:
    path = Path(str(value))
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return str(value)
